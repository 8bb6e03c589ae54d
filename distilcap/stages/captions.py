"""Stages that hold captions: labels to learn from, captions to score, captions from a file."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.data.caption_files import read_references
from distilcap.data.captions import CaptionSet
from distilcap.data.cleaning import RULES_VERSION, Cleaning, clean_captions
from distilcap.data.dataset import Dataset
from distilcap.data.named_captions import by_ids_of, captions_for
from distilcap.data.neutral import neutral_captions
from distilcap.data.trainable import MAX_WORDS
from distilcap.errors import DataError
from distilcap.files import sha256_of
from distilcap.progress import Progress
from distilcap.stages.data import ImportData
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later, not_in_key
from distilcap.store.store import Store
from distilcap.text import people
from distilcap.text.tokenizers import PTB

__all__ = [
    "CAPTIONS",
    "CLEAN_LABELS",
    "CaptionsOfSplit",
    "CleanLabels",
    "ImportCaptions",
    "Labels",
    "NeutralLabels",
    "labelling_work",
]

CAPTIONS = "captions.jsonl"
CLEAN_LABELS = (
    "Clean captions that a large model wrote (those that are given as labels; without such, those of the "
    "data set): the first sentence, without prefix, Markdown, refusals and repetitions, cut at --max-words."
)
"""Help of the option that makes labels `CleanLabels`, and a data set `CleanReferences`."""


@dataclass(frozen=True)
class Labels(Stage):
    """A stage that writes `captions.jsonl`: a teacher's labels, or captions that are scored."""

    on_gpu: ClassVar[bool] = True
    rate: ClassVar[float] = 4e10  # multiply-adds a second

    def work(self, facts: Facts) -> Work:
        """Picks of captions that are there."""
        return labelling_work(facts, "train", 0.0, 1)

    def load(self, store: Store) -> CaptionSet:
        """Read the artifact."""
        return CaptionSet.load(store.open(self) / "captions.jsonl")


def labelling_work(facts: Facts, split: str, per_image: float, kept: int) -> Work:
    """Work of captioning a split.

    Args:
        per_image: multiply-adds; none for captions that are there already, or of somebody else's model.
        kept: captions of an image.
    """
    images = facts.images[split]
    return Work(images * (1e6 + per_image), 9e-5 * images * kept, comparable=per_image > 0)


class CaptionsOfSplit(Labels):
    """Captions of a split of a data set, by anybody: what can be learnt from, or scored."""

    measures: ClassVar[bool] = True
    split: str

    @property
    @abc.abstractmethod
    def source(self) -> ImportData:
        """The data set whose images they describe."""

    @property
    def tokenizer(self) -> str:
        """By which they become words, to be scored."""
        return PTB


@dataclass(frozen=True)
class ImportCaptions(Labels):
    """Pseudo-captions from a file: any teacher at all.

    Attributes:
        line_breaks: captions have some and keep them, for cleaning; else they become spaces.
        images: data whose images the file knows by the names of their files alone (see `captions_for`); None
            where its ids are theirs.
        n_best: captions of an image, on the average, for a plan.
        nearly: how many of these names are nearly those of the files; older artifacts lack their captions.
    """

    on_gpu: ClassVar[bool] = False
    sha256: str
    path: str = not_in_key()
    line_breaks: bool = added_later(False)
    images: ImportData | None = added_later(None)  # noqa: RUF009
    n_best: int = not_in_key(1)
    nearly: int = added_later(0)

    @staticmethod
    def of(path: Path) -> ImportCaptions:
        """Look at a captions file to know its checksum.

        Raises:
            DataError: it is not there.
        """
        if not path.is_file():
            raise DataError(f"{path}: there is no such captions file.")
        return ImportCaptions(sha256_of(path), str(path))

    def of_images(self, data: ImportData, dataset: Dataset) -> tuple[ImportCaptions, CaptionSet]:
        """The same for the images of data, which were read: those that it knows by their files' names too.

        With its captions, by the ids of these images.

        Raises:
            DataError: see `captions_for`.
        """
        captions = read_references(Path(self.path))
        by_id, nearly = by_ids_of(dataset, captions, Path(self.path))
        n_best = max(1, round(sum(map(len, captions.values())) / max(1, len(captions))))
        images = None if by_id.keys() == captions.keys() else data
        return dataclasses.replace(self, images=images, n_best=n_best, nearly=nearly), by_id

    def for_cleaning(self) -> ImportCaptions:
        """The same with line breaks, if there are any: a file without keeps its key."""
        captions = read_references(Path(self.path), line_breaks=True)
        broken = any("\n" in text for id in captions for text in captions.texts(id))
        return dataclasses.replace(self, line_breaks=broken)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write the file's captions as `captions.jsonl`, in whatever form they came.

        Here remarks on the file are said, once, however often a plan has read it.
        """
        if not Path(self.path).is_file() or sha256_of(Path(self.path)) != self.sha256:
            raise DataError(f"{self.path}: missing or changed since the plan was made; start again.")
        if self.images is None:
            captions = read_references(Path(self.path), self.line_breaks, progress)
        else:
            dataset = self.images.load(store)
            captions = captions_for(dataset, Path(self.path), self.line_breaks, progress)
        captions.save(folder / "captions.jsonl")


@dataclass(frozen=True)
class CleanLabels(Labels):
    """Labels of any teacher, cleaned (see `data.cleaning`).

    Attributes:
        max_words: longer captions are cut.
        tokenizer: that counts the words.
    """

    version: ClassVar[int] = RULES_VERSION
    on_gpu: ClassVar[bool] = False
    labels: Labels
    max_words: int = MAX_WORDS
    tokenizer: str = added_later(PTB)

    @staticmethod
    def of(labels: Labels, max_words: int = MAX_WORDS, tokenizer: str = PTB) -> CleanLabels:
        """Clean labels; those of a file are read, to know whether they have line breaks.

        Raises:
            DataError: the file cannot be read.
        """
        if isinstance(labels, ImportCaptions):
            labels = labels.for_cleaning()
        return CleanLabels(labels, max_words, tokenizer)

    @property
    def n_best(self) -> int:
        """Captions of an image, for a plan."""
        return int(getattr(self.labels, "n_best", 1))

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`, and the counts as `cleaning.json`."""
        captions, cleaning = clean_captions(self.labels.load(store), self.max_words, self.tokenizer)
        captions.save(folder / CAPTIONS)
        cleaning.save(folder / "cleaning.json")

    def cleaning(self, store: Store) -> Cleaning:
        """What was done."""
        return Cleaning.load(store.open(self, "cleaning.json") / "cleaning.json")


@dataclass(frozen=True)
class NeutralLabels(Labels):
    """English labels of any teacher, with neutral words for people (see `text.people`)."""

    version: ClassVar[int] = people.RULES_VERSION
    on_gpu: ClassVar[bool] = False
    labels: Labels

    @property
    def n_best(self) -> int:
        """Captions of an image, for a plan."""
        return int(getattr(self.labels, "n_best", 1))

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`."""
        neutral_captions(self.labels.load(store)).save(folder / CAPTIONS)
