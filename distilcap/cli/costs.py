"""`distilcap costs`: hours and money of the paper's tables on several GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.common import CONSOLE, store_option

if TYPE_CHECKING:
    from distilcap.experiments.estimate import Facts
    from distilcap.experiments.stage import Store
    from distilcap.recipes.tables import Students

__all__ = ["costs"]

EXAMPLE = """\b
Example:
  distilcap costs --gpus 1 --gpus 4 --gpus 8 --price 2.50 --rate train=3e12 --rate label=2e12
"""
KINDS = ("train", "label", "features", "score")


@click.command(epilog=EXAMPLE)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Your data set. [default: COCO's sizes; needs no data]"
)
@click.option("--images", type=click.Path(path_type=Path), help="Where its images lie, if not beside it.")
@click.option("--preset", type=click.Choice(["paper", "quick", "smoke"]), default="paper", show_default=True)
@click.option("--seeds", default=3, show_default=True, help="Students are trained so many times.")
@click.option("--metrics", default="bleu,meteor,rouge_l,cider,spice", show_default=True)
@click.option("--gpus", multiple=True, default=(1, 4, 8), type=int, show_default=True)
@click.option("--price", default=0.0, show_default=True, help="Of a GPU for an hour, in your money.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    help="Your own, as KIND=NUMBER: train and label in multiply-adds a second, features in pixels a second, "
    "score as a factor.",
)
@store_option
def costs(
    data: Path | None,
    images: Path | None,
    preset: str,
    seeds: int,
    metrics: str,
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

    from distilcap.experiments.costs import bill
    from distilcap.experiments.estimate import estimate_plan
    from distilcap.experiments.stage import Store
    from distilcap.experiments.tables import stages_of_tables
    from distilcap.recipes.tables import TABLES, paper_tables

    given = _rates(rates)
    students, facts = _students(data, images, preset, seeds, Store(store))
    names = tuple(name for name in metrics.split(",") if name)
    grid = Grid(title=f"{students.data.name}, preset {preset}, {seeds} seeds", title_justify="left")
    for heading in ("tables", "stages", "process hours"):
        grid.add_column(heading, justify="left" if heading == "tables" else "right")
    for count in gpus:
        grid.add_column(f"{count} GPU{'s' * (count > 1)}: hours (busy)", justify="right")
        if price:
            grid.add_column("money", justify="right")
    measured: set[str] = set()
    for what in (*TABLES, "all"):
        tables = paper_tables(students, tuple(TABLES) if what == "all" else (what,))
        plan = Store(store).plan(stages_of_tables(tables, names))
        each = estimate_plan(plan, facts, Store(store), given)
        measured |= {type(one.planned.stage).__name__ for one in each if one.measured}
        todo = sum(not one.planned.complete for one in each)
        cells = [what, str(todo), f"{sum(one.seconds for one in each) / 3600:,.1f}"]
        for count in gpus:
            due = bill(each, count, price)
            cells.append(f"{due.hours:,.1f} ({due.busy:.0%})")
            cells += [f"{due.money:,.2f}"] if price else []
        grid.add_row(*cells)
    CONSOLE.print(grid)
    by_hand = ", ".join(rates) or "none"
    CONSOLE.print(
        f"Rates given: {by_hand}; measured in {store}: {', '.join(sorted(measured)) or 'none'}; all others "
        "are those of one CPU core. Each stage has one GPU; docs/scale.md says what else is assumed.",
        highlight=False,
    )


def _rates(texts: tuple[str, ...]) -> dict[type, float]:
    from distilcap.errors import ConfigError
    from distilcap.experiments.steps import Evaluate, ExtractFeatures, Labels, Train

    kinds = dict(zip(KINDS, (Train, Labels, ExtractFeatures, Evaluate), strict=True))
    found: dict[type, float] = {}
    for text in texts:
        kind, _, number = text.partition("=")
        try:
            found[kinds[kind]] = float(number)
        except (KeyError, ValueError):
            raise ConfigError(
                f"`rate` must be one of {', '.join(KINDS)}, = and a number, but is {text!r}."
            ) from None
        if not 0 < found[kinds[kind]] < float("inf"):
            raise ConfigError(f"`rate` of {kind} must be above 0, but is {number}.")
    return found


def _students(
    data: Path | None, images: Path | None, preset: str, seeds: int, store: Store
) -> tuple[Students, Facts]:
    """The plan's rows, and the sizes that costs depend on; without data, COCO's."""
    from distilcap.errors import ConfigError
    from distilcap.experiments.costs import COCO
    from distilcap.experiments.estimate import Facts
    from distilcap.experiments.steps import ExtractFeatures, ImportData
    from distilcap.recipes.table_presets import table_preset
    from distilcap.recipes.tables import Students

    if seeds < 1:
        raise ConfigError(f"`seeds` must be at least 1, but is {seeds}.")
    settings = table_preset(preset)
    seen = settings.encoder
    if data is None:
        source = ImportData("the sizes of COCO", "COCO's sizes", "", None)
        features = ExtractFeatures(source, "{}", None, seen.name, seen.size, seen.weights, seen.form)
        return Students(source, features, settings, tuple(range(seeds))), COCO
    source = ImportData.of(data, images)
    features = ExtractFeatures.of(source, seen.name, seen.size, seen.weights, seen.form)
    facts = Facts.of(source, features, store, settings.min_count)
    return Students(source, features, settings, tuple(range(seeds))), facts
