"""Data sets of a few small files, for tests of the forms in which people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distilcap.data.dataset import Dataset
from distilcap.progress import Silent

Expected = dict[str, tuple[str | None, list[str]]]  # file name: split, captions


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def files(folder: Path, contents: dict[str, Any]) -> Path:
    """Write files: text as it is, bytes, lists as JSON Lines (.jsonl), and else JSON."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(line) + "\n" for line in content))
        else:
            path.write_text(json.dumps(content))
    return folder


def images(*names: str) -> dict[str, bytes]:
    return {name: b"not looked into" + name.encode() for name in names}


def contents(data: Dataset) -> Expected:
    assert all(image.path.is_file() for image in data.images), [image.path for image in data.images]
    return {
        image.path.name: (image.split, data.captions.texts(image.id) if image.id in data.captions else [])
        for image in data.images
    }


def texts(data: Dataset) -> dict[str, list[str]]:
    return {name: said for name, (_, said) in contents(data).items()}
