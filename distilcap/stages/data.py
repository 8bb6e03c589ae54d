"""The data of an experiment as stages: images and references, hidden captions, the vocabulary."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json, write_json
from distilcap.progress import Progress
from distilcap.store.stage import Stage, Store, not_in_key
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import Vocabulary

__all__ = ["BuildVocabulary", "HideCaptions", "ImportData"]


@dataclass(frozen=True)
class ImportData(Stage):
    """A person's data set in one form: images with splits, and references.

    Attributes:
        path: the file or folder that `read_dataset` understands.
        images: where the images lie, if not beside it.
        fingerprint: of the content (`Dataset.fingerprint`).
    """

    packable: ClassVar[bool] = False
    fingerprint: str
    name: str
    path: str = not_in_key()
    images: str | None = not_in_key()

    @staticmethod
    def of(path: Path, images: Path | None = None) -> ImportData:
        """Read the data set once to know its fingerprint."""
        from distilcap.data.readers import read_dataset

        dataset = read_dataset(path, images)
        return ImportData(dataset.fingerprint(), dataset.name, str(path), str(images) if images else None)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `images.json` and `references.jsonl`."""
        from distilcap.data.readers import read_dataset

        dataset = read_dataset(Path(self.path), Path(self.images) if self.images else None)
        if dataset.fingerprint() != self.fingerprint:
            raise DataError(f"{self.path}: changed while it was being read; start again.")
        dataset.captions.save(folder / "references.jsonl")
        images = [[image.id, str(image.path.resolve()), image.split] for image in dataset.images]
        write_json(folder / "images.json", {"name": self.name, "images": images})

    def load(self, store: Store) -> Dataset:
        """Read the artifact."""
        folder = store.open(self)
        content = read_json(folder / "images.json")
        images = tuple(ImageRecord(id, Path(path), split) for id, path, split in content["images"])
        return Dataset(content["name"], images, CaptionSet.load(folder / "references.jsonl"))


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
        return HideCaptions(whole.fingerprint, whole.name, whole.path, whole.images, share)

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
class BuildVocabulary(Stage):
    """The words of the training references; students share it with their teacher."""

    data: ImportData
    min_count: int = 5
    max_words: int = 16

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `words.json`."""
        references = self.data.load(store).references("train")
        if not references:
            raise DataError(f"{self.data.path}: the training split has no captions.")
        captions = (tokenize(text)[: self.max_words] for id in references for text in references.texts(id))
        write_json(folder / "words.json", Vocabulary.build(captions, self.min_count).words)

    def load(self, store: Store) -> Vocabulary:
        """Read the artifact."""
        return Vocabulary(tuple(read_json(store.open(self) / "words.json")))
