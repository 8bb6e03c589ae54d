"""Write the drawn data set into a folder, in Karpathy's layout."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import SPLITS, Dataset, ImageRecord
from distilcap.data.readers import read_dataset
from distilcap.data.scenes.compose import compose
from distilcap.data.scenes.grammar import describe
from distilcap.data.scenes.paint import paint
from distilcap.data.scenes.stickers import find_stickers
from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json, write_json
from distilcap.progress import SILENT, Progress

__all__ = ["VERSION", "draw_scenes"]

VERSION = 1  # of the world: raised when the same seed gives other pictures or captions
_FILE = "dataset_scenes.json"


def draw_scenes(
    folder: Path,
    images: Sequence[int] = (1200, 200, 300),
    seed: int = 1,
    size: int = 160,
    progress: Progress = SILENT,
) -> Dataset:
    """Draw images with five captions each into `folder`: `images/*.jpg` and `dataset_scenes.json`.

    Every image depends on seed, split and number alone, so a larger training split leaves the others as
    they are. The JSON file is written last: a folder that has it is whole, and a call with the same
    parameters returns at once; a call after an interrupt draws everything again.

    Args:
        folder: made if it is not there.
        images: how many for train, val and test.
        seed: another seed, other images.
        size: side of the square images in pixels, 32 or more.
        progress: reports every image.

    Raises:
        ConfigError: an argument cannot work.
        DataError: the folder holds scenes of other parameters.
        MissingError: the package with the stickers is not installed.
    """
    if len(images) != len(SPLITS) or min(images) < 0 or sum(images) == 0:
        given = ", ".join(str(count) for count in images)
        raise ConfigError(f"`images` must be three counts, for train, val and test, but is {given}.")
    if not 32 <= size <= 2048:
        raise ConfigError(f"`size` must be 32 to 2048 pixels, but is {size}.")
    recipe = {"version": VERSION, "images": list(images), "seed": seed, "size": size}
    if (folder / _FILE).exists():
        return _drawn_before(folder, recipe)
    stickers = find_stickers()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    plan = [(split, index) for split, count in zip(SPLITS, images, strict=True) for index in range(count)]
    entries: list[dict[str, Any]] = []
    for split, index in progress.track(plan, "Drawing scenes", len(plan)):
        name = f"{split}_{index:05d}.jpg"
        rng = random.Random(f"scenes {seed} {split} {index}")
        scene = compose(rng)
        captions = describe(scene, rng)
        # The captions' draw must not depend on the picture's size.
        picture = paint(scene, size, stickers, random.Random(rng.getrandbits(64)))
        picture.save(folder / "images" / name, quality=90)
        entries.append(_entry(len(entries), name, split, captions, rng))
    content = {
        "dataset": "scenes",
        "recipe": recipe,
        "credit": "Stickers: Twemoji by Twitter, Inc and other contributors, CC-BY 4.0.",
        "images": entries,
    }
    write_json(folder / _FILE, content)
    return _dataset(folder, entries)


def _entry(number: int, name: str, split: str, captions: Sequence[str], rng: random.Random) -> dict[str, Any]:
    sentences = []
    for index, caption in enumerate(captions):
        raw = caption[0].upper() + caption[1:] if rng.random() < 0.7 else caption
        raw += rng.choice((" .", ".", "", ""))
        sentences.append(
            {"tokens": caption.split(), "raw": raw, "imgid": number, "sentid": number * len(captions) + index}
        )
    sentids = [sentence["sentid"] for sentence in sentences]
    return {"filename": name, "imgid": number, "split": split, "sentids": sentids, "sentences": sentences}


def _drawn_before(folder: Path, recipe: dict[str, Any]) -> Dataset:
    content = read_json(folder / _FILE)
    existing = content.get("recipe") if isinstance(content, dict) else None
    if existing != recipe:
        raise DataError(
            f"{folder / _FILE}: holds scenes of other parameters ({existing}, not {recipe}). "
            "Name another folder, or remove this folder."
        )
    return read_dataset(folder / _FILE, folder / "images")


def _dataset(folder: Path, entries: Sequence[dict[str, Any]]) -> Dataset:
    records = []
    texts: dict[str, list[str]] = {}
    for entry in entries:
        path = folder / "images" / entry["filename"]
        records.append(ImageRecord(path.stem, path, entry["split"]))
        texts[path.stem] = [sentence["raw"] for sentence in entry["sentences"]]
    return Dataset("scenes", tuple(records), CaptionSet.of_texts(texts))
