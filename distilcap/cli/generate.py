"""`distilcap generate`: captions of a split, or of any images, by a trained run; `distilcap merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.bounds import BATCH, BEAM, THREADS, beam_size_option, check_n_best
from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, open_store, precision_here, store_option
from distilcap.encoders.recipes import ENGINES, default_engine

if TYPE_CHECKING:
    from distilcap.teachers.shard_files import Labelled

__all__ = ["generate", "merge"]

SHOWN = 20  # skipped images; the shard's summary has all

EXAMPLE = """\b
Example:
  distilcap generate runs/train-0f3a… --split train --beam-size 5 --to labels.jsonl
  distilcap train --data photos/ --captioner updown-tiny --labels labels.jsonl
  distilcap generate runs/train-0f3a… --images photos/ --shards 100 --shard 7 --to labels/
  distilcap generate --model blip-large/ --images photos/ --to labels/
"""
MERGE_EXAMPLE = """\b
Example:
  distilcap merge labels/ --to labels.jsonl
"""


@click.command(epilog=EXAMPLE)
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--model", help="With --images, instead of RUN: folder or hub name of a model of transformers.")
@store_option
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train")
@beam_size_option(5)
@click.option("--n-best", type=BEAM, default=1, help="Number of captions kept of each image.")
@click.option(
    "--to", type=click.Path(path_type=Path), required=True, help="The captions file; with --images, a folder."
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Images to caption instead of a split: a folder, or a text file with a path a line.",
)
@click.option(
    "--shards",
    type=click.IntRange(1, 1_000_000),
    default=1,
    help="With --images: number of parts that the images are divided into.",
)
@click.option(
    "--shard", type=click.IntRange(0), default=0, help="With --images: number of the part to make, from 0."
)
@click.option(
    "--batch-images", type=BATCH, default=32, help="With --images: number of images captioned at once."
)
@click.option(
    "--threads",
    type=THREADS,
    default=2,
    help="With --images: number of threads that decode images, and of those that encode them.",
)
@click.option(
    "--encoder-engine",
    type=click.Choice(ENGINES),
    help="With --images: what runs the encoder. [default: onnxruntime on a CPU, torch on a GPU]",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "auto"]),
    help="Number format of a RUN's products; auto is bfloat16 where the processor or GPU has units for it. "
    "[default: the run's own; with --images float32]",
)
def generate(
    run: Path | None,
    model: str | None,
    store: Path,
    split: str,
    beam_size: int,
    n_best: int,
    to: Path,
    images: Path | None,
    shards: int,
    shard: int,
    batch_images: int,
    threads: int,
    encoder_engine: str | None,
    precision: str | None,
) -> None:
    """Caption a split with the trained RUN (or photographs with a --model), for a student to learn from or
    to be scored.

    The file has a JSON object a line: {"image": id, "captions": [{"text": …, "log_prob": …}]}. Beside it lies
    its checksum (NAME.sha256), which commands that read it check; `sha256sum --check` does, too.

    With --images, any images are captioned, in parts that independent processes make: start a process for
    each part, on any machine that sees the images and the folder. A part has its final name once it is
    complete; a killed process goes on where it was. `distilcap merge` joins the parts and says which are
    missing.
    """
    from distilcap.errors import ConfigError

    if (run is None) == (model is None):
        raise ConfigError("Give either a RUN of the store or a `--model` of transformers, to caption with.")
    check_n_best(n_best, beam_size)
    if images is not None:
        part, search, work = (shard, shards), (beam_size, n_best), (batch_images, threads)
        _label(run, model, images, part, to, search, work, encoder_engine, precision or "float32")
        return
    if run is None:
        raise ConfigError(
            "`--model` captions `--images`; for a data set see `distilcap distill --teacher-model`."
        )
    from distilcap.files import write_checksum
    from distilcap.stages.folders import run_of
    from distilcap.stages.label import Generate

    kept = open_store(store if store != Path("runs") else run.resolve().parent)
    if precision is not None:
        precision = precision_here(precision, kept.processes.device)
    stage = Generate.as_chosen(run_of(run), split, beam_size, n_best, precision=precision)
    kept.build(stage, PROGRESS)
    captions = stage.load(kept)
    if FIRST:
        captions.save(to)
        write_checksum(to)
    CONSOLE.print(f"{to}: captions of {len(captions)} images")


def _label(
    run: Path | None,
    model: str | None,
    images: Path,
    part: tuple[int, int],
    to: Path,
    search: tuple[int, int],
    work: tuple[int, int],
    engine: str | None,
    precision: str,
) -> None:
    from distilcap.errors import ConfigError
    from distilcap.pipeline.photographs import RunCaptioner
    from distilcap.teachers.pretrained import PretrainedTeacher, find_model
    from distilcap.teachers.shard_files import Shard
    from distilcap.teachers.shards import PhotoCaptioner, label_shard
    from distilcap.training.processes import launched, processes_asked_for

    if processes_asked_for()[1] > 1:
        raise ConfigError(
            "With `images`, start one process for each shard, without a launcher (see docs/scale.md)."
        )
    shard = Shard(*part)
    captioner: PhotoCaptioner
    if run is not None:
        device = launched().device
        engine = engine or default_engine(device)
        captioner = RunCaptioner.load(
            run,
            device,
            search[0],
            engine=engine,
            precision=precision_here(precision, device),
            progress=PROGRESS,
        )
    else:
        assert model is not None
        captioner = PretrainedTeacher.load(find_model(model))
    labelled = label_shard(
        captioner,
        images,
        shard,
        to,
        beam=search[0],
        n_best=search[1],
        batch_images=work[0],
        threads=work[1],
        progress=PROGRESS,
    )
    _show(labelled, to / f"{shard}.jsonl")


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
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The captions file to write.")
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
