"""Families of captioners at equal width and schedule, without and with a teacher.

Command: `distilcap reproduce families --data flickr8k/ --preset flickr8k --seeds 3`
Every family that the preset has roles for is compared with Up-Down of the same size; then each learns from the
big Up-Down's captions, and is compared with itself without them.
"""

from __future__ import annotations

import dataclasses

from distilcap.study.rows import LABEL_BEAM, Students
from distilcap.study.tables import Table

__all__ = ["families_table"]

BASELINE, SIZES = "updown", ("medium", "small")


def families_table(students: Students) -> Table:
    """The teacher, and two rows for each family and size."""
    teacher = students.teacher(BASELINE)
    rows = [teacher]
    for size in SIZES:
        families = [family for family, named in students.preset.roles if named == size]
        rows.append(students.undistilled(BASELINE, size))
        rows += [
            dataclasses.replace(students.undistilled(family, size), baseline=f"{BASELINE}-{size}")
            for family in families
            if family != BASELINE
        ]
        rows += [students.taught(family, size, teacher.member, LABEL_BEAM) for family in families]
    return Table("families", "Families at equal width", tuple(rows), judged=False)
