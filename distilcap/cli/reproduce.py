"""`distilcap reproduce`: the paper's tables and the README's measurements, one command each."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.bounds import IMAGE_SIZE, SEEDS
from distilcap.cli.common import (
    CONSOLE,
    FIRST,
    PROGRESS,
    engine_of,
    engine_options,
    judge_data,
    open_store,
    store_option,
)
from distilcap.shown import shown

if TYPE_CHECKING:
    from distilcap.store.cluster import Share
    from distilcap.store.stage import Store
    from distilcap.study.rows import Students
    from distilcap.study.tables import Table

__all__ = ["reproduce"]

EXAMPLE = """\b
Example:
  distilcap reproduce table1 table2 --data flickr8k/ --preset quick --seeds 3 --plan
"""
TABLES = ("table1", "table2", "table3", "table4")
LINES = ("flickr8k", "flickr8k-tuned", "encoders")
NAMED_DATA = ("coco", "flickr8k", "scenes")


@click.command(epilog=EXAMPLE)
@click.argument("what", type=click.Choice([*TABLES, "all", "extra", *LINES]), nargs=-1, required=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Captions file, folder, or one of coco, flickr8k, scenes: a folder of that name here or in "
    "$DISTILCAP_DATA; scenes are drawn.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Where the images lie, if not beside it.")
@click.option(
    "--preset",
    type=click.Choice(["paper", "flickr8k", "quick", "smoke"]),
    default="paper",
    show_default=True,
    help="Of tables: 30 + 10 epochs as published; to the flat end on Flickr8k; short and narrow, for two CPU "
    "cores; a test of seconds.",
)
@click.option("--seeds", type=SEEDS, help="Students are trained so many times. [default: 3, of lines 1]")
@click.option("--encoder", help="Of tables: sees the images. [default: the preset's]")
@click.option("--image-size", type=IMAGE_SIZE, help="Of tables: side of the encoder's input in pixels.")
@click.option("--encoder-form", help="Of tables: see `distilcap models --encoders`.")
@click.option("--encoder-weights", help="Of tables: file of the encoder's weights.")
@click.option(
    "--metrics",
    default="bleu,meteor,rouge_l,cider,spice",
    show_default=True,
    help="Of tables: without spice it goes faster.",
)
@store_option
@engine_options
@click.option("--to", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--no-photos", is_flag=True, help="Leave sample pictures out of the report, to pass it on.")
@click.option("--plan", is_flag=True, help="Print stages, what is there, time and disk; run nothing.")
def reproduce(
    what: tuple[str, ...],
    data: Path,
    images: Path | None,
    preset: str,
    seeds: int | None,
    encoder: str | None,
    image_size: int | None,
    encoder_form: str | None,
    encoder_weights: str | None,
    metrics: str,
    store: Path,
    engine: str,
    cpus_per_stage: int,
    gpus_per_stage: float | None,
    to: Path,
    no_photos: bool,
    plan: bool,
) -> None:
    """Measure again what the paper or the README reports.

    WHAT is one of the paper's tables, several for one report, or all of them; or extra: other ways of
    distilling. flickr8k is the line of the README, encoders the table of docs/encoders.md. A killed command
    goes on where it stopped; two commands may share a store.
    """
    from distilcap.errors import ConfigError

    cluster = engine_of(engine, cpus_per_stage, gpus_per_stage)
    together = tuple(name for name in TABLES if name in what or "all" in what)
    if len(what) > 1 and len(together) < len(set(what)):
        raise ConfigError(f"Only tables go together, but not {' '.join(what)}; give one command for each.")
    if what[0] in LINES:
        from distilcap.cli.report import run_distillation, run_members
        from distilcap.study.encoders import encoder_members
        from distilcap.study.flickr8k import flickr8k_plan

        if what[0] == "encoders":
            members = encoder_members(_folder(data), images)
            run_members(
                "Encoders under the same small captioner", members, store, to, plan, photos=not no_photos
            )
            return
        stages = flickr8k_plan(_folder(data), images, seeds or 1, tuned=what[0].endswith("tuned"))
        title = "Flickr8k: teacher to student"
        run_distillation(title, stages, store, to, plan, cluster, not no_photos, export=False)
        return
    chosen = (encoder, image_size, encoder_form, encoder_weights)
    students = _students(data, images, preset, seeds or 3, chosen, store, plan)
    names = tuple(name for name in metrics.split(",") if name)
    _run(together, " and ".join(what), students, names, store, (to, not no_photos), plan, cluster)


def _folder(data: Path) -> Path:
    """A path as it is; the name of a known data set also where data sets are kept."""
    from distilcap.errors import DataError

    if data.exists() or str(data) not in NAMED_DATA:
        return data
    kept = Path(os.environ.get("DISTILCAP_DATA", "data")) / data
    if kept.exists() or str(data) == "scenes":
        return kept
    fix = "`distilcap data coco --root coco` sets it up" if str(data) == "coco" else "give its folder"
    raise DataError(f"{data}: there is no such folder here, nor {kept}; {fix}.")


def _students(
    data: Path,
    images: Path | None,
    preset: str,
    seeds: int,
    chosen: tuple[str | None, int | None, str | None, str | None],
    store: Path,
    plan: bool,
) -> Students:
    """Everything about the rows but which they are; scenes are drawn where they are not there yet."""
    from distilcap.errors import DataError
    from distilcap.stages.data import ImportData
    from distilcap.stages.features import ExtractFeatures
    from distilcap.study.presets import EncoderChoice, table_preset
    from distilcap.study.rows import Students
    from distilcap.training.processes import processes_asked_for

    settings = table_preset(preset)
    folder = _folder(data)
    if str(data) == "scenes" and not folder.exists():
        if plan or processes_asked_for()[1] > 1:
            raise DataError(
                f"{folder}: the scenes are not drawn yet, and neither a plan nor a launch of several "
                f"processes draws them: `distilcap data scenes --to {folder}` does, in a minute."
            )
        from distilcap.data.scenes import draw_scenes

        counts, size = settings.scenes
        draw_scenes(folder, counts, size=size, progress=PROGRESS)
    source = ImportData.of(folder, images)
    name, size_of, form, weights = chosen
    # Another encoder than the preset's comes with its own defaults.
    own = settings.encoder if name in (None, settings.encoder.name) else EncoderChoice(str(name), form=None)
    features = ExtractFeatures.of(
        source, own.name, size_of or own.size, weights or own.weights, form or own.form
    )
    return Students(source, features, settings, tuple(range(seeds)))


def _run(
    names: tuple[str, ...],
    what: str,
    students: Students,
    metrics: tuple[str, ...],
    store: Path,
    report: tuple[Path, bool],
    plan: bool,
    cluster: Share | None,
) -> None:
    from distilcap.cli.report import report_results
    from distilcap.store.cluster import build_on_ray
    from distilcap.store.stage import Store
    from distilcap.study.extra import extra_table
    from distilcap.study.rows import paper_tables
    from distilcap.study.tables import run_tables, stages_of_tables

    tables: tuple[Table, ...] = paper_tables(students, names) if names else (extra_table(students),)
    if plan:
        _print_plan(tables, students, Store(store), metrics)
        return
    kept = open_store(store)
    judge_data(stages_of_tables(tables, metrics), kept)
    if cluster is not None:
        build_on_ray(stages_of_tables(tables, metrics), kept, PROGRESS, cluster)
    title = f"{what} on {students.data.name}, preset {students.preset.name}"
    command = shown(shlex.join(["distilcap", *sys.argv[1:]]))
    results = run_tables(title, tables, kept, PROGRESS, metrics, command)
    if not FIRST:
        return
    report_results(results, *report)


def _print_plan(
    tables: tuple[Table, ...], students: Students, store: Store, metrics: tuple[str, ...]
) -> None:
    from distilcap.study.estimate import estimate_plan, facts_of
    from distilcap.study.tables import stages_of_tables

    plan = store.plan(stages_of_tables(tables, metrics))
    facts = facts_of(students.data, students.features, store, students.preset.min_count)
    costs = estimate_plan(plan, facts, store)
    for cost in costs:
        price = "" if cost.planned.complete else f"{duration(cost.seconds):>8} {cost.megabytes:9.1f} MB"
        there = "there" if cost.planned.complete else "to do"
        stage = cost.planned.stage
        CONSOLE.print(f"{there}  {price:20}  {stage.key}  {stage.describe()}", soft_wrap=True)
    missing = [cost for cost in costs if not cost.planned.complete]
    seconds, megabytes = sum(cost.seconds for cost in missing), sum(cost.megabytes for cost in missing)
    measured = sum(cost.seconds for cost in missing if cost.measured)
    share = f"{measured / seconds:.0%}" if seconds else "all"
    CONSOLE.print(
        f"{len(plan)} stages, {len(plan) - len(missing)} there. To do: about {duration(seconds)} of one "
        f"process and {megabytes / 1e3:.1f} GB. Of that time {share} is by rates measured in this store, the "
        "rest by those of one core elsewhere.",
    )


def duration(seconds: float) -> str:
    """Seconds for people: "2 h 05"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02}"
