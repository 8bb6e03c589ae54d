"""`distilcap caption`: photographs to captions, from a trained run or a bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
@click.option("--bundle", type=click.Path(path_type=Path), help="An exported bundle (needs no PyTorch).")
@flags(DecodeChoice, "decode", without=("max_words",))
def caption(photos: tuple[Path, ...], run: Path | None, bundle: Path | None, decode: DecodeChoice) -> None:
    """Print captions of PHOTOS, which are files, or folders whose photographs are all captioned.

    A photo that cannot be read is named at the end; the others go on.
    """
    if (run is None) == (bundle is None):
        raise ConfigError("Give either `--run` (a trained run) or `--bundle` (an exported one).")
    open_from = _from_run if run is not None else _from_bundle
    folder = run if run is not None else bundle
    assert folder is not None
    describe = open_from(folder, decode)
    failed = []
    photos = tuple(_each(photos))
    for photo in photos:
        try:
            captions = describe(photo)
        except DataError as error:
            failed.append(str(error))
            continue
        for text in captions:
            say(str(photo), text)
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


def _from_run(run: Path, decode: DecodeChoice) -> Callable[[Path], list[str]]:
    from distilcap.pipeline.photographs import RunCaptioner

    captioner = RunCaptioner.load(run, decode)
    return lambda photo: captioner.caption(photo, n_best=decode.n_best)


def _from_bundle(bundle: Path, decode: DecodeChoice) -> Callable[[Path], list[str]]:
    from distilcap.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    options = decode.over(opened.manifest.decode)
    return lambda photo: [caption.text for caption in opened.alternatives(photo, options)[: decode.n_best]]
