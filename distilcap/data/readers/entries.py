"""What the readers of all formats fill: images, captions, and every problem met on the way.

`read_dataset` raises the first problem that forbids reading; `check_dataset` lists them all.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from distilcap.data.dataset import SPLITS, no_split

__all__ = [
    "FATAL",
    "IMAGE_ENDINGS",
    "KINDS",
    "Entry",
    "Problem",
    "ReadResult",
    "image_id_of",
    "is_absolute",
    "is_text",
    "known_split",
    "split_by_hash",
    "split_in",
]

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Endings that are no part of an image's id. None may be added: ids decide the keys of a store."""

KINDS = {
    "malformed entry": "a line or an entry that is not of the file's form",
    "unknown split": "a split that is not train, val or test",
    "duplicate image id": "two entries of one image that contradict each other",
    "unknown image": "captions for an image that is not in the data set",
    "empty caption": "a caption without a letter or a digit, or null where one should be",
    "duplicate caption": "two captions of one image with the same words",
    "no captions": "an image that nobody described",
    "nothing to learn": "too few images, captions or words for training a captioner",
    "file name": "an image whose file's name is not UTF-8, which no captions file can hold",
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
    """One image as its file names it.

    Attributes:
        id: of the data set; by the image's name, unless all images have an `own_id`.
        own_id: what a column of ids says; None where there is none.
        path: filled in when the images are looked for, if the reader has not.
        hint: where it was looked for, if it is missing: names that are nearly the same.
    """

    id: str
    name: str
    split: str | None
    source: Path
    line: int | None
    own_id: str | None = None
    path: Path = Path()
    hint: str = ""
    captions: list[str] = field(default_factory=list)

    @property
    def address(self) -> bool:
        """Whether the name is an address on the internet."""
        return "://" in self.name


@dataclass
class ReadResult:
    """The contents of the caption files of a data set, and their problems.

    Attributes:
        entries: by image id, in the order of the files.
        problems: in the order met.
        where: the file being read; problems are named after it.
        homes: folders that images' names start from, as the reader knows them; else those of the data set.
        prefix: put before the names of images, where a file's names start from its own folder.
        notes: remarks on how the data were read, which are no problems.
        unread: columns, or paths of keys, that may hold captions too.
        line_breaks: captions keep theirs, as cleaning needs them; else they become spaces.
        keep_empty: empty captions are kept, as captions to score need them.
    """

    where: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    homes: list[Path] = field(default_factory=list)
    prefix: str = ""
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    line_breaks: bool = False
    keep_empty: bool = False

    @property
    def by_hash(self) -> bool:
        """Whether no entry names a split, so that a hash of the ids makes them."""
        return all(entry.split is None for entry in self.entries.values())

    def problem(self, kind: str, message: str, line: int | None, source: Path | None = None) -> None:
        """Note a problem in `source`, by default the file being read."""
        assert kind in KINDS, kind
        self.problems.append(Problem(kind, message, source or self.where, line))

    def malformed(self, expected: str, line: int | None) -> None:
        """Note an entry that is not of the file's form."""
        self.problem("malformed entry", f"expected {expected}.", line)

    def image(
        self,
        id: str,
        name: str,
        split: Any,
        line: int | None,
        repeats: bool = False,
        numbered: bool = False,
        own_id: str | None = None,
        split_column: str = "split",
    ) -> Entry | None:
        """Add an image; None where its split is unknown, or its name is none that a file can have.

        Args:
            id: made of the name; of two files of one name but for the ending the first has it, the other its
                whole name.
            numbered: the id is not made of the name.
            repeats: for formats with a line per caption, where an image comes back on the next line; there
                only another split is a contradiction.
            own_id: see `Entry`.
            split_column: where the split stands.
        """
        if "\0" in name:
            self.malformed(f"an image's name without NUL, but it is {name!r:.100}", line)
            return None
        if split is not None and (not isinstance(split, str) or known_split(split) is None):
            self.problem("unknown split", f"{no_split(split, split_column)} at '{name}'.", line)
            return None
        known = None if split is None else known_split(split)
        before = self.entries.get(id)
        if before is not None and not numbered and _slashed(before.name) != _slashed(name):
            id = _slashed(name)
            before = self.entries.get(id)
        if before is None:
            self.entries[id] = Entry(id, name, known, self.where, line, own_id)
        elif not repeats:
            self.problem("duplicate image id", f"image '{id}' was there before{_at(before)}.", line)
        elif before.split != known:
            now, earlier = known or "none", before.split or "none"
            message = f"image '{id}' is in split {now} here, but was in {earlier}{_at(before)}."
            self.problem("duplicate image id", message, line)
        elif before.own_id != own_id:
            before.own_id = None  # a number of the caption, not of the image
        return self.entries[id]

    def use_own_ids(self) -> None:
        """Call images as their column of ids does, if every image has an id there that no other has."""
        own = [entry.own_id for entry in self.entries.values()]
        if not own or None in own or len(set(own)) < len(own):
            return
        for entry in self.entries.values():
            assert entry.own_id is not None
            entry.id = entry.own_id
        self.entries = {entry.id: entry for entry in self.entries.values()}

    def caption(self, entry: Entry, text: str, line: int | None) -> None:
        """Add a caption; an empty caption is noted and left out, unless `keep_empty`, a repeated one kept."""
        one_line = " ".join(text.split())
        if self.line_breaks:
            lines = (" ".join(line.split()) for line in text.splitlines())
            text = "\n".join(line for line in lines if line)
        else:
            text = one_line
        if not any(letter.isalnum() for letter in text):
            self.problem("empty caption", f"a caption of image '{entry.id}' is empty.", line)
            if not self.keep_empty:
                return
        if text in entry.captions:
            self.problem("duplicate caption", f"image '{entry.id}' has the caption '{one_line}' twice.", line)
        entry.captions.append(text)

    def captions(self, entry: Entry, texts: Iterable[Any], line: int | None) -> None:
        """Add captions given as strings or as objects with the text in "text", "raw" or "caption".

        None is a caption that is not there: noted and left out, or empty with `keep_empty`, and so is no
        caption at all.
        """
        texts = tuple(texts)
        for text in texts or ((None,) if self.keep_empty else ()):
            if isinstance(text, dict):
                text = next((text[key] for key in ("text", "raw", "caption") if key in text), text)
            if text is None and self.keep_empty:
                self.caption(entry, "", line)
            elif text is None:
                self.problem(
                    "empty caption", f"a caption of image '{entry.id}' is null, so there is none.", line
                )
            elif isinstance(text, str) and is_text(text):
                self.caption(entry, text, line)
            else:
                self.malformed(f"captions of image '{entry.id}' as strings", line)


def image_id_of(name: str) -> str:
    """The id of an image known by its file alone: the path without ending, or an absolute path's stem."""
    path = _slashed(name)
    stem, ending = posixpath.splitext(posixpath.basename(path) if is_absolute(name) else path)
    return stem if ending.lower() in IMAGE_ENDINGS else stem + ending


def _slashed(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))


def is_absolute(name: str) -> bool:
    """Whether a name starts from the root or a drive, here or on another machine."""
    return re.match(r"[/\\]|[A-Za-z]:[/\\]", name) is not None


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


def is_text(value: Any) -> TypeGuard[str]:
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
