"""What the readers of all formats fill: images, captions, and every problem met on the way.

`read_dataset` raises the first problem that forbids reading; `check_dataset` lists them all.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilcap.data.dataset import SPLITS

__all__ = [
    "CAPTION_NAMES",
    "FATAL",
    "IMAGE_ENDINGS",
    "IMAGE_NAMES",
    "KINDS",
    "SPLIT_NAMES",
    "Entry",
    "Problem",
    "ReadResult",
    "image_id_of",
    "is_text",
    "known_split",
    "split_by_hash",
    "split_in",
]

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# What people call the columns of tables and the keys of objects, the likeliest first.
IMAGE_NAMES = (
    "image",
    "filename",
    "file_name",
    "file",
    "image_name",
    "image_path",
    "path",
    "img",
    "image_id",
    "id",
)
CAPTION_NAMES = ("caption", "captions", "text", "sentence", "comment", "description")
SPLIT_NAMES = ("split", "set")

KINDS = {
    "malformed entry": "a line or an entry that is not of the file's form",
    "unknown split": "a split that is not train, val or test",
    "duplicate image id": "two entries of one image that contradict each other",
    "unknown image": "captions for an image that is not in the data set",
    "empty caption": "a caption without a letter or a digit",
    "duplicate caption": "two captions of one image with the same words",
    "no captions": "an image that nobody described",
    "nothing to learn": "too few images, captions or words for training a captioner",
    "missing image": "an image whose file is not there",
    "empty image file": "an image file of zero bytes",
    "truncated image": "an image file that ends too early",
    "undecodable image": "a file that is no image, or is damaged",
    "duplicate image file": "two images whose files are the same, byte by byte",
}
FATAL = frozenset({"malformed entry", "unknown split", "duplicate image id", "unknown image"})
_ALIASES = {"restval": "train", "training": "train", "validation": "val", "valid": "val", "dev": "val",
            "testing": "test"}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A problem of a data set.

    Attributes:
        kind: a key of `KINDS`.
        message: a sentence that names the image if the problem is of an image.
        path: the file where it is.
        line: in that file, from 1; None where there are no lines.
    """

    kind: str
    message: str
    path: Path
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        return f"{where}: {self.message}"


@dataclass
class Entry:
    """One image as its file names it; `path` is filled in when the images are looked for."""

    id: str
    name: str
    split: str | None
    source: Path
    line: int | None
    path: Path = Path()
    captions: list[str] = field(default_factory=list)


@dataclass
class ReadResult:
    """The contents of the caption files of a data set, and their problems.

    Attributes:
        entries: by image id, in the order of the files.
        problems: in the order met.
        where: the file being read; problems are named after it.
    """

    where: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, kind: str, message: str, line: int | None, source: Path | None = None) -> None:
        """Note a problem in `source`, by default the file being read."""
        assert kind in KINDS, kind
        self.problems.append(Problem(kind, message, source or self.where, line))

    def malformed(self, expected: str, line: int | None) -> None:
        """Note an entry that is not of the file's form."""
        self.problem("malformed entry", f"expected {expected}.", line)

    def image(self, id: str, name: str, split: Any, line: int | None, repeats: bool = False) -> Entry | None:
        """Add an image; None where its split is unknown.

        `repeats` is for formats with a line per caption, where an image comes back on the next line; there
        only another split or another file is a contradiction.
        """
        if split is not None and (not isinstance(split, str) or known_split(split) is None):
            choice = ", ".join(SPLITS)
            self.problem(
                "unknown split",
                f"`split` must be one of {choice}, but is {reprlib.repr(split)} at '{name}'.",
                line,
            )
            return None
        known = None if split is None else known_split(split)
        before = self.entries.get(id)
        if before is None:
            self.entries[id] = Entry(id, name, known, self.where, line)
        elif not repeats:
            self.problem("duplicate image id", f"image '{id}' was there before{_at(before)}.", line)
        elif before.name != name:
            message = (
                f"'{name}' and '{before.name}'{_at(before)} would both be image '{id}'; rename one of them."
            )
            self.problem("duplicate image id", message, line)
        elif before.split != known:
            now, earlier = known or "none", before.split or "none"
            message = f"image '{id}' is in split {now} here, but was in {earlier}{_at(before)}."
            self.problem("duplicate image id", message, line)
        return self.entries[id]

    def caption(self, entry: Entry, text: str, line: int | None) -> None:
        """Add a caption; an empty caption is noted and left out, a repeated caption is noted and kept."""
        text = " ".join(text.split())
        if not any(letter.isalnum() for letter in text):
            self.problem("empty caption", f"a caption of image '{entry.id}' is empty.", line)
            return
        if text in entry.captions:
            self.problem("duplicate caption", f"image '{entry.id}' has the caption '{text}' twice.", line)
        entry.captions.append(text)

    def captions(self, entry: Entry, texts: Iterable[Any], line: int | None) -> None:
        """Add captions given as strings or as objects with the text in "text", "raw" or "caption"."""
        for text in texts:
            if isinstance(text, dict):
                text = next((text[key] for key in ("text", "raw", "caption") if key in text), None)
            if isinstance(text, str) and is_text(text):
                self.caption(entry, text, line)
            else:
                self.malformed(f"captions of image '{entry.id}' as strings", line)


def image_id_of(name: str) -> str:
    """The id of an image known by its file alone: the path without ending, or an absolute path's stem."""
    path = name.replace("\\", "/")
    if path.startswith("/"):
        path = posixpath.basename(path)
    stem, ending = posixpath.splitext(posixpath.normpath(path))
    return stem if ending.lower() in IMAGE_ENDINGS else stem + ending


def known_split(name: str) -> str | None:
    """The usual name of a split: "restval" is train, "dev" is val; None for an unknown name."""
    name = name.strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in SPLITS else None


def split_in(file_name: str) -> str | None:
    """The split that a file's name speaks of: val in captions_val2014.json; none in trainval.json."""
    words = re.findall(r"[a-z]+", file_name.lower())
    return next((split for word in words if (split := known_split(word))), None)


def split_by_hash(image_id: str) -> str:
    """The split of an image whose data has none: 80 % train, 10 % val, 10 % test, by a hash of the id.

    It depends on the id alone: adding images moves no other image to another split.
    """
    share = int.from_bytes(hashlib.sha256(image_id.encode("utf-8", "surrogatepass")).digest()[:8]) / 2**64
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


def is_text(value: Any) -> bool:
    """Whether a value is a string that can be written as UTF-8 (JSON may smuggle in half a character)."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at(entry: Entry) -> str:
    return f" (line {entry.line})" if entry.line else ""
