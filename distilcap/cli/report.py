"""`distilcap report`: the tables and the page of measured results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.table import Table

from distilcap.cli.bounds import PATH
from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, open_store
from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.store.engine import EngineOptions, build_ahead

if TYPE_CHECKING:
    from distilcap.pipeline.distill import Distilled
    from distilcap.pipeline.plan import Distillation
    from distilcap.reports.grids import Grid
    from distilcap.reports.records import Results, Row
    from distilcap.reports.results import System
    from distilcap.store.planning import Facts
    from distilcap.store.stage import Stage
    from distilcap.store.store import Store

__all__ = ["OutputOptions", "print_plan", "report", "report_results", "run_distillation", "run_members"]


@dataclass(frozen=True)
class OutputOptions(Options):
    """What becomes of the results of an experiment."""

    to: Path = option(Path("results"), "Folder of the results.")
    no_photos: bool = option(False, "Leave sample pictures out of the report, to pass it on.")
    plan: bool = option(False, "Print stages, which are complete, and what they take; run nothing.")


EXAMPLE = """\b
Example:
  distilcap report demo/results.json --to demo/report.html
"""


@click.command(epilog=EXAMPLE)
@click.argument("results", type=PATH)
@click.option("--to", type=PATH, help="The page to write.")
def report(results: Path, to: Path | None) -> None:
    """Print the tables of RESULTS (a results.json), and write its page.

    The page shows pictures that lie below the folder of RESULTS.
    """
    from distilcap.reports.records import read_results
    from distilcap.reports.report import write_page

    if to is not None and to.resolve() == results.resolve():
        raise ConfigError(f"{to}: the page would replace these results; name another file, as report.html.")
    content = read_results(results)
    _print_results(content)
    if to is not None:
        write_page(content, results.parent, to, PROGRESS)
        CONSOLE.print(f"Page: {to}")


def _print_results(results: Results) -> None:
    """Print the tables and the verdict; all rows as two tables, so that a narrow terminal shows them."""
    from distilcap.reports.grids import grids_of, legend

    grids = grids_of(results)
    if results.tables:
        for grid in grids:
            _print_grid(grid)
        CONSOLE.print(legend(results))
    else:
        costs = grids[0].columns(slice(1, 7), "What it costs")
        _print_grid(costs, left=("role", "labels"))
        _print_grid(grids[0].columns(slice(7, None), "Scores on the test split, x 100: greedy / beam"))
    CONSOLE.print(results.verdict)


def report_results(results: Results, output: OutputOptions) -> None:
    """Write the report of new results into its folder, and print them."""
    from distilcap.reports.report import write_report

    write_report(results, output.to, PROGRESS, photos=not output.no_photos)
    _print_report(results, output.to)


def _print_report(results: Results, to: Path) -> None:
    _print_results(results)
    CONSOLE.print(f"Page: {to / 'report.html'}   Rows: {to / 'results.json'}")


def _print_grid(grid: Grid, left: tuple[str, ...] = ()) -> None:
    table = Table(title=grid.title, title_justify="left")
    for heading in grid.headings:
        justify: Literal["left", "right"] = "left" if heading in ("system", *left) else "right"
        table.add_column(heading, justify=justify, overflow="fold")
    for cells in grid.rows:
        table.add_row(*cells)
    CONSOLE.print(table)


def run_distillation(
    title: str,
    plan: Distillation,
    store: Path,
    engine: EngineOptions,
    output: OutputOptions,
    export: bool = True,
) -> Distilled | None:
    """Run a distillation, print its table, and write results, page and bundle; None where that is planned."""
    from distilcap.pipeline.distill import check_distilled_folder, distill, write_distilled
    from distilcap.pipeline.remarks import note_plan
    from distilcap.stages.vocabulary import judge_data
    from distilcap.store.store import Store
    from distilcap.study.estimate import facts_of_run

    if output.plan:
        run, planned = plan.students[-1].trains[0], Store(store)
        note_plan(run, planned, PROGRESS)
        print_plan(plan.stages(export), planned, facts_of_run(run, planned))
        return None
    check_distilled_folder(output.to, plan, export)
    kept = open_store(store)
    judge_data(plan.stages(export), kept)
    build_ahead(plan.stages(export), kept, PROGRESS, engine)
    distilled = distill(plan, kept, PROGRESS, export=export)
    if not FIRST:
        return distilled
    results = write_distilled(
        title, plan, distilled, kept.alone(), output.to, PROGRESS, photos=not output.no_photos
    )
    _print_report(results, output.to)
    _print_runs(distilled.rows, store)
    if distilled.bundle is not None:
        CONSOLE.print(f"Bundle: {output.to / 'bundle'}")
    elif export:
        sys.exit(2)  # what was asked for is not there; why has been said
    return distilled


def print_plan(stages: Sequence[Stage], store: Store, facts: Facts) -> None:
    """Print the stages of a plan, which of them are complete, and about what the others take."""
    from distilcap.stages.pretrained import LabelWithPretrained
    from distilcap.study.announce import at_most
    from distilcap.study.estimate import estimate_plan

    every = estimate_plan(store.plan(stages), facts, store)
    costs = [cost for cost in every if cost.planned.to_do or store.has(cost.planned.stage)]
    missing = [cost for cost in costs if cost.planned.to_do]
    unknown = [cost for cost in missing if isinstance(cost.planned.stage, LabelWithPretrained)]
    for cost in costs:
        stage, there, price = cost.planned.stage, "there", ""
        if cost.planned.to_do:
            took = "?" if cost in unknown else duration(cost.seconds)
            there, price = "to do", f"{took:>8} {cost.megabytes:9.1f} MB"
        CONSOLE.print(f"{there}  {price:20}  {stage.key}  {stage.describe()}", soft_wrap=True)
    seconds, megabytes = sum(cost.seconds for cost in missing), sum(cost.megabytes for cost in missing)
    measured = sum(cost.seconds for cost in missing if cost.measured)
    share = f"{measured / seconds:.0%}" if seconds else "all"
    CONSOLE.print(
        f"{len(costs)} stages, {len(costs) - len(missing)} there. To do: "
        f"{at_most(cost.planned.stage for cost in missing)}about {duration(seconds)} of one process and "
        f"{megabytes / 1e3:.1f} GB. Of that time {share} is by rates measured in this store, the "
        "rest by those of one core elsewhere."
        + (" What is marked ? is not counted: its model is not of distilcap." if unknown else ""),
    )


def duration(seconds: float) -> str:
    """Seconds for people: "2 h 05"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02}"


