"""`distilcap distill`: from a person's own images to a small captioner."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from distilcap.box import NAME as BOX
from distilcap.cli.box import say_terms
from distilcap.cli.common import CONSOLE, PROGRESS, open_store, precision_here, store_option
from distilcap.cli.options import flags
from distilcap.cli.report import OutputOptions, run_distillation
from distilcap.pipeline.own_images import NOT_OF_DISTILL, DistillOptions, plan_own_images
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions
from distilcap.store.engine import EngineOptions
from distilcap.training.options import TrainingOptions

__all__ = ["distill"]

EXAMPLE = """\b
Example:
  distilcap distill --data photos/ --to mine
  distilcap distill --data photos/ --teacher-captions theirs.json --clean-labels --to mine
  distilcap distill --data photos/ --teacher-model blip-large/
  distilcap distill --data photos/ --start none --teacher aoanet-big --student updown-small
  distilcap distill --data photos/ --teacher-run runs/train-0f3a… --teacher-run runs/train-9b1c…
"""


@click.command(epilog=EXAMPLE)
@flags(DataOptions, "data")
@flags(EncoderOptions, "encoder")
@flags(DistillOptions, "options")
@flags(TrainingOptions, "training", without=NOT_OF_DISTILL, given=True)
@store_option
@flags(EngineOptions, "engine")
@flags(OutputOptions, "output", without=("no_photos",), defaults={"to": Path("distilled")})
@click.option("--no-export", is_flag=True, help="Write no bundle.")
def distill(
    data: DataOptions,
    encoder: EncoderOptions,
    options: DistillOptions,
    training: dict[str, Any],
    store: Path,
    engine: EngineOptions,
    output: OutputOptions,
    no_export: bool,
) -> None:
    """Train a small captioner on your captioned images, with a teacher's captions beside them.

    By default it begins from the captioner in the box, and so does its teacher; --student names another
    captioner, which begins from nothing. Most people need --data, --images, --to, --clean-labels and --plan
    alone. A teacher that is there already is brought by --teacher-model, --teacher-captions or --teacher-run.

    Beside it the same student learns from people's captions alone, and the table says what distillation
    cost and gained. Writes results.json, report.html and bundle/ (int8; float16 or float32 where that loses
    too much); the trained runs stay in the store. Options of training hold for teacher and students. For a
    table that others may quote take --seeds 3: students are trained so often, the teacher once.
    """
    from distilcap.study.announce import announce
    from distilcap.training.processes import launched

    device = launched().device
    if "precision" in training:
        training["precision"] = precision_here(training["precision"], device)
    title, plan = plan_own_images(data, encoder, options, training, store, device)
    if plan.students[-1].trains[0].licence is not None:
        say_terms()
    announce(plan.stages(not no_export), open_store(store), PROGRESS)
    distilled = run_distillation(title, plan, store, engine, output, export=not no_export)
    if distilled is not None and distilled.bundle is not None and (output.to / "bundle").is_dir():
        CONSOLE.print(_in_the_browser(distilled.take, output.to), soft_wrap=True)


def _in_the_browser(take: str, to: Path) -> str:
    """How the captioner to take (see `Distilled.take`) gets into the browser, and where it is no bundle's."""
    bundle, site = (shlex.quote(str(to / name)) for name in ("bundle", "web"))
    shown = f"--to {site} && distilcap serve {site}"
    if take == BOX:
        return f"In the browser, the captioner in the box (not {bundle}): distilcap web {shown}"
    if not take:
        return f"In the browser: distilcap web {bundle} {shown}"
    other = shlex.quote(str(to / "bundle-to-take"))
    command = f"distilcap export {shlex.quote(take)} --to {other} && distilcap web {other} {shown}"
    return f"In the browser, the captioner to take (not {bundle}): {command}"
