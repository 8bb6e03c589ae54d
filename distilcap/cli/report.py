"""`distilcap report`: the table and the page of measured results."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, judge_data, open_store

if TYPE_CHECKING:
    from distilcap.pipeline.distill import Distillation
    from distilcap.reports.results import System
    from distilcap.store.cluster import Share
    from distilcap.store.stage import Stage, Store

__all__ = ["print_results", "report", "run_distillation", "run_members"]

EXAMPLE = """\b
Example:
  distilcap report demo/results.json --to demo/report.html
"""


@click.command(epilog=EXAMPLE)
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="The page to write.")
def report(results: Path, to: Path | None) -> None:
    """Print the table of RESULTS (a results.json), and write its page."""
    from distilcap.reports.report import read_results, write_page

    content = read_results(results)
    print_results(content)
    if to is not None:
        write_page(content, results.parent, to)
        CONSOLE.print(f"Page: {to}")


def print_results(results: dict[str, Any]) -> None:
    """Print rows and verdict: sizes and costs first, then scores, so that a narrow terminal shows all."""
    from distilcap.reports.report import table_of

    headings, cells = table_of(results["rows"])
    costs, scores = slice(1, 7), slice(7, None)
    for title, columns in (
        ("What it costs", costs),
        ("Scores on the test split, x 100: greedy / beam", scores),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column(headings[0])
        for heading in headings[columns]:
            left = heading in ("role", "labels")
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
        for line in cells:
            table.add_row(line[0], *line[columns])
        CONSOLE.print(table)
    CONSOLE.print(results["verdict"])


def run_distillation(
    title: str,
    plan: Distillation,
    store: Path,
    to: Path,
    only_plan: bool = False,
    cluster: Share | None = None,
    photos: bool = True,
    export: bool = True,
) -> None:
    """Run a distillation, print its table, and write results, page and bundle into `to`."""
    from distilcap.pipeline.distill import distill
    from distilcap.reports.report import collect_results, write_results
    from distilcap.store.stage import Store

    if only_plan:
        print_plan(plan.stages(export), Store(store))
        return
    kept = open_store(store)
    judge_data(plan.stages(export), kept)
    if cluster is not None:
        from distilcap.store.cluster import build_on_ray

        build_on_ray(plan.stages(export), kept, PROGRESS, cluster)
    distilled = distill(plan, kept, PROGRESS, export=export)
    if not FIRST:
        return
    kept = kept.alone()
    results = collect_results(title, plan.systems, distilled.rows, distilled.verdict, kept)
    write_results(results, to, photos)
    print_results(results)
    _tell(distilled.rows, store, to)
    if distilled.bundle is not None:
        from distilcap.export.folders import whole_folder
        from distilcap.runtime.manifest import MANIFEST

        with whole_folder(to / "bundle", MANIFEST) as new:
            shutil.copytree(distilled.bundle, new, dirs_exist_ok=True)
        CONSOLE.print(f"Bundle: {to / 'bundle'}")


def print_plan(stages: Sequence[Stage], store: Store) -> None:
    """Print the stages of a plan and which of them are complete."""
    for planned in store.plan(stages):
        CONSOLE.print(f"{'there' if planned.complete else 'to do'}  {planned.stage.key}")


def _tell(rows: Sequence[dict[str, Any]], store: Path, to: Path) -> None:
    CONSOLE.print(f"Page: {to / 'report.html'}   Rows: {to / 'results.json'}")
    for row in (row for row in rows if row["runs"]):
        CONSOLE.print(f"{row['name']}: {store / row['runs'][0]}", soft_wrap=True)


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
    from distilcap.reports.report import collect_results, write_results
    from distilcap.reports.results import build_rows, decoding_sentences, gain_sentence, stages_of
    from distilcap.store.stage import Store

    if plan:
        print_plan(stages_of(members), Store(store))
        return
    kept = open_store(store)
    judge_data(stages_of(members), kept)
    if cluster is not None:
        from distilcap.store.cluster import build_on_ray

        build_on_ray(stages_of(members), kept, PROGRESS, cluster)
    rows = build_rows(members, kept, PROGRESS)
    if not FIRST:
        return
    kept = kept.alone()
    verdict = " ".join([gain_sentence(members, kept), *decoding_sentences(rows)]).strip()
    results = collect_results(title, members, rows, verdict, kept)
    write_results(results, to, photos)
    print_results(results)
    _tell(rows, store, to)