def _print_runs(rows: Sequence[Row], store: Path) -> None:
    for row in (row for row in rows if row.runs):
        CONSOLE.print(f"{row.name}: {store / row.runs[0]}", soft_wrap=True)


def run_members(
    title: str,
    members: Sequence[System],
    store: Path,
    engine: EngineOptions,
    output: OutputOptions,
) -> None:
    """Build, score and report the members of an experiment, or only print what that would take."""
    from distilcap.reports.collect import collect_results
    from distilcap.reports.report import check_report_folder
    from distilcap.reports.results import build_rows, stages_of, trained_members
    from distilcap.reports.sentences import decoding_sentences, gain_sentence
    from distilcap.stages.vocabulary import judge_data
    from distilcap.store.store import Store
    from distilcap.study.estimate import facts_of_run

    if output.plan:
        first, planned = trained_members(members)[0].trains[0], Store(store)
        print_plan(stages_of(members), planned, facts_of_run(first, planned))
        return
    check_report_folder(output.to, trained_members(members)[0].trains[0].data.folders)
    kept = open_store(store)
    judge_data(stages_of(members), kept)
    build_ahead(stages_of(members), kept, PROGRESS, engine)
    rows = build_rows(members, kept, PROGRESS)
    if not FIRST:
        return
    kept = kept.alone()
    verdict = " ".join([gain_sentence(members, kept), *decoding_sentences(rows)]).strip()
    report_results(collect_results(title, members, rows, verdict, kept, PROGRESS), output)
    _print_runs(rows, store)
