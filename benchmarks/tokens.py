"""Whether the page writes what Python writes: tokens of the same photographs in Chromium and in ONNX Runtime.

    OMP_NUM_THREADS=1 nice python -m benchmarks tokens --photos FOLDER [--count 200] [--large 50]

Small photographs are decoded whole by both, so that all tokens should be equal. Of `--large` photographs of
12 megapixels (as `reduced` makes them) the page decodes a part of the pixels, as Python does; a browser
without `ImageDecoder` lets `createImageBitmap` choose them, and this says how often its captions differ.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reduced import NOISE, SIDES, photograph, texture
from distilcap.box import box_bundle
from distilcap.data.dataset import ImageRecord
from distilcap.errors import DataError
from distilcap.export.browser.bench import captions_in_browser
from distilcap.export.browser.chromium import open_page
from distilcap.export.browser.server import serving
from distilcap.export.browser.site import write_web
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.formats import find_image_files


def of_page(site: Path, photos: Sequence[Path], beams: Sequence[int], script: str = "") -> list[list[Any]]:
    """The best caption's tokens of each photo, for each beam; `script` runs before the page's own."""
    with serving(site) as address, open_page(seconds=300) as page:
        if script:
            page.add_init_script(script)
        answers = captions_in_browser(page, address, photos, beams)
    return [[tuple(found["captions"][0]["tokens"]) for found in of_photo] for of_photo in answers]


def of_python(bundle: Bundle, photos: Sequence[Path], beams: Sequence[int]) -> list[list[Any]]:
    """The same by `Bundle`."""
    options = [replace(bundle.manifest.decode, beam_size=beam) for beam in beams]
    return [[bundle.alternatives(photo, each)[0].tokens for each in options] for photo in photos]


def equal(ours: list[list[Any]], theirs: list[list[Any]], beams: Sequence[int]) -> str:
    """How many photos have the same tokens, by beam."""
    counts = (
        sum(one[at] == other[at] for one, other in zip(ours, theirs, strict=True)) for at in range(len(beams))
    )
    counted = (f"{count} with a beam of {beam}" for count, beam in zip(counts, beams, strict=True))
    return f"of {len(ours)}: {', '.join(counted)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=box_bundle())
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--large", type=int, default=0)
    given = parser.parse_args()
    bundle, beams = Bundle.open(given.bundle), (1, 3)
    photos = list(find_image_files(given.photos))[: given.count]
    if not photos:
        raise DataError(f"{given.photos}: holds no photographs.")
    with tempfile.TemporaryDirectory() as folder:
        site = write_web(given.bundle, Path(folder) / "site").folder
        print(
            "small, as Python:", equal(of_page(site, photos, beams), of_python(bundle, photos, beams), beams)
        )
        if not given.large:
            return
        finer, random = texture(), np.random.default_rng(1)
        noise = NOISE * random.standard_normal((SIDES[0][1], SIDES[0][0]), np.float32)
        large = []
        for number, path in enumerate(photos[: given.large]):
            large.append(Path(folder) / f"{number}.jpg")
            record = ImageRecord(str(number), path, "test")
            large[-1].write_bytes(photograph(record, SIDES[number % 2], finer, noise))
        expected = of_python(bundle, large, beams)
        print("12 megapixels, as Python:", equal(of_page(site, large, beams), expected, beams))
        without = of_page(site, large, beams, "delete globalThis.ImageDecoder;")
        print("12 megapixels without ImageDecoder, as Python:", equal(without, expected, beams))


if __name__ == "__main__":
    main()
