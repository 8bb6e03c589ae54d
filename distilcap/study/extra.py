"""Beyond a teacher's single best caption: which way of distilling helps a small student most, at what cost.

Command: `distilcap reproduce extra --data flickr8k/ --preset quick --seeds 3`
Every row is the same small Up-Down on the same schedule; only what it learns from differs. Labels are made
with beam `LABEL_BEAM`. The last rows hide the captions of half the training images, from their teacher too.
With several seeds, one row learns from the ensemble of the big captioners of both families and all seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from distilcap.errors import ConfigError
from distilcap.stages.captions import Labels
from distilcap.stages.data import HideCaptions
from distilcap.stages.other_labels import DrawCaptions, Interpolate
from distilcap.stages.train import Train
from distilcap.study.rows import LABEL_BEAM, Students
from distilcap.study.tables import Table, TableRow
from distilcap.training.options import TokenDistillation

__all__ = ["extra_table"]

FAMILY, SECOND, SIZE = "updown", "aoanet", "small"
TOP, HALF = "top 1", "half of the captions"
"""Ways that have rows of their own."""
TEMPERATURE = 0.5
"""Of drawn labels: at 1 they are too daring to learn from, near 0 they are the greedy caption again."""

TWO, EVERYONE = "top 1 of two teachers", "top 1 of all teachers"
ENSEMBLES = {
    TWO: f"{FAMILY}-big and {SECOND}-big",
    EVERYONE: f"{FAMILY}-big and {SECOND}-big of all seeds",
}
"""Teachers of ways that have others than the big Up-Down: a name of their own, since students of one teacher
share its luck."""

Way = tuple[Labels | None, dict[str, Any]]
"""What a student learns from, and what else is changed of its recipe."""


def extra_table(students: Students) -> Table:
    """All ways of distilling, beside the undistilled student and the plain one.

    Raises:
        ConfigError: more seeds are asked for of a way that there is not.
    """
    most = students.longer()
    teacher, second = most.teacher(FAMILY), most.teacher(SECOND)
    pairs = zip(most.teacher_runs(teacher.member), most.teacher_runs(second.member), strict=True)
    ways = [_ways(most, *pair) for pair in pairs]
    known = (TOP, *ways[0], HALF)
    if unknown := [way for way in students.more_for if way not in known]:
        raise ConfigError(
            f"`more_for` must name ways of `extra` ({'; '.join(known)}), but has {'; '.join(unknown)}."
        )
    compared = most if set(students.more_for) - {HALF} else students
    rows = [teacher, second, compared.undistilled(FAMILY, SIZE)]
    rows.append(_seeded(students, TOP).taught(FAMILY, SIZE, teacher.member, LABEL_BEAM))
    for way in ways[0]:
        taught_by = ENSEMBLES.get(way, teacher.member.name)
        rows.append(_row(_seeded(students, way), way, taught_by, [each[way] for each in ways]))
    rows += _half(_seeded(students, HALF))
    return Table("extra", "Ways of distilling into a small Up-Down", tuple(rows), judged=False)


def _seeded(students: Students, way: str) -> Students:
    """With the seeds of a way."""
    return students.longer() if way in students.more_for else students


def _ways(students: Students, teacher: Train, second: Train) -> dict[str, Way]:
    """All ways of one seed, by name."""
    several = students.labels(teacher, LABEL_BEAM, LABEL_BEAM)
    best = students.labels(teacher, LABEL_BEAM)
    tokens = {"token_teacher": teacher, "token_distillation": TokenDistillation()}
    everyone = tuple(
        students.train(family, "big", seed) for family in (FAMILY, SECOND) for seed in students.seeds
    )
    ensemble: dict[str, Way] = {}
    if len(students.seeds) > 1:  # else they are the two teachers
        ensemble[EVERYONE] = (students.labels_together(everyone, LABEL_BEAM), {})
    return {
        f"{LABEL_BEAM} best": (several, {}),
        "nearest to references by BLEU": (Interpolate(several, "bleu"), {}),
        "nearest to references by CIDEr": (Interpolate(several, "cider"), {}),
        "5 drawn": (DrawCaptions(teacher, "train", 5, TEMPERATURE), {}),
        "references and top 1": (best, {"keep_originals": True}),
        "tokens, on references": (None, tokens),
        "tokens, on top 1": (best, tokens),
        TWO: (students.labels_together((teacher, second), LABEL_BEAM), {}),
        **ensemble,
    }


def _row(students: Students, way: str, teacher: str, learnt: Sequence[Way]) -> TableRow:
    """A student that learns in its own way.

    Args:
        learnt: by each seed, at least by those of the students.
    """
    trains = tuple(
        dataclasses.replace(students.train(FAMILY, SIZE, seed, labels), **changes)
        for seed, (labels, changes) in zip(students.seeds, learnt, strict=False)
    )
    name = f"{FAMILY}-{SIZE}, {way}"
    member = students.member(name, "distilled", SIZE, trains, teacher, way)
    return TableRow(member, baseline=f"{FAMILY}-{SIZE}")


def _half(students: Students) -> list[TableRow]:
    """Half of the images without captions: the teacher labels them all."""
    half = dataclasses.replace(students, data=HideCaptions.of_data(students.data, 0.5))
    teacher, plain = half.teacher(FAMILY, half.preset.half_teacher), half.undistilled(FAMILY, SIZE)
    teacher_name, plain_name = (f"{row.member.name}, {HALF}" for row in (teacher, plain))
    learnt: list[Way] = [(half.labels(run, LABEL_BEAM), {}) for run in half.teacher_runs(teacher.member)]
    row = _row(half, f"{HALF}, labels on all images", teacher_name, learnt)
    return [
        TableRow(dataclasses.replace(teacher.member, name=teacher_name)),
        TableRow(dataclasses.replace(plain.member, name=plain_name)),
        dataclasses.replace(row, baseline=plain_name),
    ]
