"""Memory of a training run at COCO's size: bounded by the store's mapping, however long it runs.

`python -m benchmarks memory` makes a store of 123,287 images x 49 x 320 (`--regions 36 --dim 2048` for
detector features, 18 GB) as a sparse file of zeros, which takes no disk, with five captions an image, and
reads all of it for one epoch as training does, with an optimisation step of Up-Down small every
`--step-every` batches. Anonymous memory is what the process needs; file memory is the part of the mapping
that happens to be in memory, which the system takes back when it likes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.features import COCO_DIM, COCO_IMAGES, COCO_REGIONS
from distilcap.data.features import FeatureStore, safetensors_header, store_bytes
from distilcap.files import write_json
from distilcap.models.fast import accelerate
from distilcap.models.presets import build_captioner, preset
from distilcap.text.vocabulary import EOS, SPECIALS
from distilcap.training.batches import Batches
from distilcap.training.objectives import CrossEntropy

WORDS = 9488


def sparse_store(folder: Path, count: int, regions: int, dim: int) -> None:
    """A store of zeros whose rows are holes of the file."""
    folder.mkdir()
    with (folder / "features.safetensors").open("wb") as file:
        file.write(safetensors_header(count, regions, dim))
        file.seek(store_bytes(count, regions, dim) - 2 * count)
        file.write(np.full(count, regions, np.int16).tobytes())
    ids = [f"{image:012d}" for image in range(count)]
    content = {"regions": regions, "dim": dim, "skipped": [], "recipe": {"synthetic": True}, "ids": ids}
    write_json(folder / "store.json", content)


def resident() -> dict[str, int]:
    """Megabytes of this process in memory, by kind (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: int(fields[field].split()[0]) // 1024
        for name, field in (("anonymous", "RssAnon"), ("file", "RssFile"), ("peak", "VmHWM"))
    }


def captions_of(count: int) -> dict[str, list[list[int]]]:
    """Five captions of 10 words and an end for each image."""
    words = np.random.default_rng(0).integers(len(SPECIALS), WORDS, (count, 5, 10)).astype(np.int32)
    vocabulary = list(range(WORDS))
    return {
        f"{image:012d}": [[*(vocabulary[word] for word in one), EOS] for one in several]
        for image, several in enumerate(words)
    }


def epoch(folder: Path, count: int, regions: int, dim: int, step_every: int) -> dict[str, Any]:
    captions = captions_of(count)
    found: dict[str, Any] = {"captions_megabytes": resident()["anonymous"]}
    store = FeatureStore.open(folder)
    found["opened_megabytes"] = resident()
    captioner = accelerate(build_captioner("updown", preset("updown", "small"), WORDS, dim))
    optimizer = torch.optim.Adam(captioner.parameters(), fused=True)
    batches = Batches(captions, 10, 5, seed=0)
    curve: list[dict[str, int]] = []
    started, read = time.perf_counter(), 0.0
    for number, batch in enumerate(batches.epoch(0)):
        features = store.regions_of(batch.ids)
        read += float(features.features[0, 0, 0]) + len(batch.ids)
        if number % step_every == 0:
            loss, _ = CrossEntropy()(captioner, features.to(torch.device("cpu")), batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(captioner.parameters(), 0.1)
            optimizer.step()
        if number % max(1, len(batches) // 10) == 0:
            curve.append({"images": int(read), **resident()})
    seconds = time.perf_counter() - started
    return found | {
        "curve": curve,
        "end_megabytes": resident(),
        "images_read": int(read),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=COCO_IMAGES)
    parser.add_argument("--regions", type=int, default=COCO_REGIONS)
    parser.add_argument("--dim", type=int, default=COCO_DIM)
    parser.add_argument("--step-every", type=int, default=100, help="batches")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--scratch", type=Path, help="folder for the store; the system's by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        folder = Path(name) / "store"
        sparse_store(folder, given.images, given.regions, given.dim)
        found = epoch(folder, given.images, given.regions, given.dim, given.step_every)
        found["store_megabytes"] = (folder / "features.safetensors").stat().st_size >> 20
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
