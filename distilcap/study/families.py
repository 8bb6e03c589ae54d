"""Families of captioners at equal width and schedule, without a teacher: what a family is worth by itself.

Command: `distilcap reproduce families --data flickr8k/ --preset flickr8k --seeds 3`
Every family that the preset has roles for is compared with Up-Down of the same size.
"""

from __future__ import annotations

import dataclasses

from distilcap.study.rows import Students
from distilcap.study.tables import Table

__all__ = ["families_table"]

BASELINE, SIZES = "updown", ("medium", "small")


def families_table(students: Students) -> Table:
    """A row for each family and size."""
    rows = []
    for size in SIZES:
        rows.append(students.undistilled(BASELINE, size))
        others = (family for family, named in students.preset.roles if named == size and family != BASELINE)
        rows += [
            dataclasses.replace(students.undistilled(family, size), baseline=f"{BASELINE}-{size}")
            for family in others
        ]
    return Table("families", "Families at equal width, without a teacher", tuple(rows), judged=False)
