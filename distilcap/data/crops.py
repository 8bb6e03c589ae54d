"""Crops of training images as images without captions, which a teacher labels (`--unlabelled`).

Where photographs are few, a student knows its teacher's captions of them by heart. A crop shows something
else, and the teacher says what; so there is more to learn from than there are photographs.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageEnhance

from distilcap.data.dataset import ImageRecord, probe
from distilcap.errors import ConfigError, DataError
from distilcap.files import atomic_path, expected, read_json, write_json
from distilcap.progress import SILENT, Progress
from distilcap.runtime.pixels import read_image

__all__ = ["crop_of", "crops_by_folder", "crops_of_held_out", "write_crops"]

SIDES = 0.45, 0.85
"""Of the picture's sides: less often shows nothing, more shows the same again."""
STRETCH = 0.8, 1.25
LIGHT = 0.85, 1.15
"""Of brightness, contrast and colour."""
RECIPE = "crops.json"
LONGEST = 220
"""Characters of a name: disks take 255, with the crop's number, the ending, and what `atomic_path` adds."""


def crop_of(picture: Image.Image, name: str, number: int, size: int) -> Image.Image:
    """A crop of a picture, stretched to a square and changed a little in light; half of them are flipped.

    Args:
        name: of the picture; the same name and number give the same crop.
        size: its side in pixels.
    """
    random = np.random.default_rng([zlib.crc32(name.encode()), 100 + number])
    side, stretch = random.uniform(*SIDES), np.sqrt(random.uniform(*STRETCH))
    width, height = min(1, side * stretch) * picture.width, min(1, side / stretch) * picture.height
    left, top = random.uniform(0, picture.width - width), random.uniform(0, picture.height - height)
    box = (left, top, left + width, top + height)
    crop = picture.resize((size, size), Image.Resampling.BICUBIC, box)
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        crop = change(crop).enhance(random.uniform(*LIGHT))
    return crop


def write_crops(
    images: Iterable[ImageRecord], folder: Path, each: int = 3, size: int = 224, progress: Progress = SILENT
) -> list[str]:
    """Write crops of the images of split train as JPEG files; a killed run goes on where it was.

    Args:
        each: crops of an image.
        size: side of a crop in pixels.

    Returns:
        What is wrong with images that cannot be read; the others are cropped.

    Raises:
        ConfigError: the folder holds other crops, or crops of other images.
        DataError: the folder holds other files.
    """
    train = [image for image in images if image.split == "train"]
    options = {"each": each, "size": size}
    older = {**options, "images": _digest(train)}
    sources = {_file_name(image.id): (image.path.name, *probe(image.path)) for image in train}
    mark, found = folder / RECIPE, older
    if mark.exists():
        found = read_json(mark)
        if isinstance(found, dict):
            found.pop("sources", None)  # which older versions did not write
        if found not in (older, options):  # nor the oldest the images
            other = "images" if isinstance(found, dict) and options.items() <= found.items() else "options"
            raise ConfigError(f"{folder}: holds crops of other {other} ({RECIPE}); name another folder.")
    else:
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder}: holds other files; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
    if found == older:
        write_json(mark, {**older, "sources": sources})
    failed = []
    for image in progress.track(train, "Cropping"):
        files = [folder / f"{_file_name(image.id)}_{number}.jpg" for number in range(each)]
        if all(file.exists() for file in files):
            continue
        try:
            picture = read_image(image.path)
        except DataError as error:
            failed.append(str(error))
            continue
        for number, file in enumerate(files):
            with atomic_path(file) as new:
                crop_of(picture, image.path.name, number, size).save(new, "JPEG", quality=92)
    return failed


def crops_by_folder(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Those of the paths that lie in folders that `write_crops` wrote.

    Raises:
        DataError: a folder's `RECIPE` is no JSON.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    return {folder: inside for folder, inside in folders.items() if _recipe(folder) is not None}


def _recipe(folder: Path) -> dict[str, Any] | None:
    """What `write_crops` noted; None of another program's file of that name."""
    found = read_json(folder / RECIPE) if (folder / RECIPE).is_file() else None
    return found if isinstance(found, dict) and {"each", "size"} <= found.keys() else None


def crops_of_held_out(
    paths: Collection[Path],
    images: Iterable[ImageRecord],
    by_content: bool = True,
    strange: list[Path] | None = None,
) -> set[Path]:
    """Those of the paths that are crops (see `write_crops`) of images of other splits than train.

    Args:
        by_content: know a photograph by its content (see `probe`), or of several of the same by its file's
            name too, whatever its id was when it was cropped. By its id where the data have none of this
            content, and where the crops are an older version's, which did not note it.
        strange: receives the folders with crops of which none is, for all we know, of an image of the data.

    Raises:
        DataError: a folder's `RECIPE` is damaged.
    """
    folders = crops_by_folder(paths)
    of_content, of_id = defaultdict(list), defaultdict(list)
    for image in images if folders else ():
        of_content[probe(image.path)].append(image)
        of_id[_file_name(image.id)].append(image)
    held: set[Path] = set()
    for folder, crops in folders.items():
        with expected(folder / RECIPE, "what `distilcap data crops` writes"):
            noted = (_recipe(folder) or {}).get("sources", {}) if by_content else {}
            sources = {name: (file, (size, ends)) for name, (file, size, ends) in noted.items()}
        known = False
        for crop in crops:
            name = crop.stem.rpartition("_")[0]
            file, content = sources.get(name, ("", (-1, -1)))
            same = of_content.get(content, [])
            photographs = [image for image in same if image.path.name == file] or same or of_id.get(name, [])
            known = known or bool(same if name in sources else photographs)
            if any(image.split != "train" for image in photographs):
                held.add(crop)
        if strange is not None and not known:
            strange.append(folder)
    return held


def _digest(images: Iterable[ImageRecord]) -> str:
    """Of all that decides crops but their options: ids, names and (as in a fingerprint) contents."""
    sources = sorted((image.id, image.path.name, *probe(image.path)) for image in images)
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _file_name(image_id: str) -> str:
    """An id as a file name: of a long one, which no disk takes, the beginning and a digest."""
    name = quote(image_id, safe=" ")  # three characters for each byte that is not ASCII
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(image_id.encode()).hexdigest()[:16]
    return f"{name[: LONGEST - 17]}-{digest}"
