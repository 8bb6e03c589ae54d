"""`distilcap caption`: photographs to captions, from a trained run or a bundle."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from distilcap.cli.bounds import BEAM, LENGTH_PENALTY, beam_size_option, check_n_best
from distilcap.cli.say import say
from distilcap.errors import ConfigError, DataError

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
@beam_size_option(3)
@click.option(
    "--length-penalty",
    type=LENGTH_PENALTY,
    help="Exponent p: captions are ranked by log-probability / length^p. [default: chosen on "
    "validation, or the bundle's]",
)
@click.option("--n-best", type=BEAM, default=1, help="Number of captions of each photo.")
def caption(
    photos: tuple[Path, ...],
    run: Path | None,
    bundle: Path | None,
    beam_size: int,
    length_penalty: float | None,
    n_best: int,
) -> None:
    """Print captions of PHOTOS, which are files, or folders whose photographs are all captioned.

    A photo that cannot be read is named at the end; the others go on.
    """
    if (run is None) == (bundle is None):
        raise ConfigError("Give either `--run` (a trained run) or `--bundle` (an exported one).")
    check_n_best(n_best, beam_size)
    open_from = _from_run if run is not None else _from_bundle
    folder = run if run is not None else bundle
    assert folder is not None
    describe = open_from(folder, beam_size, length_penalty, n_best)
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


def _from_run(
    run: Path, beam_size: int, length_penalty: float | None, n_best: int
) -> Callable[[Path], list[str]]:
    from distilcap.pipeline.photographs import RunCaptioner

    captioner = RunCaptioner.load(run, beam=beam_size, length_penalty=length_penalty)
    return lambda photo: captioner.caption(photo, n_best=n_best)


def _from_bundle(
    bundle: Path, beam_size: int, length_penalty: float | None, n_best: int
) -> Callable[[Path], list[str]]:
    from distilcap.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    options = dataclasses.replace(opened.manifest.decode, beam_size=beam_size)
    if length_penalty is not None:
        options = dataclasses.replace(options, length_penalty=length_penalty)
    return lambda photo: [caption.text for caption in opened.alternatives(photo, options)[:n_best]]
