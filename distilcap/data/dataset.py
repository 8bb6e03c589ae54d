"""`Dataset`: images with ids, paths and splits, and their reference captions."""

from __future__ import annotations

import hashlib
import os
import reprlib
import stat
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DataError

__all__ = ["ADDED", "SPLITS", "Dataset", "ImageRecord", "check_split", "no_split", "probe"]

SPLITS = ("train", "val", "test")
ADDED = "unlabelled/"
"""What the ids of images begin with that were added to a data set, without captions."""
_PROBE = 4096  # bytes read at each end of an image file for its fingerprint


def no_split(given: object, where: str = "split") -> str:
    """What is wrong with what is not one of `SPLITS`; `where` is its key or column."""
    return f"`{where}` must be one of {', '.join(SPLITS)}, but is {reprlib.repr(given)}"


def check_split(name: str) -> None:
    """Make sure that a person named one of `SPLITS`.

    Raises:
        ConfigError: it is none.
    """
    if name not in SPLITS:
        raise ConfigError(f"{no_split(name)}.")


@dataclass(frozen=True)
class ImageRecord:
    """One image of a data set.

    Attributes:
        id: unique in the data set.
        path: of the image file, which may turn out to be missing or damaged (see `distilcap data check`).
        split: one of `SPLITS`.
    """

    id: str
    path: Path
    split: str


@dataclass(frozen=True)
class Dataset:
    """Images and their reference captions; an image may be without captions.

    Attributes:
        name: for people; not part of the fingerprint.
        images: in the order of the file they came from.
        captions: by image id.
        by_hash: nobody chose the splits; a hash of the ids did.

    Raises:
        DataError: an id occurs twice, a split is unknown, or captions belong to no image.
    """

    name: str
    images: tuple[ImageRecord, ...]
    captions: CaptionSet
    by_hash: bool = field(default=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        counts = Counter(image.id for image in self.images)
        for image in self.images:
            if image.split not in SPLITS:
                raise DataError(f"{self.name}: {no_split(image.split)} at image '{image.id}'.")
            if counts[image.id] > 1:
                raise DataError(f"{self.name}: image '{image.id}' occurs {counts[image.id]} times.")
        for image_id in self.captions:
            if image_id not in counts:
                raise DataError(f"{self.name}: there are captions for an unknown image '{image_id}'.")

    def split(self, name: str) -> tuple[ImageRecord, ...]:
        """The images of one split, in order; empty where the data has none.

        Raises:
            ConfigError: `name` is not one of `SPLITS`.
        """
        check_split(name)
        return tuple(image for image in self.images if image.split == name)

    def references(self, name: str) -> CaptionSet:
        """The captions of one split; images without captions are left out."""
        return self.captions.only(image.id for image in self.split(name) if self.captions.get(image.id))

    def fingerprint(self) -> str:
        """A hash of content, as 64 hexadecimal digits: ids, splits, captions and image files, in order.

        It does not depend on where the folder lies. Of an image file it takes name, size and a CRC of the
        first and last 4 KB, so that COCO's 123,287 images take seconds; an edit in the middle of a file
        that keeps its size goes unseen. Computed once per object.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for image in self.images:
            texts = [caption.text for caption in self.captions.get(image.id, ())]
            fields = [image.id, image.split, image.path.name, *probe(image.path), *texts]
            digest.update(b"%d\n" % len(fields))
            for value in fields:
                content = str(value).encode("utf-8", "surrogatepass")
                digest.update(b"%d:%b\n" % (len(content), content))
        return digest.hexdigest()


def probe(path: Path) -> tuple[int, int]:
    """Size of a file and CRC-32 of its two ends; (-1, 0) for what cannot be read or is no regular file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return -1, 0
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_PROBE)
            file.seek(max(len(head), size - _PROBE))
            return size, zlib.crc32(file.read(_PROBE), zlib.crc32(head))
    except (OSError, ValueError):  # ValueError: a name with NUL
        return -1, 0
