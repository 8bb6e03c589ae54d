"""Data sets made of others: images moved into splits that lack them, and images without captions beside."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilcap.data.captions import CaptionSet
from distilcap.data.crops import crops_by_folder, crops_of_held_out
from distilcap.data.dataset import ADDED, SPLITS, Dataset, ImageRecord, probe
from distilcap.data.readers.find import of_twins, twins_among
from distilcap.data.trainable import HELD_OUT, captioned_ids, check_enough, held_out, to_hold_out
from distilcap.errors import DataError
from distilcap.files import sha256_of
from distilcap.integrity import rebuild
from distilcap.progress import SILENT, Progress
from distilcap.runtime.formats import find_image_files, left_out
from distilcap.shown import counted, some
from distilcap.stages.data import ImportData
from distilcap.store.stage import added_later, not_in_key
from distilcap.store.store import Store

__all__ = ["AddUnlabelled", "ChangedData", "HoldOut"]


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
    def note(self, store: Store) -> str:
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
    """A data set in which training images are held out for splits that are short of captioned images.

    See `data.trainable.to_hold_out`.

    Attributes:
        splits: that were short.
        moved: how many images each gets; () is a tenth of those with captions, one at least.
    """

    splits: tuple[str, ...]
    moved: tuple[int, ...] = added_later(())

    @property
    def same_images(self) -> ImportData:
        """See `ImportData.same_images`."""
        return self.whole.same_images

    @staticmethod
    def where_needed(whole: ImportData, dataset: Dataset, needed: Sequence[str]) -> ImportData:
        """The data set itself, where each of the `needed` splits has captioned images.

        Raises:
            DataError: there are too few to learn from, or to hold out.
        """
        captioned = {split: len(_captioned(dataset, split)) for split in SPLITS}
        moved = to_hold_out(captioned, needed, dataset.by_hash)
        try:
            check_enough(captioned, needed, moved, dataset.by_hash)
        except DataError as error:
            raise DataError(f"{whole.path}: {error}") from None
        if not moved:
            return whole
        counts = tuple(moved.values())
        usual = (_tenth(captioned["train"]),) * len(moved)
        return HoldOut(**_fields(whole), splits=tuple(moved), moved=() if counts == usual else counts)

    def changed(self, dataset: Dataset) -> Dataset:
        """See `ChangedData.changed`."""
        train = _captioned(dataset, "train")
        counts = self.moved or (_tenth(len(train)),) * len(self.splits)
        moved = held_out(train, dict(zip(self.splits, counts, strict=True)))
        images = (
            dataclasses.replace(image, split=moved.get(image.id, image.split)) for image in dataset.images
        )
        return dataclasses.replace(dataset, images=tuple(images))

    def note(self, store: Store) -> str:
        """See `ChangedData.note`."""
        before, after = self.whole.load(store), self.load(store)
        had = {split: len(before.references(split)) for split in ("train", *self.splits)}
        were = " and ".join(f"{had[split] or 'none'} of {split}" for split in self.splits)
        moved = " and ".join(
            f"{len(after.references(split)) - had[split]:,} for {split}" for split in self.splits
        )
        whole = counted(had["train"], "captioned image")
        return f"{self.path}: {whole} of split train, {were}; of those of train, {moved} set aside."


def _captioned(dataset: Dataset, split: str) -> list[str]:
    return captioned_ids(((image.id, image.path) for image in dataset.split(split)), dataset.captions)


def _tenth(count: int) -> int:
    return max(1, round(HELD_OUT * count))


@dataclass(frozen=True, kw_only=True)
class AddUnlabelled(ChangedData):
    """A data set with more training images, which have no captions: a teacher labels them.

    Attributes:
        content: name, size and checksum of the ends of each image file, hashed.
        folder: where they lie.
        crops_by_content: other crops of images that are held out are known by their content than by their
            ids, by which older artifacts went.
    """

    content: str
    folder: str = not_in_key()
    crops_by_content: bool = added_later(False)

    @property
    def same_images(self) -> ImportData:
        """See `ImportData.same_images`; of the others, with these."""
        return dataclasses.replace(self, **_fields(self.whole.same_images))

    @property
    def folders(self) -> tuple[Path, ...]:
        """See `ImportData.folders`."""
        return (*super().folders, Path(self.folder))

    @staticmethod
    def beside(whole: ImportData, folder: Path) -> AddUnlabelled:
        """Look at a folder of images; and at the data, if crops are in it.

        Raises:
            DataError: there is no such folder, no image is in it, or a name cannot be written.
        """
        added = _records(folder)
        content = Dataset("", added, CaptionSet({})).fingerprint()
        crops, other = [image.path for image in added], False
        if crops_by_folder(crops):
            images = whole.read().images
            other = crops_of_held_out(crops, images) != crops_of_held_out(crops, images, by_content=False)
        return AddUnlabelled(**_fields(whole), content=content, folder=str(folder), crops_by_content=other)

    def changed(self, dataset: Dataset) -> Dataset:
        """See `ChangedData.changed`; photographs that the data set has already are left out, and crops of
        images that are held out."""
        added = _records(Path(self.folder))
        known: dict[tuple[int, int], list[Path]] = {}
        for image in dataset.images:
            known.setdefault(probe(image.path), []).append(image.path)
        digest, real = functools.cache(_digest), functools.cache(os.path.realpath)

        def place(path: Path) -> Path:
            return Path(real(path.parent), path.name)

        both = (place(image.path) for image in (*dataset.images, *added))
        twins = {path.with_suffix("") for path in twins_among(both)}

        def is_known(path: Path) -> bool:
            """By content: uncompressed images of one border have the same ends. A file itself is not read.

            Or by its place: where the data have an HEIC file, the JPEG beside it is of the same photograph.
            """
            if place(path).with_suffix("") in twins:
                return True
            same = known.get(probe(path), [])
            if real(path) in map(real, same):
                return True
            return bool(same) and digest(path) in map(digest, same)

        held = crops_of_held_out([image.path for image in added], dataset.images)
        new = tuple(image for image in added if image.path not in held and not is_known(image.path))
        if Dataset("", added, CaptionSet({})).fingerprint() != self.content:
            raise DataError(f"{self.folder}: changed since the plan was made; start again.")
        return dataclasses.replace(dataset, images=dataset.images + new)

    def note(self, store: Store) -> str:
        """See `ChangedData.note`; also what of the folder is left out.

        Raises:
            DataError: the artifact has crops of held-out images: when it was made, nothing said that they are
                crops.
        """
        others = Counter[str]()
        found = [image.path for image in _records(Path(self.folder), others)]
        whole, learnt = self.whole.load(store), self.load(store)
        added = len(learnt.images) - len(whole.images)
        strange: list[Path] = []
        crops = crops_of_held_out(found, whole.images, strange=strange)
        if not crops.isdisjoint(image.path for image in learnt.images):
            raise DataError(f"{store.path(self)}: has crops of held-out images; {rebuild(store.path(self))}.")
        held = len(crops)
        more = len(found) - added - held
        known = f" ({more:,} more in the data already)" if more > 0 else ""
        said = f"; {counted(held, 'crop')} of images held out for val or test left out" if held else ""
        unknown = "are of no image of the data, so it is not known which are of images held out"
        said += f"; the crops in {some(strange)} {unknown}" if strange else ""
        said += f"; {left_out(others)}" if others else ""
        return f"{self.folder}: {counted(added, 'image')} to train on, which the teacher labels{known}{said}."


def _digest(path: Path) -> str:
    """Of a file's content; "" for what cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _records(folder: Path, others: Counter[str] | None = None) -> tuple[ImageRecord, ...]:
    """All images of a folder and of those in it, but for twins (see `twins_among`).

    Args:
        others: see `find_image_files`; and twins.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of images without captions.")
    paths = list(find_image_files(folder, others))
    if not paths:
        raise DataError(f"{folder}: there is no image in this folder.")
    if twins := dict.fromkeys(twins_among(paths)):
        paths = [path for path in paths if path not in twins]
        if others is not None:
            others[of_twins([path.relative_to(folder).as_posix() for path in twins])] += 1
    names = [f"{ADDED}{path.relative_to(folder).as_posix()}" for path in paths]
    for path, name in zip(paths, names, strict=True):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{folder}: the name of {path.name!a} is not UTF-8; rename it.") from None
    return tuple(ImageRecord(name, path, "train") for path, name in zip(paths, names, strict=True))
