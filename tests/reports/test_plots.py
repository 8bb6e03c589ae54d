"""Which plots a report has, and of what."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from distilcap.reports.plots import TABLE_PLOTS
from distilcap.reports.records import Results, read_results

DOCS = Path(__file__).parents[2] / "docs/results"


def without_printed(results: Results) -> Results:
    tables = (
        dataclasses.replace(
            table, rows=tuple(dataclasses.replace(entry, printed=None) for entry in table.rows)
        )
        for table in results.tables
    )
    return dataclasses.replace(results, tables=tuple(tables))


@pytest.mark.parametrize(("name", "drawn", "panels"), [("flickr8k-worth", False, 0), ("flickr8k", True, 4)])
def test_a_curve_of_beam_sizes_needs_several(name: str, drawn: bool, panels: int) -> None:
    """Students with labels of one beam, each in another way, are no curve; nothing printed, no panel."""
    draw = TABLE_PLOTS["beam_size"][2]
    figure, results = Figure(), read_results(DOCS / name / "results.json")
    assert draw(figure, results) is drawn
    assert len(figure.axes) == panels
    figure = Figure()
    draw(figure, without_printed(results))
    assert len(figure.axes) == panels / 2
