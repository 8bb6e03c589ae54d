"""Karpathy's dataset_*.json; ids are COCO's numbers where there are any, else the file's stem."""

from __future__ import annotations

import posixpath
from typing import Any

from distilcap.data.readers.columns import id_text
from distilcap.data.readers.entries import ReadResult, image_id_of, is_text
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source

__all__ = ["FORM"]


def _matches(source: Source) -> bool:
    images = source.json.lists.get("images", [])
    return any(isinstance(value, dict) and "sentences" in value for value, _ in images)


def _read(source: Source, result: ReadResult) -> None:
    for value, line in source.json.lists["images"]:
        entry = value if isinstance(value, dict) else {}
        name, sentences, split = entry.get("filename"), entry.get("sentences"), entry.get("split")
        if not is_text(name) or not name or not isinstance(sentences, list):
            result.malformed('{"filename": …, "split": …, "sentences": […]}', line)
            continue
        number = id_text(entry.get("cocoid"))
        folder = entry.get("filepath")
        path = f"{folder}/{name}" if is_text(folder) and folder else name
        image = result.image(
            number or image_id_of(posixpath.basename(name)),
            path,
            source.split if split is None else split,
            line,
            numbered=number is not None,
        )
        if image is not None:
            texts = (" ".join(text["tokens"]) if _has_only_tokens(text) else text for text in sentences)
            result.captions(image, texts, line)


def _has_only_tokens(sentence: Any) -> bool:
    if not isinstance(sentence, dict) or "raw" in sentence:
        return False
    tokens = sentence.get("tokens")
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


FORM = DataForm(
    "Karpathy's JSON",
    '{"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}]}',
    _matches,
    _read,
)
register_form(FORM)
