"""Captions by image in one object: {"1.jpg": ["a dog"]}, and kohya's meta_cap.json."""

from __future__ import annotations

import posixpath
from typing import Any

from distilcap.data.readers.columns import texts_of
from distilcap.data.readers.entries import ReadResult, image_id_of, is_text
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS

__all__ = ["FORM"]

_KEYS = frozenset({"caption", "tags", "train_resolution"})  # of kohya's objects


def _matches(source: Source) -> bool:
    lists, others = source.json.lists, source.json.others
    if "" in lists or not (lists or others):
        return False
    described = others and not lists and all(isinstance(value, dict) for value in others.values())
    if described and all(_KEYS & value.keys() for value in others.values()):
        return True
    return all(posixpath.splitext(name)[1].lower() in IMAGE_FILE_ENDINGS for name in (*lists, *others))


def _captions(value: Any) -> list[Any]:
    return texts_of(value.get("caption", []) if isinstance(value, dict) else value)


def _read(source: Source, result: ReadResult) -> None:
    texts = {name: texts_of([text for text, _ in texts]) for name, texts in source.json.lists.items()}
    texts |= {name: _captions(value) for name, value in source.json.others.items()}
    for name, captions in texts.items():
        if not name or not is_text(name):
            result.malformed("an image's name", None)
            continue
        image = result.image(image_id_of(name), name, source.split, None)
        if image is not None:
            result.captions(image, captions, None)


FORM = DataForm(
    "captions by image (kohya's meta_cap.json)",
    '{"1.jpg": {"caption": "a dog"}}',
    _matches,
    _read,
    general=1,
)
register_form(FORM)
