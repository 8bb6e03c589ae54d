"""`distilcap generate`: captions of a split, or of any images, by a trained run; `distilcap merge`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.bounds import PATH
from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, open_store, precision_here
from distilcap.cli.options import flags
from distilcap.errors import ConfigError
from distilcap.store.engine import EngineOptions
from distilcap.teachers.options import LabelOptions

if TYPE_CHECKING:
    from distilcap.pipeline.labelling import Labelling
    from distilcap.teachers.shard_files import Labelled

__all__ = ["generate", "merge"]

SHOWN = 20  # skipped images; the shard's summary has all

EXAMPLE = """\b
Example:
  distilcap generate runs/train-0f3a… --split train --beam-size 5 --to labels.jsonl
  distilcap train --data photos/ --captioner updown-tiny --labels labels.jsonl
  distilcap generate runs/train-0f3a… --images photos/ --shards 100 --shard 7 --to labels/
  distilcap generate runs/train-0f3a… --images photos/ --shards 100 --engine ray --to labels/
  distilcap generate --model blip-large/ --images photos/ --to labels/
"""
MERGE_EXAMPLE = """\b
Example:
  distilcap merge labels/ --to labels.jsonl
"""


@click.command(epilog=EXAMPLE)
@click.argument("run", type=PATH, required=False)
@click.option(
    "--model",
    help="With --images, instead of RUN: folder or hub name of a model of transformers, or a "
    "plugin's teacher.",
)
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="train", help="Split to caption."
)
@flags(LabelOptions, "options")
@click.option("--to", type=PATH, required=True, help="The captions file; with --images, a folder.")
@click.option(
    "--images",
    type=PATH,
    help="Images to caption instead of a split: a folder, a text file with a path a line, or a .tar or "
    "Parquet file.",
)
@flags(EngineOptions, "engine")
def generate(
    run: Path | None,
    model: str | None,
    split: str,
    options: LabelOptions,
    to: Path,
    images: Path | None,
    engine: EngineOptions,
) -> None:
    """Caption a split with the trained RUN (or photographs with a --model), for a student to learn from or
    to be scored. The captions of a split are kept in the run's store, and not made again.

    The file has a JSON object a line: {"image": id, "captions": [{"text": …, "log_prob": …}]}. Beside it lies
    its checksum (NAME.sha256), which commands that read it check; `sha256sum --check` does, too.

    With --images, any images are captioned, in parts that independent processes make: start a process for
    each part, on any machine that sees the images and the folder. A part has its final name once it is
    complete; a killed process goes on where it was. `distilcap merge` joins the parts and says which are
    missing. With --engine processes or ray all parts are captioned, several at a time, and are merged into
    labels.jsonl.
    """
    if (run is None) == (model is None):
        raise ConfigError("Give either a RUN of the store or a `--model` of transformers, to caption with.")
    if images is not None:
        from distilcap.pipeline.labelling import Labelling
        from distilcap.training.processes import launched

        if options.precision:
            options = replace(options, precision=precision_here(options.precision, launched().device))
        _label(Labelling(images, to, options, run, model), engine)
        return
    if engine.side_by_side:
        raise ConfigError(
            f"`engine` {engine.engine} is for `--images`; a split is captioned by one process or a launch."
        )
    if run is None:
        raise ConfigError(
            "`--model` captions `--images`; for a data set see `distilcap distill --teacher-model`."
        )
    from distilcap.data.trainable import Variety
    from distilcap.files import write_checksum
    from distilcap.pipeline.labelling import label_split

    kept = open_store(run.resolve().parent)
    if options.precision:
        options = replace(options, precision=precision_here(options.precision, kept.processes.device))
    captions = label_split(run, split, options, kept, PROGRESS)
    if FIRST:
        captions.save(to)
        write_checksum(to)
    CONSOLE.print(f"{to}: captions of {len(captions)} images")
    alike = Variety.of(text for id in captions for text in captions.texts(id)).hardly_any()
    if alike:
        PROGRESS.note(f"{run} has learnt next to nothing: {alike}. Train it longer before a student does.")


def _label(labelling: Labelling, engine: EngineOptions) -> None:
    from distilcap.pipeline.labelling import MERGED, label_side_by_side

    if engine.side_by_side:
        _show(label_side_by_side(labelling, engine, PROGRESS), labelling.to / MERGED)
    else:
        _show(labelling.label(PROGRESS), labelling.to / f"{labelling.options.part}.jsonl")


def _show(labelled: Labelled, path: Path) -> None:
    for skipped in labelled.skipped[:SHOWN]:
        CONSOLE.print(f"skipped {skipped.id}: {skipped.reason}", soft_wrap=True)
    if len(labelled.skipped) > SHOWN:
        CONSOLE.print(f"… and {len(labelled.skipped) - SHOWN:,} more")
    rate = labelled.images / labelled.seconds if labelled.seconds else 0.0
    CONSOLE.print(
        f"{path}: captions of {labelled.images:,} images, {len(labelled.skipped):,} skipped, "
        f"{rate:.1f} images a second of a process",
        soft_wrap=True,
    )


@click.command(epilog=MERGE_EXAMPLE)
@click.argument("folder", type=PATH)
@click.option("--to", type=PATH, required=True, help="The captions file to write.")
def merge(folder: Path, to: Path) -> None:
    """Join the parts that `distilcap generate --images` made in FOLDER, once none is missing."""
    from distilcap.teachers.shard_files import merge_shards

    labelled = merge_shards(folder, to)
    _show(labelled, to)
    if len(labelled.listed) > 1:
        CONSOLE.print(
            f"Processes listed {labelled.listed[0]:,} to {labelled.listed[-1]:,} images: some came or went "
            "meanwhile, and those of finished parts are not captioned.",
        )
