"""`distilcap reproduce`: the paper's tables and the README's measurements, one command each."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.bounds import PATH
from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, open_store, store_option
from distilcap.cli.options import flags
from distilcap.cli.report import OutputOptions, print_plan, report_results, run_distillation, run_members
from distilcap.errors import ConfigError, DataError
from distilcap.shown import shown
from distilcap.store.engine import EngineOptions, build_ahead
from distilcap.store.store import Store
from distilcap.study.options import TableOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from distilcap.stages.data import ImportData
    from distilcap.study.rows import Students
    from distilcap.study.tables import Table

__all__ = ["reproduce"]

EXAMPLE = """\b
Example:
  distilcap reproduce table1 table2 --data flickr8k/ --preset quick --seeds 3 --plan
"""
TABLES = ("table1", "table2", "table3", "table4")
OTHERS = ("extra", "families", "worth", "box")
EXPERIMENTS = ("flickr8k", "flickr8k-tuned", "encoders")
USED = dict.fromkeys(EXPERIMENTS, ("seeds",)) | {"box": ("seeds", "metrics", "crops", "finished", "check")}
"""Options of those that have a recipe of their own."""
NAMED_DATA = ("coco", "flickr8k", "scenes")
SHOWN = 20  # differences of a report that is checked


@click.command(epilog=EXAMPLE)
@click.argument(
    "what", metavar="[WHAT]...", type=click.Choice([*TABLES, "all", *OTHERS, *EXPERIMENTS]), nargs=-1
)
@click.option(
    "--data",
    type=PATH,
    help="Captions file, folder, or one of coco, flickr8k, scenes: a folder of that name here or in "
    "$DISTILCAP_DATA; scenes are drawn.",
)
@click.option("--images", type=PATH, help="Where the images lie, if not beside it.")
@flags(TableOptions, "options")
@store_option
@flags(EngineOptions, "engine")
@flags(OutputOptions, "output")
@click.option(
    "--crops",
    type=PATH,
    help="Of box: folder of crops of the training images, as `distilcap data crops` writes them. With three "
    "seeds, --finished or --check, without it the rows that learn from crops are left out.",
)
@click.option("--finished", is_flag=True, help="Of tables: train nothing; report the rows that are trained.")
@click.option(
    "--check",
    type=PATH,
    help="Of tables: score the captions packed in this folder again, and compare every number of its report.",
)
def reproduce(
    what: tuple[str, ...],
    data: Path | None,
    images: Path | None,
    options: TableOptions,
    store: Path,
    engine: EngineOptions,
    output: OutputOptions,
    crops: Path | None,
    finished: bool,
    check: Path | None,
) -> None:
    """Measure again what the paper or the README reports.

    WHAT is table1, table2, table3 or table4, the paper's (several make one report), or all of them; or extra:
    other ways of distilling; or families: captioners of equal width beside one another; or worth: a student
    without and with a teacher, each without and with self-critical training (README's table); or box: the
    captioner that comes with the package, step by step, and the same steps without a teacher. flickr8k is
    README's former experiment, flickr8k-tuned the same with the teacher's encoder tuned, encoders the table
    of docs/encoders.md.
    A killed command goes on where it stopped; two may share a store. With --check, WHAT and the options but
    --data, --images and --crops may be left out: they are then those of the report.
    """
    if check is not None and not what:
        _as_the_report_was_made(check, data=data, images=images, crops=crops)
        return
    if not what or data is None:
        raise click.UsageError("Give what to reproduce, and its `--data`.")
    together = tuple(name for name in TABLES if name in what or "all" in what)
    if len(set(what)) > 1 and not set(what) <= {*TABLES, "all"}:
        raise ConfigError(f"Only tables go together, but not {' '.join(what)}; give one command for each.")
    if options.more_seeds and what[0] != "extra":
        raise ConfigError(f"`more_seeds` is of `extra`, not of {what[0]}; leave it out.")
    _refuse_unused(what[0])
    if output.plan and (finished or check is not None):
        raise ConfigError("`--plan` is of what is to be trained; leave out `--finished` and `--check`.")
    if what[0] == "encoders":
        from distilcap.study.encoders import encoder_members

        title, seeds = "Encoders under the same small captioner", tuple(range(options.seeds or 1))
        run_members(title, encoder_members(_folder(data), images, seeds=seeds), store, engine, output)
    elif what[0] in EXPERIMENTS:
        from distilcap.study.flickr8k import flickr8k_plan

        plan = flickr8k_plan(_folder(data), images, options.seeds or 1, tuned=what[0].endswith("tuned"))
        run_distillation("Flickr8k: teacher to student", plan, store, engine, output, export=False)
    else:
        trained = not finished and check is None
        if what[0] == "box":
            from distilcap.study.box import LEAST_SEEDS

            options = _as_the_box(options)
            if trained and crops is None and (options.seeds or 1) < LEAST_SEEDS:
                raise ConfigError(
                    f"`reproduce box` with fewer than {LEAST_SEEDS} seeds learns from crops; `distilcap data "
                    "crops` writes them, `--crops` takes their folder."
                )
        students = options.students(_drawn_or_there(data, images, options, output))
        tables = _tables(together or what, students, crops)
        title = f"{' and '.join(dict.fromkeys(what))} on {students.data.name}, preset {students.preset.name}"
        if output.plan:
            from distilcap.study.estimate import facts_of
            from distilcap.study.tables import stages_of_tables

            least, kept = students.preset.min_count, Store(store)
            facts = facts_of(students.data, students.features, kept, least)
            print_plan(stages_of_tables(tables, options.metric_names), kept, facts)
        elif check is not None:
            _check(check, title, students.data, tables, options.metric_names)
        else:
            _run(title, tables, options.metric_names, store, engine, output, finished)
            if what[0] == "box" and trained and FIRST:
                from distilcap.study.box import best_run, write_box

                kept = open_store(store).alone()
                write_box(best_run(tables[0], kept), kept, output.to, PROGRESS)


def _given_here() -> dict[str, str]:
    """The options that stand in the command, whatever their values: flags by name."""
    context = click.get_current_context()
    named = {str(option.name): option.opts[0] for option in context.command.params}
    typed = click.core.ParameterSource.COMMANDLINE
    return {name: flag for name, flag in named.items() if context.get_parameter_source(name) == typed}


def _refuse_unused(what: str) -> None:
    """What someone asks for happens, or they are told that it does not."""
    all_options = {*(field.name for field in fields(TableOptions)), "crops", "finished", "check"}
    unused = all_options.difference(USED[what]) if what in USED else {"crops"}
    for name, flag in _given_here().items():
        if name in unused:
            raise ConfigError(f"`reproduce {what}` has no use for `{flag}`; leave it out.")


def _as_the_box(options: TableOptions) -> TableOptions:
    from distilcap.study.box import PRESET

    return replace(options, preset=PRESET, seeds=options.seeds or 1)


def _as_the_report_was_made(folder: Path, **paths: Path | None) -> None:
    """Check a report by the command that made it, as it says; only its options are read."""
    from distilcap.reports.records import RESULTS, read_results

    for name, flag in _given_here().items():
        if name not in (*paths, "check"):
            raise ConfigError(
                f"`--check` without WHAT takes the report's own options, and not `{flag}`: leave it out, or "
                "give WHAT and all options."
            )
    program, *command = shlex.split(read_results(folder / RESULTS).command) or [""]
    # Options of all commands stand before this one's name; no plugin is loaded because a report names it.
    while command and command[0].startswith("--"):
        del command[: 2 if command[0] == "--plugin" else 1]
    if program != "distilcap" or command[:1] != ["reproduce"] or "--check" in command:
        raise DataError(f"{folder / RESULTS}: no report of `distilcap reproduce` with tables.")
    given = [f"--{name}={path}" for name, path in paths.items() if path is not None]
    reproduce.main([*command[1:], *given, "--check", str(folder)], standalone_mode=False)


def _check(
    folder: Path, title: str, data: ImportData, tables: tuple[Table, ...], metrics: tuple[str, ...]
) -> None:
    from distilcap.study.check import check_report, left_out

    differences = check_report(folder, title, data, tables, metrics, PROGRESS)
    for line in differences[:SHOWN]:
        CONSOLE.print(line, soft_wrap=True)
    if differences:
        raise DataError(f"{folder}: {len(differences)} numbers or texts are not as its captions score.")
    CONSOLE.print(f"{folder}: every number is as its captions score.", soft_wrap=True)
    for key, why in left_out(metrics).items():
        CONSOLE.print(f"{key} was not compared: {why}.", soft_wrap=True)


def _folder(data: Path) -> Path:
    """A path as it is; the name of a known data set also where data sets are kept."""

    if data.exists() or str(data) not in NAMED_DATA:
        return data
    kept = Path(os.environ.get("DISTILCAP_DATA", "data")) / data
    if kept.exists() or str(data) == "scenes":
        return kept
    fix = "`distilcap data coco --root coco` sets it up" if str(data) == "coco" else "give its folder"
    raise DataError(f"{data}: there is no such folder here, nor {kept}; {fix}.")


def _drawn_or_there(
    data: Path, images: Path | None, options: TableOptions, output: OutputOptions
) -> ImportData:
    """The data set; scenes are drawn where they are not there yet."""
    from distilcap.stages.data import ImportData
    from distilcap.study.presets import table_preset
    from distilcap.training.processes import processes_asked_for

    folder = _folder(data)
    if str(data) == "scenes" and not folder.exists():
        counts, size = table_preset(options.preset).scenes
        if output.plan or processes_asked_for()[1] > 1:
            train, val, test = counts
            raise DataError(
                f"{folder}: the scenes are not drawn yet, and neither a plan nor a launch of several "
                f"processes draws them. As preset {options.preset} does: `distilcap data scenes --to {folder}"
                f" --train {train} --val {val} --test {test} --size {size}`."
            )
        from distilcap.data.scenes import draw_scenes

        draw_scenes(folder, counts, size=size, progress=PROGRESS)
    return ImportData.of(folder, images)


def _tables(names: tuple[str, ...], students: Students, crops: Path | None) -> tuple[Table, ...]:
    from distilcap.study.box import box_table
    from distilcap.study.extra import extra_table
    from distilcap.study.families import families_table
    from distilcap.study.rows import paper_tables
    from distilcap.study.worth import worth_table

    others: dict[str, Callable[[Students], Table]] = {
        "extra": extra_table,
        "families": families_table,
        "worth": worth_table,
        "box": partial(box_table, crops=crops),
    }
    return (others[names[0]](students),) if names[0] in others else paper_tables(students, names)


def _run(
    title: str,
    tables: tuple[Table, ...],
    metrics: tuple[str, ...],
    store: Path,
    engine: EngineOptions,
    output: OutputOptions,
    only_finished: bool,
) -> None:
    from distilcap.reports.report import check_report_folder
    from distilcap.stages.vocabulary import judge_data
    from distilcap.study.tables import finished, run_tables, stages_of_tables

    check_report_folder(output.to, tables[0].rows[0].member.trains[0].data.folders)
    kept = open_store(store)
    missing: tuple[str, ...] = ()
    if only_finished:
        tables, missing = finished(tables, kept)
    if not tables:
        raise DataError(f"{store}: no row of these tables is trained there yet.")
    stages = stages_of_tables(tables, metrics)
    judge_data(stages, kept)
    build_ahead(stages, kept, PROGRESS, engine)
    command = shown(shlex.join(["distilcap", *sys.argv[1:]]))
    results = run_tables(title, tables, kept, PROGRESS, metrics, command, missing)
    if FIRST:
        report_results(results, output)
