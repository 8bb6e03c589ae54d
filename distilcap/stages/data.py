"""The data of an experiment as stages: images and references, hidden and cleaned captions."""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from distilcap.data.captions import CaptionSet
from distilcap.data.cleaning import RULES_VERSION, Cleaning, clean_captions
from distilcap.data.dataset import Dataset, ImageRecord, probe
from distilcap.data.neutral import neutral_captions
from distilcap.data.readers import BY_NAME, Columns, read_dataset
from distilcap.data.readers.entries import is_text
from distilcap.data.trainable import MAX_WORDS
from distilcap.errors import ConfigError, DataError
from distilcap.files import expected, read_json, write_json
from distilcap.options import Options, option
from distilcap.progress import SILENT, Progress
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later, not_in_key
from distilcap.store.store import Store
from distilcap.text.people import RULES_VERSION as WORDS_VERSION
from distilcap.text.tokenizers import PTB

__all__ = [
    "NEUTRAL_VERSION",
    "CleanReferences",
    "DataOptions",
    "HideCaptions",
    "ImportData",
]

NEUTRAL_VERSION: Final = WORDS_VERSION + 1
"""Of a data set with neutral words for people: that of the words, and 1 since validation has them too."""


@dataclass(frozen=True)
class DataOptions(Options):
    """A person's data set."""

    data: Path = option(
        MISSING,
        "Captions file (JSON, JSONL, CSV, TSV, Parquet, tar …) or a folder; docs/data.md has all forms.",
    )
    images: Path | None = option(None, "Folder of the images, if not beside the captions.")
    columns: Columns = BY_NAME

    def stage(self) -> ImportData:
        """Read the data set once, to know what it holds."""
        return ImportData.of(self.data, self.images, self.columns)


@dataclass(frozen=True)
class ImportData(Stage):
    """A person's data set in one form: images with splits, and references.

    Attributes:
        path: the file or folder that `read_dataset` understands.
        images: where the images lie, if not beside it.
        columns: which hold what.
        fingerprint: of the content (`Dataset.fingerprint`).
        neutral_people: `NEUTRAL_VERSION`, where captions of training and validation get neutral words for
            people (`text.people`); 0 leaves them as they are.
    """

    packable: ClassVar[bool] = False
    rate: ClassVar[float] = 1e4  # images a second
    fingerprint: str
    name: str
    path: str = not_in_key()
    images: str | None = not_in_key()
    columns: Columns = field(default=BY_NAME, compare=False, kw_only=True, metadata={"in_key": False})
    neutral_people: int = field(default=0, kw_only=True, metadata={"omitted": 0})

    @staticmethod
    def of(path: Path, images: Path | None = None, columns: Columns = BY_NAME) -> ImportData:
        """Read the data set once to know its fingerprint.

        Raises:
            DataError: it cannot be read, or a store could not name where it lies.
        """
        for given in filter(None, (path, images)):
            if not is_text(str(given.resolve())):
                raise DataError(
                    f"{given}: the name of this file or of a folder above is not UTF-8; rename it."
                )
        dataset = read_dataset(path, images, columns=columns)
        return ImportData(
            dataset.fingerprint(), dataset.name, str(path), str(images) if images else None, columns=columns
        )

    @property
    def same_images(self) -> ImportData:
        """The data set that these were made of by changing captions and splits: it has the same features."""
        return dataclasses.replace(self, neutral_people=0)

    def read(self, progress: Progress = SILENT) -> Dataset:
        """Read the data set where it lies.

        Raises:
            DataError: it cannot be read.
        """
        return self.as_written(progress)

    def as_written(self, progress: Progress = SILENT, line_breaks: bool = False) -> Dataset:
        """Read the data set where it lies, whatever becomes of it (see `read_dataset`)."""
        images = Path(self.images) if self.images else None
        return read_dataset(
            Path(self.path), images, columns=self.columns, line_breaks=line_breaks, progress=progress
        )

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `images.json` and `references.jsonl`."""
        dataset = self.read(progress)
        self._check_unchanged(dataset)
        self.write(dataset, folder)

    def _check_unchanged(self, dataset: Dataset) -> None:
        if dataset.fingerprint() != self.fingerprint:
            raise DataError(f"{self.path}: changed while it was being read; start again.")

    def write(self, dataset: Dataset, folder: Path) -> None:
        """Write `images.json` and `references.jsonl`."""
        captions = dataset.captions
        if self.neutral_people:
            # Else the epoch kept, or what training begins from, is the one that best says what is not wanted.
            rewritten = (*dataset.split("train"), *dataset.split("val"))
            captions = neutral_captions(captions, (image.id for image in rewritten))
        captions.save(folder / "references.jsonl")
        images = [[image.id, str(image.path.absolute()), image.split] for image in dataset.images]
        ends = _probes(dataset.images)
        write_json(folder / "images.json", {"name": self.name, "images": images, "ends": ends})

    @property
    def folders(self) -> tuple[Path, ...]:
        """That people's captions and images are read from as a whole."""
        return tuple(path for path in map(Path, filter(None, (self.path, self.images))) if path.is_dir())

    def work(self, facts: Facts) -> Work:
        """Images."""
        return Work(facts.all_images, 5e-4 * facts.all_images)

    def describe(self) -> str:
        """Its name."""
        return self.name

    def load(self, store: Store) -> Dataset:
        """Read the artifact; its images lie where the data lie now, if they were moved since it was made.

        Where they were others may lie by now, and bear their names.
        """
        folder = store.open(self)
        content = read_json(folder / "images.json")
        references = CaptionSet.load(folder / "references.jsonl")
        with expected(folder / "images.json", "the images of a data set"):
            images = tuple(ImageRecord(id, Path(path), split) for id, path, split in content["images"])
            dataset = Dataset(content["name"], images, references)
            ends = content.get("ends")  # older versions did not write them
        if not images or (os.path.exists(images[0].path) and ends in (None, _probes(images))):
            return dataset
        try:
            now = {image.id: image.path for image in self.read().images}
        except (DataError, OSError):  # nor are they there: whoever needs their pixels says so
            return dataset
        # Only where they lie: the splits of the file may have been edited since.
        found = (dataclasses.replace(image, path=now.get(image.id, image.path)) for image in images)
        return dataclasses.replace(dataset, images=tuple(found))


