"""Data sets made of others: images moved into splits that lack them, and images without captions beside."""

from __future__ import annotations

import abc
import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord, probe
from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.formats import find_image_files, left_out
from distilcap.stages.data import ImportData
from distilcap.store.stage import not_in_key
from distilcap.store.store import Store

__all__ = ["AddUnlabelled", "ChangedData", "HoldOut"]

HELD_OUT = 0.1
"""Share of the training images with captions that an empty split gets; one at least."""
FEWEST = 4
"""Training images with captions below which none are held out: there would be nothing to learn."""


@dataclass(frozen=True, kw_only=True)
class ChangedData(ImportData, abc.ABC):
    """A data set made of another.

    Attributes:
        whole: the other.
    """

    whole: ImportData

    @abc.abstractmethod
    def changed(self, dataset: Dataset) -> Dataset:
        """What becomes of the other data set."""

    @abc.abstractmethod
    def note(self) -> str:
        """What was done, for people."""

    def read(self, progress: Progress = SILENT) -> Dataset:
        """See `ImportData.read`."""
        return self.changed(self.whole.read(progress))

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write what `ImportData` writes."""
        self.write(self.changed(self.whole.load(store)), folder)


def _fields(whole: ImportData) -> dict[str, Any]:
    same = {field.name: getattr(whole, field.name) for field in dataclasses.fields(ImportData)}
    return same | {"whole": whole}


@dataclass(frozen=True, kw_only=True)
class HoldOut(ChangedData):
    """A data set in which training images are held out for splits that have no captioned image.

    A tenth of those with captions, one at least; which ones depends on their ids alone.

    Attributes:
        splits: that were empty.
    """

    splits: tuple[str, ...]

    @staticmethod
    def where_needed(whole: ImportData, dataset: Dataset, needed: Iterable[str]) -> ImportData:
        """The data set itself, where each of the `needed` splits has a captioned image."""
        empty = tuple(split for split in needed if not dataset.references(split))
        if not empty or len(dataset.references("train")) < FEWEST:
            return whole
        return HoldOut(**_fields(whole), splits=empty)

    def changed(self, dataset: Dataset) -> Dataset:
        """See `ChangedData.changed`."""
        order = sorted(dataset.references("train"), key=lambda id: (zlib.crc32(id.encode()), id))
        each = max(1, round(HELD_OUT * len(order)))
        moved = {id: split for n, split in enumerate(self.splits) for id in order[n * each : (n + 1) * each]}
        images = (
            dataclasses.replace(image, split=moved.get(image.id, image.split)) for image in dataset.images
        )
        return Dataset(dataset.name, tuple(images), dataset.captions)

    def note(self) -> str:
        """See `ChangedData.note`."""
        each = f"{HELD_OUT:.0%} of the training images, one at least"
        return f"{self.path}: no captioned image is of split {' or '.join(self.splits)}, which gets {each}."


@dataclass(frozen=True, kw_only=True)
class AddUnlabelled(ChangedData):
    """A data set with more training images, which have no captions: a teacher labels them.

    Attributes:
        content: name, size and checksum of the ends of each image file, hashed.
        folder: where they lie.
    """

    content: str
    folder: str = not_in_key()

    @staticmethod
    def beside(whole: ImportData, folder: Path) -> AddUnlabelled:
        """Look at a folder of images.

        Raises:
            DataError: there is no such folder, no image is in it, or a name cannot be written.
        """
        added = _records(folder)
        content = Dataset("", added, CaptionSet({})).fingerprint()
        return AddUnlabelled(**_fields(whole), content=content, folder=str(folder))

    def changed(self, dataset: Dataset) -> Dataset:
        """See `ChangedData.changed`; files that the data set has already are left out."""
        known = {probe(image.path) for image in dataset.images}
        added = _records(Path(self.folder))
        new = tuple(image for image in added if probe(image.path) not in known)
        if Dataset("", added, CaptionSet({})).fingerprint() != self.content:
            raise DataError(f"{self.folder}: changed since the plan was made; start again.")
        return Dataset(dataset.name, dataset.images + new, dataset.captions)

    def note(self) -> str:
        """See `ChangedData.note`; also what of the folder is left out."""
        others = Counter[str]()
        _records(Path(self.folder), others)
        said = f"; {left_out(others)}" if others else ""
        return f"{self.folder}: its images are training images that the teacher labels{said}."


def _records(folder: Path, others: Counter[str] | None = None) -> tuple[ImageRecord, ...]:
    """All images of a folder and of those in it; `others`: see `find_image_files`."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of images without captions.")
    paths = list(find_image_files(folder, others))
    if not paths:
        raise DataError(f"{folder}: there is no image in this folder.")
    names = [f"unlabelled/{path.relative_to(folder).as_posix()}" for path in paths]
    for path, name in zip(paths, names, strict=True):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{folder}: the name of {path.name!a} is not UTF-8; rename it.") from None
    return tuple(ImageRecord(name, path, "train") for path, name in zip(paths, names, strict=True))
