"""Ranked rows: against what, and by which intervals."""

from __future__ import annotations

import numpy as np
import pytest

from distilcap.reports.records import Difference, Entry, Table
from distilcap.study.contrasts import Contrasts, Scored
from distilcap.study.ranking import ranking_sentence


def test_rows_whose_teachers_luck_is_not_counted_are_named() -> None:
    images = np.linspace(0, 1, 50)[None]
    several = images + np.array([-0.2, 0.0, 0.2])[:, None]
    rows = {
        "own": Scored("own", "updown", "small", "big", 5, several, own_teachers=True),
        "once": Scored("once", "updown", "small", "big", 5, images, own_teachers=True),
        "shared": Scored("shared", "updown", "small", "all", 5, several),
    }

    def said(*names: str) -> str:
        gain = Difference(0.05, (0.04, 0.06), 0.001, 0.001)
        entries = [Entry(name, 5, "plain", None, 12.0, {"cider": gain}) for name in names]
        scored = Contrasts([Scored("plain", "updown", "small", None, None, several), *rows.values()])
        return ranking_sentence(Table("extra", "Ways", tuple(entries)), scored)

    assert "luck" not in said("own")
    assert said("own", "once").endswith("A teacher's luck is not in the intervals of rows that ran once.")
    assert said(*rows).endswith(
        "is not in the intervals of rows that ran once, nor of those whose seeds have one teacher (shared)."
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_row_gains_by_an_interval_over_seeds_where_there_are_several(seeds: int) -> None:
    """A gain of 5 points on every image is sure over images, and not over seeds that differ by 20."""
    spread = np.array([-0.2, 0.0, 0.2])[:seeds, None] if seeds > 1 else np.zeros((1, 1))
    images = np.linspace(0, 1, 50)[None]
    scored = [
        Scored("plain", "updown", "small", None, None, images + spread),
        Scored("new", "updown", "small", "big", 5, images + spread[::-1] + 0.05),
    ]
    gain = Difference(0.05, (0.04, 0.06), 0.001, 0.001)
    entries = (
        Entry("plain", None, None, None, 0.0, {}),
        Entry("new", 5, "plain", None, 12.0, {"cider": gain}),
    )
    said = ranking_sentence(Table("extra", "Ways", entries), Contrasts(scored))
    if seeds > 1:
        assert (
            "with intervals over test images and seeds, not widened for the number of rows. "
            "Those that neither clearly gain nor lose: new" in said
        )
    else:
        assert "with intervals over test images alone (one run each), not widened" in said
        assert "Those that gain: new" in said
        assert "95 % +4.0 to +6.0, labels 12 s" in said
    assert "new (+5.0 against plain, 95 % " in said
