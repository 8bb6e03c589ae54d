"""`distilcap caption`: photographs to captions, from a trained run or a bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from distilcap.cli.options import flags
from distilcap.cli.say import say
from distilcap.errors import ConfigError, DataError
from distilcap.runtime.manifest import DecodeChoice

__all__ = ["caption"]

EXAMPLE = """\b
Example:
  distilcap caption --run runs/train-0f3a… photo.jpg holiday/
  distilcap caption --bundle demo/bundle --beam-size 5 --n-best 3 *.jpg
"""


@click.command(epilog=EXAMPLE)
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="A trained run's folder.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="An exported bundle, or hf:user/name of the Hugging Face Hub (needs no PyTorch).",
)
@flags(DecodeChoice, "decode", without=("max_words",))
def caption(photos: tuple[Path, ...], run: Path | None, bundle: Path | None, decode: DecodeChoice) -> None:
    """Print captions of PHOTOS, which are files, or folders whose photographs are all captioned.

    A photo that cannot be read is named at the end; the others go on.
    """
    if (run is None) == (bundle is None):
        raise ConfigError("Give either `--run` (a trained run) or `--bundle` (an exported one).")
    from distilcap.pipeline.captioning import ImageCaptioner

    if run is not None:
        captioner = ImageCaptioner.of_run(run, decode)
    else:
        assert bundle is not None
        captioner = ImageCaptioner.of_bundle(bundle, decode)
    failed = []
    photos = tuple(_each(photos))
    for photo in photos:
        try:
            captions = captioner.caption(photo).captions
        except DataError as error:
            failed.append(str(error))
            continue
        for made in captions:
            say(str(photo), made.text)
    if failed:
        raise DataError(f"{len(failed)} of {len(photos)} photos could not be read: {'; '.join(failed)}")


def _each(photos: Sequence[Path]) -> Iterator[Path]:
    """The photographs named, and those of the folders named."""
    from distilcap.runtime.formats import find_image_files, left_out

    for photo in photos:
        if not photo.is_dir():
            yield photo
            continue
        others = Counter[str]()
        inside = list(find_image_files(photo, others))
        if others:
            say(f"{photo}: {left_out(others)}.", err=True)
        if not inside:
            raise DataError(f"{photo}: there is no image in this folder.")
        yield from inside
