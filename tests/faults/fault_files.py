"""What folders hold, to be compared; and single flipped bits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from distilcap.files import read_json
from distilcap.integrity import CHECKSUMS

__all__ = ["content_of", "flip", "without_seconds"]

_HOLD_SECONDS = ("stage.json", "training.json", "log.json", "shard-*-of-*.json")


def content_of(folder: Path) -> dict[str, Any]:
    """All files of a folder by name, but for the seconds that work took, and checksums of these.

    Hidden files, which are nobody's results, are left out.
    """
    content: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if path.name == CHECKSUMS:
            content[name] = sorted(read_json(path)["files"])
        elif any(path.match(pattern) for pattern in _HOLD_SECONDS):
            content[name] = without_seconds(read_json(path))
        else:
            content[name] = path.read_bytes()
    return content


def without_seconds(value: Any) -> Any:
    """JSON without what differs from one run to the next."""
    if isinstance(value, list):
        return [without_seconds(item) for item in value]
    if not isinstance(value, dict):
        return value
    gone = {"seconds", "train_seconds", "sha256"}
    return {name: without_seconds(item) for name, item in value.items() if name not in gone}


def flip(path: Path, bits: random.Random) -> int:
    """Turn one bit of a file; returns which."""
    content = bytearray(path.read_bytes())
    bit = bits.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return bit
