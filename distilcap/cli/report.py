"""`distilcap report`: the tables and the page of measured results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.table import Table

from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, open_store

if TYPE_CHECKING:
    from distilcap.reports.grids import Grid
    from distilcap.reports.records import Results
    from distilcap.reports.results import System
    from distilcap.store.cluster import Share

__all__ = ["report", "report_results", "run_members"]

EXAMPLE = """\b
Example:
  distilcap report demo/results.json --to demo/report.html
"""


@click.command(epilog=EXAMPLE)
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="The page to write.")
def report(results: Path, to: Path | None) -> None:
    """Print the tables of RESULTS (a results.json), and write its page.

    The page shows pictures that lie below the folder of RESULTS.
    """
    from distilcap.reports.records import read_results
    from distilcap.reports.report import write_page

    content = read_results(results)
    _print_results(content)
    if to is not None:
        write_page(content, results.parent, to, PROGRESS)
        CONSOLE.print(f"Page: {to}", highlight=False)


def _print_results(results: Results) -> None:
    """Print the tables and the verdict; all rows as two tables, so that a narrow terminal shows them."""
    from distilcap.reports.grids import grids_of, legend

    grids = grids_of(results)
    if results.tables:
        for grid in grids:
            _print_grid(grid)
        CONSOLE.print(legend(results), highlight=False)
    else:
        costs = grids[0].columns(slice(1, 7), "What it costs")
        _print_grid(costs, left=("role", "labels"))
        _print_grid(grids[0].columns(slice(7, None), "Scores on the test split, x 100: greedy / beam"))
    CONSOLE.print(results.verdict, highlight=False)


def report_results(results: Results, to: Path, photos: bool) -> None:
    """Write the report of new results into the folder `to`, and print them."""
    from distilcap.reports.report import write_report

    write_report(results, to, PROGRESS, photos)
    _print_results(results)
    CONSOLE.print(f"Page: {to / 'report.html'}   Rows: {to / 'results.json'}", highlight=False)


def _print_grid(grid: Grid, left: tuple[str, ...] = ()) -> None:
    table = Table(title=grid.title, title_justify="left")
    for heading in grid.headings:
        justify: Literal["left", "right"] = "left" if heading in ("system", *left) else "right"
        table.add_column(heading, justify=justify, overflow="fold")
    for cells in grid.rows:
        table.add_row(*cells)
    CONSOLE.print(table)


def run_members(
    title: str,
    members: Sequence[System],
    store: Path,
    to: Path,
    plan: bool = False,
    cluster: Share | None = None,
    photos: bool = True,
) -> None:
    """Build, score and report the members of an experiment, or only print what that would take.

    With `cluster`, stages are built on a Ray cluster, where each gets so much.
    """
    from distilcap.reports.collect import collect_results
    from distilcap.reports.results import build_rows, gain_sentence, stages_of
    from distilcap.store.stage import Store

    if plan:
        for planned in Store(store).plan(stages_of(members)):
            CONSOLE.print(f"{'there' if planned.complete else 'to do'}  {planned.stage.key}", highlight=False)
        return
    kept = open_store(store)
    if cluster is not None:
        from distilcap.store.cluster import build_on_ray

        build_on_ray(stages_of(members), kept, PROGRESS, cluster)
    rows = build_rows(members, kept, PROGRESS)
    if not FIRST:
        return
    results = collect_results(title, members, rows, gain_sentence(members, kept), kept, PROGRESS)
    report_results(results, to, photos)
    for row in (row for row in rows if row.runs):
        CONSOLE.print(f"{row.name}: {store / row.runs[0]}", highlight=False, soft_wrap=True)
