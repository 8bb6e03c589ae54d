"""`distilcap data`: check, convert or crop a data set, draw one, set up COCO."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shlex
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from distilcap.cli.bounds import COUNT, PATH, SEED
from distilcap.cli.common import CONSOLE, PROGRESS
from distilcap.cli.options import flags
from distilcap.cli.say import say
from distilcap.data.readers.columns import Columns
from distilcap.errors import DataError
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP

if TYPE_CHECKING:
    from distilcap.data.cleaning import Cleaning

__all__ = ["data"]

IMAGES = click.IntRange(0, 10_000_000)


@click.group()
def data() -> None:
    """Check, convert, crop or draw a data set, or set up COCO."""


@data.command(
    epilog="""\b
Example:
  distilcap data check flickr8k/dataset_flickr8k.json --images flickr8k/images
"""
)
@click.argument("path", type=PATH)
@click.option("--images", type=PATH, help="Folder of the images, if not beside the captions.")
@click.option("--split", help="Split of entries that name none: train, val or test.")
@click.option(
    "--min-count",
    type=COUNT,
    help="Number of times that a training word must occur.  [default: as `distill` and `train` choose it]",
)
@flags(Columns, "columns")
@click.option("--tokenizer", default=PTB, help=TOKENIZER_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def check(
    path: Path,
    images: Path | None,
    split: str | None,
    min_count: int | None,
    columns: Columns,
    tokenizer: str,
    as_json: bool,
) -> None:
    """Name every problem of the data set at PATH; exit with 2 if there is any.

    PATH is a captions file (JSON, JSONL, CSV, TSV, Parquet, tar), a folder that holds such files, or a folder
    of images with text files of the same names. Its form is told by its content; docs/data.md has all forms.
    """
    from distilcap.data.check import check_dataset
    from distilcap.data.readers.entries import KINDS

    report = check_dataset(path, images, split, PROGRESS, min_count, tokenizer, columns)
    coverage = report.coverage
    if as_json:
        problems = [{**dataclasses.asdict(problem), "path": str(problem.path)} for problem in report.problems]
        content = {
            "path": str(path),
            "images": report.images,
            "captions": report.captions,
            "words": coverage and {**dataclasses.asdict(coverage), "warnings": coverage.warnings},
            "counts": report.counts,
            "problems": problems,
            "notes": report.notes,
            "cleaning": dataclasses.asdict(report.cleaning),
        }
        click.echo(json.dumps(content, indent=1))  # in ASCII: nothing in it controls the terminal
    else:
        for note in report.notes:
            say(f"note: {note}")
        for problem in report.problems:
            say(f"{problem.kind}: {problem}")
        splits = ", ".join(f"{count:,} {name}" for name, count in report.images.items())
        say(f"{sum(report.images.values()):,} images ({splits}), {report.captions:,} captions.")
        if coverage is not None:
            say(str(coverage))
            for warning in coverage.warnings:
                say(f"Warning: {warning}")
        if report.problems:
            table = Table(title=f"{len(report.problems):,} problem{'s' * (len(report.problems) > 1)}")
            table.add_column("count", justify="right")
            table.add_column("problem")
            table.add_column("what it is")
            for kind, count in report.counts.items():
                table.add_row(f"{count:,}", kind, KINDS[kind])
            CONSOLE.print(table)
        else:
            say("No problems.")
        _say_cleaning(report.cleaning)
    if report.problems:
        sys.exit(2)


def _say_cleaning(cleaning: Cleaning) -> None:
    """Say what `--clean-labels` would do, with an example of each kind of change."""
    if not cleaning.changed and not cleaning.dropped:
        return
    say(f"`--clean-labels`, for captions that a large model wrote, {cleaning}. For example:")
    for kind, (before, after) in cleaning.examples.items():
        becomes = (
            "is dropped" if after is None else f"becomes '{textwrap.shorten(after, 70, placeholder='…')}'"
        )
        say(f"  {kind}: '{textwrap.shorten(before, 70, placeholder='…')}' {becomes}")


@data.command(
    epilog="""\b
Example:
  distilcap data convert flickr8k/dataset_flickr8k.json --to flickr8k.csv
  distilcap data convert captions.parquet --to flickr8k-folder --form imagefolder
"""
)
@click.argument("path", type=PATH)
@click.option("--to", type=PATH, required=True, help="The file, or for imagefolder the folder.")
@click.option(
    "--form",
    type=click.Choice(["karpathy", "coco", "jsonl", "csv", "imagefolder"]),
    help="What to write.  [default: by the ending of --to]",
)
@click.option("--images", type=PATH, help="Folder of the images, if not beside the captions.")
@click.option("--split", help="Split of entries that name none: train, val or test.")
@flags(Columns, "columns")
def convert(
    path: Path, to: Path, form: str | None, images: Path | None, split: str | None, columns: Columns
) -> None:
    """Write the data set at PATH in another form, with its ids and splits.

    Images are copied into an imagefolder, and stay where they are otherwise. Captions keep line breaks.
    """
    from distilcap.data.convert import convert as write
    from distilcap.data.readers import read_dataset

    read = functools.partial(read_dataset, path, images, split, columns=columns, need_images=False)
    dataset = read(line_breaks=True, progress=PROGRESS)
    if any("\n" in text for id in dataset.captions for text in dataset.captions.texts(id)):
        by_line = read().captions
        joined = sum(len(said) < len(by_line.get(id, ())) for id, said in dataset.captions.items())
        if joined:
            PROGRESS.note(
                f"{path}: text files of {joined:,} images are one caption each in what is written, as for "
                "--clean-labels. If they are a caption a line, take out blank lines, titles and list signs."
            )
    written = write(dataset, to, form, PROGRESS)
    say(f"{to}: {written.images:,} images with {written.captions:,} captions ({written.form}).")


@data.command(
    epilog="""\b