def _probes(images: Sequence[ImageRecord]) -> list[list[int]]:
    """By which the first and the last image are known again; see `probe`."""
    return [list(probe(image.path)) for image in (*images[:1], *images[-1:])]


@dataclass(frozen=True)
class HideCaptions(ImportData):
    """A data set of which some training images lose their captions, as if nobody had written any.

    Attributes:
        share: of training images that keep their captions; which ones depends on their ids alone.
    """

    share: float = 0.5

    @staticmethod
    def of_data(whole: ImportData, share: float) -> HideCaptions:
        """Hide captions of a data set.

        Raises:
            ConfigError: the share is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise ConfigError(f"`share` must be between 0 and 1, but is {share:g}.")
        return HideCaptions(
            whole.fingerprint, whole.name, whole.path, whole.images, share, columns=whole.columns
        )

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write what `ImportData` writes, with fewer captions."""
        super().build(folder, store, progress)
        references = CaptionSet.load(folder / "references.jsonl")
        splits = {id: split for id, _, split in read_json(folder / "images.json")["images"]}
        kept = (
            id for id in references if splits[id] != "train" or zlib.crc32(id.encode()) < self.share * 2**32
        )
        references.only(kept).save(folder / "references.jsonl")


@dataclass(frozen=True)
class CleanReferences(ImportData):
    """A data set whose captions, of all splits, are a large model's and are cleaned (see `data.cleaning`).

    Captions are cleaned with their line breaks, and so the fingerprint is of captions with these.

    Attributes:
        max_words: longer captions are cut.
        tokenizer: that counts the words.
        whole: the data set as it is, which the key need not name; None of older artifacts.
    """

    version: ClassVar[int] = RULES_VERSION
    max_words: int = MAX_WORDS
    tokenizer: str = added_later(PTB)
    whole: ImportData | None = field(default=None, compare=False, kw_only=True, metadata={"in_key": False})

    @property
    def same_images(self) -> ImportData:
        """See `ImportData.same_images`."""
        return self.whole.same_images if self.whole is not None else super().same_images

    @staticmethod
    def of_data(whole: ImportData, max_words: int = MAX_WORDS, tokenizer: str = PTB) -> CleanReferences:
        """See `read_from`."""
        return CleanReferences.read_from(whole, max_words, tokenizer)[0]

    @staticmethod
    def read_from(
        whole: ImportData, max_words: int = MAX_WORDS, tokenizer: str = PTB
    ) -> tuple[CleanReferences, Dataset, Cleaning]:
        """Clean the captions of a data set, which is read once more, to know its line breaks.

        Returns:
            The stage, the data set with clean captions, and what was done.

        Raises:
            DataError: it cannot be read.
        """
        written = whole.as_written(line_breaks=True)
        same = {field.name: getattr(whole, field.name) for field in dataclasses.fields(ImportData)}
        same["fingerprint"] = written.fingerprint()
        cleaned = CleanReferences(**same, max_words=max_words, tokenizer=tokenizer, whole=whole)
        return (cleaned, *cleaned._clean(written))

    def read(self, progress: Progress = SILENT) -> Dataset:
        """The data set with clean captions."""
        return self._clean(self.as_written(progress, line_breaks=True))[0]

    def _clean(self, dataset: Dataset) -> tuple[Dataset, Cleaning]:
        captions, cleaning = clean_captions(dataset.captions, self.max_words, self.tokenizer)
        return dataclasses.replace(dataset, captions=captions), cleaning

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write what `ImportData` writes, with clean captions, and the counts as `cleaning.json`."""
        dataset = self.as_written(progress, line_breaks=True)
        self._check_unchanged(dataset)
        cleaned, cleaning = self._clean(dataset)
        self.write(cleaned, folder)
        cleaning.save(folder / "cleaning.json")

    def cleaning(self, store: Store) -> Cleaning:
        """What was done."""
        return Cleaning.load(store.open(self, "cleaning.json") / "cleaning.json")
