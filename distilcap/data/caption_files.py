"""Captions to score, and the references to score them by, from anybody's files.

Nothing is cleaned: scores are exact only if empty captions, duplicates and spaces stay as they are. Image
ids become strings; images keep the order of the file's image list, as in the official toolkit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distilcap.data.captions import CaptionSet
from distilcap.data.readers import read_dataset
from distilcap.errors import DataError
from distilcap.files import read_json, verify_checksum

__all__ = ["read_candidates", "read_references"]


def read_references(path: Path) -> CaptionSet:
    """Read the references of every image.

    Args:
        path: COCO annotations, COCO results (any number for an image), {"id": ["caption", …]}, our captions
            files (JSON lines), or any form of data set that `read_dataset` knows.

    Raises:
        DataError: the file is missing, of none of these forms, or differs from its checksum file.
    """
    verify_checksum(path)
    if path.suffix == ".json":
        content = read_json(path)
        if isinstance(content, dict) and "annotations" in content:
            images = content.get("images") or []
            return _grouped(path, content["annotations"], (image.get("id") for image in images))
        if isinstance(content, list) and content and "image_id" in _keys(content[0]):
            return _grouped(path, content)
        if isinstance(content, dict) and "images" not in content:
            return _mapped(path, content)
        del content  # a data set's file may be large, and is read again
    if _is_caption_set(path):
        return CaptionSet.load(path)
    return read_dataset(path, need_images=False).captions


def read_candidates(path: Path) -> CaptionSet:
    """Read one caption of each image; of our own files, which may hold more, each image's first counts.

    Args:
        path: COCO results, [{"image_id": …, "caption": …}, …], {"id": "caption"}, or our own captions file.

    Raises:
        DataError: the file is missing, of none of these forms, has two captions of an image, or differs from
            its checksum file.
    """
    verify_checksum(path)
    if path.suffix != ".json":
        return CaptionSet.load(path)
    content = read_json(path)
    if isinstance(content, dict) and "annotations" not in content and "images" not in content:
        candidates = _mapped(path, content)
    else:
        candidates = _grouped(path, content["annotations"] if isinstance(content, dict) else content)
    for image_id, captions in candidates.items():
        if len(captions) != 1:
            raise DataError(f"{path}: image {image_id} must have one caption, but has {len(captions)}.")
    return candidates


def _keys(value: Any) -> Iterable[str]:
    return value if isinstance(value, dict) else ()


def _grouped(path: Path, records: Any, order: Iterable[Any] = ()) -> CaptionSet:
    """Group COCO's records by image: first the images of `order`, then others as they come."""
    texts: dict[str, list[str]] = {str(image_id): [] for image_id in order}
    try:
        for record in records:
            caption = record["caption"]
            if not isinstance(caption, str):
                raise TypeError
            texts.setdefault(str(record["image_id"]), []).append(caption)
    except (KeyError, TypeError):
        raise DataError(f'{path}: expected COCO results, [{{"image_id": …, "caption": …}}, …].') from None
    return CaptionSet.of_texts({image_id: captions for image_id, captions in texts.items() if captions})


def _mapped(path: Path, content: dict[str, Any]) -> CaptionSet:
    """Read {"id": "caption"} or {"id": ["caption", …]}."""
    texts = {key: [value] if isinstance(value, str) else value for key, value in content.items()}
    for image_id, captions in texts.items():
        if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
            raise DataError(f"{path}: expected a caption, or a list of captions, for image {image_id!r}.")
    return CaptionSet.of_texts(texts)


def _is_caption_set(path: Path) -> bool:
    """Return whether a file is one of ours: JSON lines whose captions are objects, not strings."""
    if path.suffix == ".json" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    try:
        captions = json.loads(first)["captions"]  # a mere look: `CaptionSet.load` refuses NaN and the like
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(captions, list) and all(isinstance(caption, dict) for caption in captions)