Example:
  distilcap data scenes --to scenes --train 1200 --val 200 --test 300
"""
)
@click.option("--to", "folder", type=PATH, required=True, help="Folder to draw into.")
@click.option("--train", type=IMAGES, default=1200, help="Number of images of the training split.")
@click.option("--val", type=IMAGES, default=200, help="Number of images of the validation split.")
@click.option("--test", type=IMAGES, default=300, help="Number of images of the test split.")
@click.option("--seed", type=SEED, default=1, help="Seed of the images.")
@click.option("--size", type=click.IntRange(32, 2048), default=160, help="Side of the images in pixels.")
@click.option(
    "--language",
    type=click.Choice(["en", "de", "zh"]),
    default="en",
    help="Language of the captions: English, German or Chinese; the images are the same.",
)
def scenes(folder: Path, train: int, val: int, test: int, seed: int, size: int, language: str) -> None:
    """Draw a data set of stickers on drawn backgrounds, with five captions an image."""
    from distilcap.data.scenes import draw_scenes

    drawn = draw_scenes(folder, (train, val, test), seed, size, language, PROGRESS)
    say(f"{len(drawn.images):,} images with five captions each are in {folder}.")


@data.command(
    epilog="""\b
Example:
  distilcap data crops photos/ --to crops/
  distilcap distill --data photos/ --unlabelled crops/
"""
)
@click.argument("path", type=PATH)
@click.option("--images", type=PATH, help="Folder of the images, if not beside the captions.")
@click.option("--to", "folder", type=PATH, required=True, help="Folder to write into.")
@click.option("--each", type=COUNT, default=3, help="Number of crops of an image.")
@click.option("--size", type=click.IntRange(32, 2048), default=224, help="Side of a crop in pixels.")
@flags(Columns, "columns")
def crops(path: Path, images: Path | None, folder: Path, each: int, size: int, columns: Columns) -> None:
    """Write crops of the training images at PATH, for a teacher to label: more to learn from.

    Images that `distill` holds out of them for validation and test are not cropped. An image that cannot be
    read is named at the end; the others are cropped.
    """
    from distilcap.data.crops import write_crops
    from distilcap.data.readers import Source, form_of, read_dataset
    from distilcap.data.readers.forms.image_folder import FORM
    from distilcap.stages.changed_data import HoldOut
    from distilcap.stages.data import ImportData

    if folder.resolve().is_relative_to(path.resolve()) and form_of(Source(path, columns=columns)) is FORM:
        raise DataError(f"{folder}: crops in {path} would be images of it; name a folder outside.")
    dataset = read_dataset(path, images, columns=columns, progress=PROGRESS)
    whole = ImportData(dataset.fingerprint(), dataset.name, str(path), str(images) if images else None)
    # Too few captions: `distill` does not take them, whatever is cropped.
    with contextlib.suppress(DataError):
        learnt = HoldOut.where_needed(whole, dataset, ("val", "test"))
        dataset = learnt.changed(dataset) if isinstance(learnt, HoldOut) else dataset
    failed = write_crops(dataset.images, folder, each, size, PROGRESS)
    say(f"{folder}: {each} crops of each training image, for `--unlabelled {shlex.quote(str(folder))}`.")
    if failed:
        raise DataError(f"{len(failed)} images could not be read: {'; '.join(failed)}")


@data.command(
    epilog="""\b
Example:
  distilcap data coco --to coco
  distilcap data coco --to coco --from /datasets/mscoco --no-download
"""
)
@click.option(
    "--to",
    "--root",
    "root",
    type=PATH,
    required=True,
    help="Folder of COCO; what is in it already is kept.",
)
@click.option(
    "--from",
    "also",
    type=PATH,
    multiple=True,
    help="Folder with archives, unpacked images or dataset_coco.json; may be given more than once.",
)
@click.option("--download/--no-download", default=True, help="Fetch what is missing (20 GB).")
@click.option("--keep", is_flag=True, help="Keep downloaded archives after unpacking.")
def coco(root: Path, also: tuple[Path, ...], download: bool, keep: bool) -> None:
    """Set up COCO 2014 with Karpathy's split: 113,287 images to train, 5,000 to validate, 5,000 to test.

    Uses the official archives and folders where they are, downloads the rest (it goes on after every
    interruption), unpacks, and counts.
    """
    from distilcap.data.dataset import SPLITS
    from distilcap.data.sources import prepare_coco

    dataset = prepare_coco(root, also, fetch=download, keep=keep, progress=PROGRESS)
    sizes = ", ".join(f"{len(dataset.split(name)):,} {name}" for name in SPLITS)
    say(f"COCO is complete in {root}: {sizes} images.")
