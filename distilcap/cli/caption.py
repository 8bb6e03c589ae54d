"""`distilcap caption`: photographs to captions, from a trained run or a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from distilcap.cli.options import flags
from distilcap.cli.say import say
from distilcap.errors import ConfigError, DataError
from distilcap.runtime.manifest import DecodeChoice

__all__ = ["caption"]

EXAMPLE = """\b
Example:
  distilcap caption --run runs/train-0f3a… photo.jpg
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
    """Print captions of PHOTOS. A photo that cannot be read is named; the others go on."""
    if (run is None) == (bundle is None):
        raise ConfigError("Give either `--run` (a trained run) or `--bundle` (an exported one).")
    from distilcap.pipeline.captioning import ImageCaptioner

    if run is not None:
        captioner = ImageCaptioner.of_run(run, decode)
    else:
        assert bundle is not None
        captioner = ImageCaptioner.of_bundle(bundle, decode)
    failed = []
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
