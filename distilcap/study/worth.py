"""What distillation is worth to a student that is trained to its end, and beside the strongest control.

Command: `distilcap reproduce worth --data flickr8k/ --preset flickr8k --seeds 3`
Four rows of one student: from references and from its teacher's captions, each by cross-entropy alone and
then with self-critical training, which begins from the cross-entropy run. A distilled student is compared
with the undistilled one that scores better on validation, the strongest control: where that is the one with
self-critical training, the teacher's own phase of it is no advantage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from distilcap.errors import ConfigError
from distilcap.reports.results import Member
from distilcap.stages.captions import Labels
from distilcap.stages.train import Train
from distilcap.study.rows import LABEL_BEAM, Students
from distilcap.study.tables import Table, TableRow

__all__ = ["worth_table"]

FAMILY = "updown"
REWARDED = "self-critical"


def worth_table(students: Students) -> Table:
    """The teacher and the four rows."""
    size = students.preset.worth_of
    if not students.preset.roles[FAMILY, size].training.self_critical.epochs:
        raise ConfigError(
            f"Preset {students.preset.name} trains students without a self-critical phase, which `worth` "
            "measures; take flickr8k or paper."
        )
    teacher = students.teacher(FAMILY).member
    labels = [students.labels(run, LABEL_BEAM, LABEL_BEAM) for run in students.teacher_runs(teacher)]
    name = f"{FAMILY}, {size}"
    undistilled, control = _pair(students, name, "student", [None] * len(labels))
    distilled, rewarded = _pair(students, f"{name}, distilled", "distilled", labels, teacher)
    rows = (
        TableRow(teacher),
        TableRow(undistilled),
        TableRow(control, baseline=undistilled.name),
        TableRow(distilled, LABEL_BEAM, controls=(undistilled.name, control.name)),
        TableRow(rewarded, LABEL_BEAM, controls=(undistilled.name, control.name)),
    )
    return Table("worth", "What distillation is worth", rows, judged=False)


def _pair(
    students: Students, name: str, role: str, labels: Sequence[Labels | None], teacher: Member | None = None
) -> tuple[Member, Member]:
    """A student by cross-entropy alone, and with the self-critical phase of its recipe behind it."""
    size = students.preset.worth_of
    whole = [students.train(FAMILY, size, *both) for both in zip(students.seeds, labels, strict=True)]
    crossed = [_only(run, "self_critical") for run in whole]
    rewarded = [
        dataclasses.replace(_only(run, "cross_entropy"), start=begun)
        for run, begun in zip(whole, crossed, strict=True)
    ]
    learnt = (teacher.name, f"{teacher.name}, beam {LABEL_BEAM}, top {LABEL_BEAM}") if teacher else ()
    return (
        students.member(name, role, size, tuple(crossed), *learnt),
        students.member(f"{name}, {REWARDED}", role, size, tuple(rewarded), *learnt),
    )


def _only(run: Train, without: str) -> Train:
    """The run without one of its two phases."""
    phase = dataclasses.replace(getattr(run.training, without), epochs=0)
    return dataclasses.replace(run, training=dataclasses.replace(run.training, **{without: phase}))
