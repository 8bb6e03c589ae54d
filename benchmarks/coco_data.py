"""A data set of COCO's size: its own 616,767 captions, and images that are links to a few drawn files."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.scores import coco_annotations
from distilcap.files import write_json

__all__ = ["make_coco"]

DRAWN = 200  # files that differ; file systems bound the links to one of them
HELD_OUT = 5_000  # images of validation, and of test


def make_coco(folder: Path, images: int) -> None:
    """Write `coco/` with `dataset_coco.json` in Karpathy's layout and its folders of images, and `drawn/`.

    Which 10,000 images of val2014 are validation and test goes by their order, not by Karpathy's choice.

    Args:
        images: how many; fewer than COCO's are spread evenly over it.
    """
    entries = [*entries_of("train2014"), *entries_of("val2014")]
    entries = [entries[number * len(entries) // images] for number in range(images)]
    drawn, coco = draw_images(folder / "drawn"), folder / "coco"
    for number, entry in enumerate(entries):
        path = coco / entry["filepath"] / entry["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(drawn[number % len(drawn)], path)
    write_json(coco / "dataset_coco.json", {"images": entries, "dataset": "coco"})


def entries_of(part: str) -> list[dict[str, Any]]:
    """The images of "train2014" or "val2014" with their captions."""
    content = coco_annotations(f"captions_{part}")
    sentences = defaultdict(list)
    for annotation in content["annotations"]:
        text = annotation["caption"]
        tokens = re.findall(r"\w+", text.lower())
        sentences[annotation["image_id"]].append({"tokens": tokens, "raw": text, "sentid": annotation["id"]})
    return [
        {
            "filepath": part,
            "filename": image["file_name"],
            "cocoid": image["id"],
            "split": "train"
            if part == "train2014"
            else ("val", "test", "restval")[min(number // HELD_OUT, 2)],
            "sentences": sentences[image["id"]],
        }
        for number, image in enumerate(content["images"])
    ]


def draw_images(folder: Path) -> list[Path]:
    """JPEGs of COCO's usual size in pixels and in bytes (164 KB)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(DRAWN):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (60, 80, 3)).astype(np.uint8))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC))
        grain = smooth + random.normal(0, 10, (480, 640, 1))
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths
