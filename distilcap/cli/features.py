"""`distilcap features`: extract what an encoder sees; and the list of encoders."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from distilcap.cli.bounds import BATCH, FOLDER, THREADS
from distilcap.cli.common import CONSOLE, PROGRESS
from distilcap.cli.options import flags
from distilcap.cli.say import say
from distilcap.errors import ConfigError, DataError
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions

if TYPE_CHECKING:
    from distilcap.data.dataset import Dataset

__all__ = ["encoder_table", "features"]

EXAMPLE = """\b
Example:
  distilcap features --data flickr8k/dataset_flickr8k.json --images flickr8k/images --to features/lite0
  distilcap features --data photos --to features/boxes --encoder efficientdet-d0 --encoder-form regions \\
      --regions 36 --encoder-weights tf_efficientdet_d0_34-f153e0cf.pth
"""


@click.command(epilog=EXAMPLE)
@flags(DataOptions, "data")
@flags(EncoderOptions, "encoder")
@click.option(
    "--regions",
    type=click.IntRange(1, 10_000),
    help="Number of boxes of an image, or of cells of a grid (a square).",
)
@click.option(
    "--to",
    "--out",
    "out",
    required=True,
    type=FOLDER,
    help="Folder of the features; an unfinished run in it goes on.",
)
@click.option(
    "--batch-images",
    "--batch-size",
    "batch_size",
    type=BATCH,
    default=8,
    help="Number of images that the model sees at once.",
)
@click.option(
    "--threads", type=THREADS, default=2, help="Number of threads that decode images and run the model."
)
@click.option("--device", default="cpu", help="Device of the model: cpu or cuda.")
def features(
    data: DataOptions,
    encoder: EncoderOptions,
    regions: int | None,
    out: Path,
    batch_size: int,
    threads: int,
    device: str,
) -> None:
    """Extract what an encoder sees in all images of a data set.

    Sizes are printed before the work starts. Images that cannot be read are listed and skipped.
    """
    from distilcap.data.feature_writer import begun_recipe
    from distilcap.data.readers import read_dataset
    from distilcap.encoders.engines import run_by
    from distilcap.encoders.extract import extract_features
    from distilcap.encoders.recipes import recipe_by
    from distilcap.encoders.registry import create_encoder
    from distilcap.files import write_json

    _check_device(device)
    dataset = read_dataset(data.data, data.images, columns=data.columns, progress=PROGRESS)
    records = dataset.images
    sees = create_encoder(
        encoder.encoder,
        size=encoder.image_size,
        weights=encoder.encoder_weights,
        form=encoder.encoder_form,
        regions=regions,
    )
    recipe, ways, begun = sees.recipe(), encoder.ways(device), begun_recipe(out)
    engine, decoding = next((way for way in ways if recipe_by(recipe, *way) == begun), ways[0])
    CONSOLE.print(f"{recipe['encoder']}, weights {recipe['weights'][:16]}, run by {engine}")
    sees.preprocessing = replace(sees.preprocessing, decoding=decoding)
    here, kept = _of_images(dataset), out / "features-of.json"
    if begun is None:  # what was written of images before is of no features
        write_json(kept, here)
    else:
        _check_images(kept, here, dataset)
    skipped = extract_features(
        run_by(engine, sees, PROGRESS),
        records,
        out,
        PROGRESS,
        batch_size=batch_size,
        threads=threads,
        device=device,
    )
    if not kept.is_file():  # an older version's, which have just turned out to be of these images
        write_json(kept, here)
    say(f"{len(records) - len(skipped):,} images in {out}; {len(skipped):,} skipped.")


def _of_images(dataset: Dataset) -> dict[str, str]:
    """What tells whose features are: the ids and files of images, not their order, captions or splits."""
    from distilcap.data.dataset import probe

    rows = sorted((image.id, image.path.name, *probe(image.path)) for image in dataset.images)
    return {"images": hashlib.sha256(json.dumps(rows).encode()).hexdigest()}


def _check_images(kept: Path, here: dict[str, str], dataset: Dataset) -> None:
    """Make sure that the features in a folder are of these images, as far as a file beside them says it.

    Raises:
        DataError: they are of other images, or of these before a change.
    """
    from distilcap.files import read_json

    fix = "choose another folder or delete it"
    if kept.is_file():
        content = read_json(kept)
    else:  # an older version's file counted captions and splits too
        kept, here = kept.with_name("images.json"), {"images": dataset.fingerprint()}
        fix = f"choose another folder, or delete {kept} if only captions or splits are others"
        try:
            content = read_json(kept)
        except DataError:
            return
        if not isinstance(content, dict) or not isinstance(content.get("images"), str):
            return  # a person's own
    if content != here:
        raise DataError(f"{kept.parent}: holds features of other images, or of these before a change; {fix}.")


def _check_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device` is cuda, but PyTorch finds no GPU here; take cpu.")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"`device` must be cpu or cuda, but is {device}.")


def encoder_table() -> Table:
    """The encoders with their sizes and where their weights come from."""
    from distilcap.encoders.catalogue import catalogue

    table = Table(
        title="Encoders",
        caption="Any timm backbone as timm:NAME, any effdet detector as effdet:NAME, "
        "any saved encoder by the path of its .safetensors file.",
    )
    for column in ("encoder", "form", "pixels", "regions x features", "parameters (M)", "MB in float32"):
        left = column in ("encoder", "form")
        table.add_column(column, justify="left" if left else "right", no_wrap=left)
    table.add_column("weights")
    for entry in catalogue():
        table.add_row(
            entry.name,
            entry.form,
            str(entry.size),
            f"{entry.regions} x {entry.dim}",
            f"{entry.parameters / 1e6:.2f}",
            f"{entry.megabytes:.1f}",
            entry.weights + ("" if entry.here else " (not here yet)"),
        )
    return table
