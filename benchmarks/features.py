"""Feature extraction and the feature store.

`python -m benchmarks features --images FOLDER` measures the extraction, its encoder run by PyTorch and by
ONNX Runtime, against the encoder alone on the same batches. All take turns, so that a passing load meets them
alike; CPU time (of all threads) says more than the clock where other work keeps the machine busy. Without
`--images` it draws JPEGs of COCO's usual size (640 x 480).
`python -m benchmarks features --coco-size` writes a store of 123,287 images x 49 x 320 (3.9 GB, random
numbers, deleted afterwards) and measures opening it and reading random batches.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from distilcap.data.dataset import ImageRecord
from distilcap.data.feature_writer import FeatureWriter
from distilcap.data.features import FeatureStore, check_space, store_bytes
from distilcap.encoders.base import Encoder
from distilcap.encoders.engines import run_by
from distilcap.encoders.extract import extract_features
from distilcap.encoders.recipes import TORCH
from distilcap.encoders.registry import create_encoder
from distilcap.errors import ConfigError
from distilcap.progress import SILENT
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS
from distilcap.runtime.pixels import load_pixels, normalise

COCO_IMAGES, COCO_REGIONS, COCO_DIM = 123_287, 49, 320


def draw_images(folder: Path, count: int) -> list[ImageRecord]:
    """JPEGs of 640 x 480 with about the detail of photographs."""
    records = []
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3)).astype(np.uint8))
        path = folder / f"{number}.jpg"
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
        records.append(ImageRecord(path.stem, path, "train"))
    return records


def images_in(folder: Path, count: int) -> list[ImageRecord]:
    """The first images of a folder, by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_FILE_ENDINGS)[:count]
    if not paths:
        raise SystemExit(f"{folder}: there are no images in it")
    return [ImageRecord(path.stem, path, "train") for path in paths]


def model_alone(encoder: Any, batches: Sequence[torch.Tensor], threads: int) -> None:
    """Run the encoder on all batches, in as many threads as the extraction gives it."""

    def see(pixels: torch.Tensor) -> None:
        with torch.inference_mode():
            encoder(pixels)

    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(see, batches))
    torch.set_num_threads(before)


def timed(work: Callable[[], object], images: int) -> tuple[float, float]:
    """Milliseconds of the clock and of CPU time, an image."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return tuple(
        1e3 * passed / images for passed in (time.perf_counter() - started, time.process_time() - cpu)
    )  # type: ignore[return-value]


def check_engine(encoder: Encoder, engine: str) -> None:
    """Make sure that what is measured is run by the engine it is named after.

    Raises:
        ConfigError: PyTorch runs it instead (see `run_by`).
    """
    if getattr(encoder, "engine", TORCH) != engine:
        raise ConfigError(f"{encoder.name} cannot be run by {engine} here; `distilcap features` says why.")


def throughput(
    name: str,
    images: Sequence[ImageRecord],
    engines: Sequence[str],
    threads: int,
    batch_size: int,
    rounds: int,
    folder: Path,
) -> dict[str, Any]:
    encoders: dict[str, Any] = {engine: run_by(engine, create_encoder(name)) for engine in engines}
    for engine, encoder in encoders.items():
        check_engine(encoder, engine)
    preprocessing = encoders[engines[0]].preprocessing
    read = timed(lambda: [load_pixels(image.path, preprocessing) for image in images], len(images))
    pixels = np.stack([load_pixels(image.path, preprocessing) for image in images])
    parts = [pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size)]
    batches = {}
    for engine, encoder in encoders.items():
        layout = torch.channels_last if engine == TORCH else torch.contiguous_format
        if engine == TORCH:
            encoder.to(memory_format=layout)
        batches[engine] = [
            torch.from_numpy(normalise(part, preprocessing)).contiguous(memory_format=layout)
            for part in parts
        ]
        model_alone(encoder, batches[engine][:4], threads)
    times: dict[str, dict[str, list[tuple[float, float]]]] = {
        engine: {"encoder alone": [], "extraction": []} for engine in engines
    }
    for number in range(rounds):
        for engine, encoder in encoders.items():
            alone, store = functools.partial(model_alone, encoder, batches[engine], threads), folder / engine
            whole = functools.partial(
                extract_features, encoder, images, store, SILENT, batch_size=batch_size, threads=threads
            )
            # In turns: what runs first has the caches of another.
            both: list[tuple[str, Callable[[], object]]] = [("encoder alone", alone), ("extraction", whole)]
            for what, work in both[:: 1 - 2 * (number % 2)]:
                times[engine][what].append(timed(work, len(images)))
            shutil.rmtree(store)
    summary: dict[str, Any] = {
        engine: {
            what: {
                unit: round(statistics.median(one[place] for one in measured), 2)
                for place, unit in enumerate(("ms", "cpu_ms"))
            }
            for what, measured in by_what.items()
        }
        for engine, by_what in times.items()
    }
    first, *others = engines
    ratios = {
        other: {
            unit: round(
                statistics.median(
                    one[place] / two[place]
                    for one, two in zip(times[first]["extraction"], times[other]["extraction"], strict=True)
                ),
                2,
            )
            for place, unit in enumerate(("ms", "cpu_ms"))
        }
        for other in others
    }
    return {
        "encoder": name,
        "images": len(images),
        "threads": threads,
        "batch_size": batch_size,
        "an_image": summary,
        "reading_one_thread_cpu_ms": round(read[1], 2),
        f"extraction_of_{first}_to_that_of": ratios,
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def coco_size(folder: Path) -> dict[str, Any]:
    size = store_bytes(COCO_IMAGES, COCO_REGIONS, COCO_DIM)
    check_space(folder, size)
    random = np.random.default_rng(0)
    block = random.standard_normal((1024, COCO_REGIONS, COCO_DIM), np.float32).astype(np.float16)
    started = time.perf_counter()
    writer = FeatureWriter(folder / "coco", {"synthetic": True}, COCO_REGIONS, COCO_DIM)
    for first in range(0, COCO_IMAGES, len(block)):
        count = min(len(block), COCO_IMAGES - first)
        writer.add([f"{number:012d}" for number in range(first, first + count)], block[:count])
    writer.finish()
    results: dict[str, Any] = {"bytes": size, "write_seconds": round(time.perf_counter() - started, 1)}
    started = time.perf_counter()
    store = FeatureStore.open(folder / "coco")
    results["open_seconds"] = round(time.perf_counter() - started, 3)
    for state in ("cold", "warm"):
        if state == "cold":
            with (folder / "coco" / "features.safetensors").open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        rows = np.random.default_rng(1).integers(0, COCO_IMAGES, (300, 32))
        started = time.perf_counter()
        for batch in rows:
            store.regions_of([store.ids[row] for row in batch])
        results[f"{state}_random_images_per_second"] = round(rows.size / (time.perf_counter() - started))
    results["load"] = [round(value, 1) for value in os.getloadavg()]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coco-size", action="store_true")
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--engines", nargs="+", default=["torch", "onnxruntime"])
    parser.add_argument("--images", type=Path, help="folder of images")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for what is written; the system's by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        if options.coco_size:
            result = coco_size(folder)
        else:
            if options.images:
                images = images_in(options.images, options.count)
            else:
                images = draw_images(folder, options.count)
            result = throughput(
                options.encoder,
                images,
                options.engines,
                options.threads,
                options.batch_size,
                options.rounds,
                folder,
            )
    print(json.dumps(result, indent=1))
