"""Beyond a teacher's single best caption: which way of distilling helps a small student most, at what cost.

Command: `distilcap reproduce extra --data flickr8k/ --preset quick --seeds 3`
Every row is the same small Up-Down on the same schedule; only what it learns from differs. Labels are made
with beam `LABEL_BEAM`. The last rows hide the captions of half the training images, from their teacher too.
"""

from __future__ import annotations

import dataclasses

from distilcap.reports.results import Member
from distilcap.stages.captions import Labels
from distilcap.stages.data import HideCaptions
from distilcap.stages.label import DrawCaptions, GenerateTogether, Interpolate
from distilcap.stages.train import Train
from distilcap.study.rows import LABEL_BEAM, Students
from distilcap.study.tables import Table, TableRow
from distilcap.training.options import TokenDistillation

__all__ = ["extra_table"]

FAMILY, SIZE = "updown", "small"
TEMPERATURE = 0.5
"""Of drawn labels: at 1 they are too daring to learn from, near 0 they are the greedy caption again."""


def extra_table(students: Students) -> Table:
    """All ways of distilling, beside the undistilled student and the plain one."""
    teacher, second = students.teacher(FAMILY), students.teacher("aoanet")
    plain = students.undistilled(FAMILY, SIZE)
    top = students.taught(FAMILY, SIZE, teacher.member, LABEL_BEAM)
    run = teacher.member.trains[0]
    several = students.labels(run, LABEL_BEAM, LABEL_BEAM)
    best = students.labels(run, LABEL_BEAM)
    penalty = students.preset.length_penalty
    together = GenerateTogether((run, second.member.trains[0]), "train", LABEL_BEAM, length_penalty=penalty)
    nearest = {measure: Interpolate(several, measure) for measure in ("bleu", "cider")}
    ways: dict[str, tuple[Labels | None, dict[str, object]]] = {
        f"{LABEL_BEAM} best": (several, {}),
        "nearest to references by BLEU": (nearest["bleu"], {}),
        "nearest to references by CIDEr": (nearest["cider"], {}),
        "5 drawn": (DrawCaptions(run, "train", 5, TEMPERATURE), {}),
        "references and top 1": (best, {"keep_originals": True}),
        "tokens, on references": (None, _tokens(run)),
        "tokens, on top 1": (best, _tokens(run)),
        "top 1 of two teachers": (together, {}),
    }
    rows = [teacher, second, plain, top]
    rows += [
        _row(students, way, teacher.member.name, labels, changes) for way, (labels, changes) in ways.items()
    ]
    return Table("extra", "Ways of distilling into a small Up-Down", (*rows, *_half(students)), judged=False)


def _tokens(teacher: Train) -> dict[str, object]:
    return {"token_teacher": teacher, "token_distillation": TokenDistillation()}


def _row(
    students: Students, way: str, teacher: str, labels: Labels | None, changes: dict[str, object]
) -> TableRow:
    trains = tuple(
        dataclasses.replace(students.train(FAMILY, SIZE, seed, labels), **changes)  # type: ignore[arg-type]
        for seed in students.seeds
    )
    name = f"{FAMILY}-{SIZE}, {way}"
    member = Member(name, "distilled", SIZE, trains, teacher, way, students.preset.beam)
    return TableRow(member, baseline=f"{FAMILY}-{SIZE}")


def _half(students: Students) -> list[TableRow]:
    """Half of the images without captions: the teacher labels them all."""
    half = dataclasses.replace(students, data=HideCaptions.of_data(students.data, 0.5))
    teacher, plain = half.teacher(FAMILY, half.preset.half_teacher), half.undistilled(FAMILY, SIZE)
    teacher_name, plain_name = (f"{row.member.name}, half of the captions" for row in (teacher, plain))
    labels = half.labels(teacher.member.trains[0], LABEL_BEAM)
    row = _row(half, "half of the captions, labels on all images", teacher_name, labels, {})
    return [
        TableRow(dataclasses.replace(teacher.member, name=teacher_name)),
        TableRow(dataclasses.replace(plain.member, name=plain_name)),
        dataclasses.replace(row, baseline=plain_name),
    ]
