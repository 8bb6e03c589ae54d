"""`distilcap costs`: hours and money of the paper's tables on several GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.bounds import COUNT, PATH, Real
from distilcap.cli.common import CONSOLE, store_option
from distilcap.cli.options import flags
from distilcap.study.options import TableOptions

if TYPE_CHECKING:
    from distilcap.store.planning import Facts, Plannable
    from distilcap.store.store import Store
    from distilcap.study.rows import Students

__all__ = ["costs"]

EXAMPLE = """\b
Example:
  distilcap costs --gpus 1 --gpus 4 --gpus 8 --price 2.50 --rate train=3e12 --rate label=2e12
"""


@click.command(epilog=EXAMPLE)
@click.option("--data", type=PATH, help="Your data set. [default: COCO's sizes; needs no data]")
@click.option("--images", type=PATH, help="Folder of its images, if not beside it.")
@flags(TableOptions, "options", only=("preset", "seeds", "metrics"))
@click.option(
    "--gpus",
    multiple=True,
    default=(1, 4, 8),
    type=COUNT,
    show_default=True,
    help="Number of GPUs; may be given more than once.",
)
@click.option(
    "--price",
    type=Real(0),
    default=0.0,
    show_default=True,
    help="Price of a GPU for an hour, in your currency.",
)
@click.option(
    "--rate",
    "rates",
    multiple=True,
    help="Your rate, as KIND=NUMBER: train and label in multiply-adds a second, features in pixels a second, "
    "score as a factor.",
)
@store_option
def costs(
    data: Path | None,
    images: Path | None,
    options: TableOptions,
    gpus: tuple[int, ...],
    price: float,
    rates: tuple[str, ...],
    store: Path,
) -> None:
    """Say how long the paper's tables take on several GPUs, and what that costs.

    A rate is the given one, else the one measured in the store on the same data, else that of one CPU core:
    no rate of a GPU is assumed.
    """
    from rich.table import Table as Grid

    from distilcap.store.store import Store
    from distilcap.study.costs import bill
    from distilcap.study.estimate import estimate_plan, measured_rates
    from distilcap.study.rows import TABLES, paper_tables
    from distilcap.study.tables import stages_of_tables

    given = _rates(rates)
    students, facts = _students(data, images, options, Store(store))
    grid = Grid(
        title=f"{students.data.name}, preset {options.preset}, {len(students.seeds)} seeds",
        title_justify="left",
    )
    for heading in ("tables", "stages", "process hours"):
        grid.add_column(heading, justify="left" if heading == "tables" else "right")
    for count in gpus:
        grid.add_column(f"{count} GPU{'s' * (count > 1)}: hours (busy)", justify="right")
        if price:
            grid.add_column("money", justify="right")
    measured: dict[type, float] = {}
    for what in (*TABLES, "all"):
        tables = paper_tables(students, tuple(TABLES) if what == "all" else (what,))
        plan = Store(store).plan(stages_of_tables(tables, options.metric_names))
        estimates = estimate_plan(plan, facts, Store(store), given)
        measured = measured_rates(plan, facts, Store(store))
        todo = sum(cost.planned.to_do for cost in estimates)
        cells = [what, str(todo), f"{sum(cost.seconds for cost in estimates) / 3600:,.1f}"]
        for count in gpus:
            due = bill(estimates, count, price)
            cells.append(f"{due.hours:,.1f} ({due.busy:.0%})")
            cells += [f"{due.money:,.2f}"] if price else []
        grid.add_row(*cells)
    CONSOLE.print(grid)
    CONSOLE.print("Rates: " + _origins(given, measured, store))
    CONSOLE.print("Each stage has one GPU; docs/scale.md says what else is assumed.")


def _kinds() -> dict[str, type[Plannable]]:
    from distilcap.stages.captions import Labels
    from distilcap.stages.features import ExtractFeatures
    from distilcap.stages.measure import Evaluate
    from distilcap.stages.train import Train

    return {"train": Train, "label": Labels, "features": ExtractFeatures, "score": Evaluate}


def _origins(given: dict[type, float], measured: dict[type, float], store: Path) -> str:
    """Each rate with where it comes from, as `--rate` takes it."""
    parts = []
    for name, kind in _kinds().items():
        for rates, origin in (
            (given, "given"),
            (measured, f"measured in {store}"),
            ({kind: kind.rate}, "of one CPU core"),
        ):
            if kind in rates:
                parts.append(f"{name}={rates[kind]:.2g} ({origin})")
                break
    return ", ".join(parts) + "."


def _rates(texts: tuple[str, ...]) -> dict[type, float]:
    from distilcap.errors import ConfigError

    kinds = _kinds()
    given: dict[type, float] = {}
    for text in texts:
        kind, _, number = text.partition("=")
        try:
            given[kinds[kind]] = float(number)
        except (KeyError, ValueError):
            raise ConfigError(
                f"`rate` must be one of {', '.join(kinds)}, = and a number, but is {text!r}."
            ) from None
        if not 0 < given[kinds[kind]] < float("inf"):
            raise ConfigError(f"`rate` of {kind} must be above 0, but is {number}.")
    return given


def _students(
    data: Path | None, images: Path | None, options: TableOptions, store: Store
) -> tuple[Students, Facts]:
    """The plan's rows, and the sizes that costs depend on; without data, COCO's."""
    from distilcap.stages.data import ImportData
    from distilcap.stages.features import ExtractFeatures
    from distilcap.study.costs import COCO
    from distilcap.study.estimate import facts_of

    if data is None:
        source = ImportData("the sizes of COCO", "COCO's sizes", "", None)
        return options.students(source, ExtractFeatures(source, "{}", None, "", None, None, None)), COCO
    students = options.students(ImportData.of(data, images))
    return students, facts_of(students.data, students.features, store, students.preset.min_count)
