"""`distilcap caption`: photographs to captions, from a trained run or a bundle."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.bounds import PATH, THREADS, Real
from distilcap.cli.box import named_bundle
from distilcap.cli.options import flags
from distilcap.cli.say import say
from distilcap.errors import ConfigError, DataError
from distilcap.runtime.decode_options import DecodeChoice

if TYPE_CHECKING:
    from distilcap.pipeline.captioning import ImageCaptioner

__all__ = ["caption"]

EXAMPLE = """\b
Example:
  distilcap caption photo.jpg
  distilcap caption holiday/ --to captions.csv
  distilcap caption --run runs/train-0f3a… photo.jpg
  distilcap caption --bundle demo/bundle --beam-size 5 --n-best 3 *.jpg
"""


@click.command(epilog=EXAMPLE)
@click.argument("photos", nargs=-1, required=True, type=PATH)
@click.option("--run", type=PATH, help="A trained run's folder.")
@click.option(
    "--bundle",
    type=PATH,
    help="An exported bundle, or hf:user/name of the Hugging Face Hub (needs no PyTorch).  "
    "[default: box, the captioner that comes with the package]",
)
@flags(DecodeChoice, "decode", without=("max_words",))
@click.option(
    "--min-confidence",
    type=Real(0.0, 1.0),
    help="Leave captions empty whose confidence is lower, 0 to 1. Of captions with confidence 0.7, about "
    "70 % are as close to people's captions as people's are to each other; a bundle must be calibrated.",
)
@click.option(
    "--workers",
    type=THREADS,
    help="Number of batches of photos that a bundle captions side by side.  [default: one for each core]",
)
@click.option("--to", type=PATH, help="Write all captions to this file: .csv, .jsonl or .txt.")
@click.option(
    "--side-files",
    type=click.Choice(["txt", "xmp"]),
    help="Write the caption beside each photo: a text, or metadata that photo programs read.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace a file that --to did not write so: a person's, one edited since, or one of other options; "
    "and side files that are there, which go where a caption is left empty.",
)
def caption(
    photos: tuple[Path, ...],
    run: Path | None,
    bundle: Path | None,
    decode: DecodeChoice,
    min_confidence: float | None,
    workers: int | None,
    to: Path | None,
    side_files: str | None,
    overwrite: bool,
) -> None:
    """Print captions of PHOTOS, which are files, or folders whose photographs are all captioned.

    A photo that cannot be read is named at the end; the others go on. With --to or --side-files, captions go
    into files, and a killed command goes on where it was. A file of --to is known again by a hidden record
    beside it (.NAME.captions.jsonl), and what was corrected in it stays. Photos that are gone from their
    folder leave the file too.
    """
    if run is not None and bundle is not None:
        raise ConfigError("Give either `--run` (a trained run) or `--bundle` (an exported one).")
    if to is not None and side_files is not None:
        raise ConfigError("Give either `--to` (one file) or `--side-files` (a file beside each photo).")
    if side_files is not None and decode.n_best > 1:
        raise ConfigError("A side file holds one caption: `--n-best` above 1 goes with `--to`.")
    if run is not None and workers is not None:
        raise ConfigError("`--workers` is for a bundle, and does nothing with `--run`; leave it out.")
    if overwrite and to is None and side_files is None:
        raise ConfigError(
            "`--overwrite` is for the files of `--to` and `--side-files`; give one of them, or leave it out."
        )
    from distilcap.cli.common import PROGRESS
    from distilcap.pipeline.captioning import ImageCaptioner

    if run is not None:
        captioner = ImageCaptioner.of_run(run, decode, PROGRESS)
    else:
        captioner = ImageCaptioner.of_bundle(named_bundle(bundle), decode, 1, PROGRESS, workers)
    if min_confidence is not None:
        captioner = captioner.without_doubtful(min_confidence)
    unusable: list[str] = []
    folders = [photo if os.path.isdir(photo) else photo.parent for photo in photos]
    photos = tuple(dict.fromkeys(_each(photos, unusable)))
    if to is not None or side_files is not None:
        _into_files(captioner, photos, folders, to, side_files, overwrite, min_confidence, unusable)
        return
    failed, empty = list(unusable), 0
    for photo, result in zip(photos, captioner.each(photos), strict=True):
        if result.error is not None:
            failed.append(str(result.error))
        for made in result.captions:
            say(str(photo), made.text)
            empty += not made.text
    _say_empty(empty, min_confidence)
    _fail(failed, len(photos) + len(unusable), "could not be read")


def _fail(failed: Sequence[str], photos: int, how: str) -> None:
    """Name what failed, where anything did."""
    if failed:
        raise DataError(f"{len(failed)} of {photos} photos {how}: {'; '.join(failed)}")


def _into_files(
    captioner: ImageCaptioner,
    photos: Sequence[Path],
    folders: Sequence[Path],
    to: Path | None,
    side_files: str | None,
    overwrite: bool,
    min_confidence: float | None,
    unusable: Sequence[str],
) -> None:
    from distilcap.cli.common import PROGRESS
    from distilcap.pipeline.caption_files import write_captions, write_side_files

    if to is not None:
        written = write_captions(captioner, photos, to, PROGRESS, overwrite, folders)
    else:
        assert side_files is not None
        written = write_side_files(captioner, photos, side_files, PROGRESS, overwrite)
    there = f", {written.there:,} had a side file already, which `--overwrite` writes anew"
    said = f"{to or 'Side files'}: captions of {written.captioned:,} photos{there if written.there else ''}."
    try:
        if written.captioned or written.there:
            say(said)
    finally:  # failures count also where nobody reads the line
        _say_empty(written.empty, min_confidence)
        _fail([*unusable, *written.failed], len(photos) + len(unusable), "were not captioned")


def _say_empty(captions: int, min_confidence: float | None) -> None:
    if captions and min_confidence is not None:
        say(
            f"Captions left empty, since their confidence is below {min_confidence:g}: {captions:,}.",
            err=True,
        )


def _each(photos: Sequence[Path], unusable: list[str]) -> Iterator[Path]:
    """The photographs named, and those of the folders named; `unusable` receives folders that have none."""
    from distilcap.runtime.formats import find_image_files, left_out

    for photo in photos:
        if not os.path.isdir(photo):  # unlike Path's, false where a name is too long or may not be looked up
            yield photo
            continue
        others = Counter[str]()
        inside = list(find_image_files(photo, others))
        if others:
            say(f"{photo}: {left_out(others)}.", err=True)
        if not inside:
            unusable.append(f"{photo}: there is no image in this folder.")
        yield from inside
