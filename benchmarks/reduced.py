"""What decoding JPEGs at a reduced size does to captions: CIDEr beside whole decoding, by pairs.

    OMP_NUM_THREADS=1 nice python -m benchmarks reduced --data FOLDER --to reduced.log [--count 2000]

Photographs of 12 megapixels are made from those of a data set, test split first, then validation, each in
random order: enlarged (Lanczos), finer texture that goes on with the photograph's spectrum, a sensor's noise,
quality 90. Sides are 4000 x 3000 and 3997 x 2997 in turn: an eighth, a quarter and a half divide the first
only. The captioner in the box (or `--bundle`) captions both readings greedily. A killed run goes on where it
was.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from distilcap.box import box_bundle
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.data.readers import read_dataset
from distilcap.files import sha256_of
from distilcap.metrics import create_metric, evaluate
from distilcap.metrics.significance import System, compare_systems
from distilcap.record_log import RecordLog
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.pixels import DECODINGS, Floats, load_pixels, read_image

SIDES = ((4000, 3000), (3997, 2997))
KEPT = 224  # pixels of a side that the photographs have
NOISE = 3.0  # standard deviation of a sensor's, in levels


def texture() -> Floats:
    """(3000, 4000) of a spectrum 1/f beyond what `KEPT` pixels hold; of each octave the deviation is 1."""
    width, height = SIDES[0]
    waves = np.fft.rfft2(np.random.default_rng(0).standard_normal((height, width), np.float32))
    across, down = np.arange(waves.shape[1]), np.abs(np.fft.fftfreq(height, 1 / height))[:, None]
    cycles = np.hypot(across, down)
    waves *= np.where(cycles > KEPT / 2, 1 / np.maximum(cycles, 1), 0)
    field = np.fft.irfft2(waves, (height, width))
    octaves = np.log2(height / 2 / (KEPT / 2))
    return (field / field.std() * np.sqrt(octaves)).astype(np.float32)


def photograph(image: ImageRecord, sides: tuple[int, int], finer: Floats, noise: Floats) -> bytes:
    """A JPEG of these sides."""
    small = read_image(image.path).convert("YCbCr")
    grey = small.getchannel(0)
    half = grey.resize((KEPT // 2, KEPT // 2), Image.Resampling.BOX).resize(
        grey.size, Image.Resampling.BICUBIC
    )
    contrast = np.std(np.asarray(grey, np.float32) - np.asarray(half, np.float32))  # of the finest octave
    bands = [band.resize(sides, Image.Resampling.LANCZOS) for band in small.split()]
    width, height = sides
    grained = np.asarray(bands[0]) + contrast * finer[:height, :width] + noise[:height, :width]
    bands[0] = Image.fromarray(grained.clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    Image.merge("YCbCr", bands).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def compare(bundle: Bundle, jpeg: bytes) -> dict[str, Any]:
    """Captions, CPU milliseconds of reading, and how far bytes and features are apart."""
    record: dict[str, Any] = {"bytes": len(jpeg)}
    pixels = []
    for decoding in DECODINGS:
        preprocessing = dataclasses.replace(bundle.manifest.preprocessing, decoding=decoding)
        started = time.process_time()
        pixels.append(load_pixels(jpeg, preprocessing))
        record[f"{decoding}_ms"] = round(1e3 * (time.process_time() - started), 1)
    features, mask = bundle.see(np.stack(pixels))
    captions = bundle.captions_of(bundle.greedy((features, mask)))
    record |= {decoding: best.text for decoding, (best, *_) in zip(DECODINGS, captions, strict=True)}
    whole, reduced = (one.astype(np.int16) for one in pixels)
    record["bytes_apart"] = round(float(np.abs(whole - reduced).mean()), 3)
    apart = np.linalg.norm(features[0] - features[1]) / np.linalg.norm(features[0])
    return record | {"features_apart": round(float(apart), 5)}


def summary(records: list[dict[str, Any]], data: Dataset) -> dict[str, Any]:
    """Over all photographs, and over those of each size."""
    result = {}
    groups = {"all": records}
    groups |= {f"{w} x {h}": [one for one in records if one["sides"] == [w, h]] for w, h in SIDES}
    for name, group in groups.items():
        if not group:
            continue
        scores = [
            evaluate(CaptionSet.of_texts({one["id"]: [one[how]] for one in group}), data.captions, ["cider"])
            for how in DECODINGS
        ]
        systems = [System(how, (score["cider"],)) for how, score in zip(DECODINGS, scores, strict=True)]
        (pair,) = compare_systems(systems, create_metric("cider"))
        cider, interval = 100 * systems[0].mean, pair.interval or ()
        result[name] = {
            "photographs": len(group),
            "cider_whole": round(cider, 2),
            "cider_difference": round(100 * pair.difference, 3),
            "interval": [round(100 * end, 3) for end in interval],
            "percent": [round(1e4 * value / cider, 2) for value in (pair.difference, *interval)],
            "captions_that_differ": sum(one[DECODINGS[0]] != one[DECODINGS[1]] for one in group),
        } | {
            what: round(float(np.median([one[what] for one in group])), 4)
            for what in ("bytes", "bytes_apart", "features_apart", *(f"{how}_ms" for how in DECODINGS))
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="file of records")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--bundle", type=Path, help="folder; the captioner in the box by default")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    given = parser.parse_args()
    folder = given.bundle or box_bundle()
    data, bundle = read_dataset(given.data), Bundle.open(folder)
    images = [
        image
        for split in (data.split("test"), data.split("val"))
        for image in (split[row] for row in np.random.default_rng(0).permutation(len(split)))
    ][: given.count]
    finer = texture()
    noise = NOISE * np.random.default_rng(1).standard_normal(finer.shape, np.float32)
    ends = time.monotonic() + 60 * given.minutes
    decides = {
        "bundle": sha256_of(folder / "manifest.json"),
        "data": data.fingerprint(),
        "noise": NOISE,
        "pillow": PIL.__version__,  # writes and reads the JPEGs
    }
    with RecordLog(given.to, decides) as log:
        while (number := len(log.records)) < len(images) and time.monotonic() < ends:
            image, sides = images[number], SIDES[number % len(SIDES)]
            record = compare(bundle, photograph(image, sides, finer, noise))
            log.append({"id": image.id, "sides": sides} | record)
        print(json.dumps(summary(log.records, data), indent=1))


if __name__ == "__main__":
    main()
