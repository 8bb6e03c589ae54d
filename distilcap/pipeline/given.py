"""Teachers that are there already: runs of a store, somebody else's model, or captions that are written.

Each becomes labels of the training images, for `distill.plan_distillation`, and rows of its own where its
captions of the test split can be had.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset
from distilcap.errors import ConfigError, DataError
from distilcap.models.presets import size_of
from distilcap.reports.results import GREEDY, GivenSystem, Member, System
from distilcap.stages.captioner import ImportCaptioner
from distilcap.stages.captions import CaptionsOfSplit, CleanLabels, ImportCaptions, Labels, NeutralLabels
from distilcap.stages.data import ImportData
from distilcap.stages.folders import run_of
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.text.tokenizers import PTB

__all__ = [
    "GivenTeacher",
    "captions_teacher",
    "described_by",
    "ensemble",
    "labels_in_words",
    "model_teacher",
    "runs_teacher",
    "start_as_it_is",
]


@dataclass(frozen=True)
class GivenTeacher:
    """A teacher that needs no training.

    Attributes:
        labels: its captions of the training images.
        labels_in_words: what they are, for tables.
        rows: what can be measured of it.
        described: images that a captions file describes; None of other teachers.
    """

    name: str
    labels: Labels
    labels_in_words: str
    rows: tuple[System, ...] = ()
    described: frozenset[str] | None = None

    def of_students(self, data: ImportData) -> GivenTeacher:
        """The same teacher with its students' data: of their test images are its rows, and of their training
        images it is said how many a file describes."""
        rows, words = tuple(_scored_on(row, data) for row in self.rows), self.labels_in_words
        if self.described is not None:
            words = _in_words(self.name, self.described, data.read())
        return dataclasses.replace(self, rows=rows, labels_in_words=words)

    def cleaned(self, max_words: int, tokenizer: str = PTB) -> GivenTeacher:
        """The same teacher with clean captions; its rows score what it wrote."""
        labels = CleanLabels.of(self.labels, max_words, tokenizer)
        words = f"{self.labels_in_words}, then cleaned"
        return dataclasses.replace(self, labels=labels, labels_in_words=words)

    def neutral(self) -> GivenTeacher:
        """The same teacher with neutral words for people; its rows score what it wrote."""
        words = f"{self.labels_in_words}, neutral words for people"
        return dataclasses.replace(self, labels=NeutralLabels(self.labels), labels_in_words=words)


def labels_in_words(beam: int, n_best: int) -> str:
    """How a teacher labelled."""
    return f"teacher, beam {beam}, top {n_best}"


def captions_teacher(path: Path, data: ImportData) -> GivenTeacher:
    """Captions of the training images that any model at all has written.

    Args:
        path: in any form that `read_references` knows; images of other splits are left out.

    Raises:
        DataError: the file is missing or malformed, describes no training image, or mistakes one for another
            (see `captions_for`).
    """
    labels = ImportCaptions.of(path)
    dataset = data.read()
    if not dataset.captions:
        raise DataError(
            f"{data.path}: has no captions of its own, to validate and score on; if those of {path} are to "
            f"serve for that too, give it as the data: `--data {path} --images {data.images or data.path}`."
        )
    labels, captions = labels.of_images(data, dataset)
    described = described_by(captions)
    images = [image.id for image in dataset.split("train")]
    if described.isdisjoint(images):
        own, wanted = (next(iter(ids), "") for ids in (captions, images))
        raise DataError(
            f"{path}: describes no training image of {data.path}; image ids there are like {wanted!r}, here "
            f"like {own!r}."
        )
    words = _in_words(path.name, described, dataset)
    return GivenTeacher(path.name, labels, words, described=described)


def described_by(captions: CaptionSet) -> frozenset[str]:
    """The images that have a caption."""
    return frozenset(id for id in captions if captions[id])


def _in_words(name: str, described: frozenset[str], dataset: Dataset) -> str:
    images = dataset.split("train")
    count = sum(image.id in described for image in images)
    return f"{name}, {count:,} of {len(images):,} training images"


def model_teacher(model: str, data: ImportData, beam: int, n_best: int, tokenizer: str = PTB) -> GivenTeacher:
    """An image-to-text model of `transformers`, or a plugin's teacher.

    Args:
        model: a folder, a name on the model hub, or a registered teacher.
        tokenizer: by which its captions are scored.

    Raises:
        MissingError: the package is not installed, or the model cannot be had.
        DataError: the folder holds no model.
    """
    labels = LabelWithPretrained.of(data, model, "train", beam, n_best)
    labels = dataclasses.replace(labels, scored_by=tokenizer)
    searched = dataclasses.replace(labels, split="test", n_best=1)
    name = f"teacher {Path(model).name if Path(model).is_dir() else model}"
    row = GivenSystem(name, dataclasses.replace(searched, beam=GREEDY), searched, beam)
    return GivenTeacher(name, labels, labels_in_words(beam, n_best), (row,))


def runs_teacher(
    folders: Sequence[Path], data: ImportData, store: Path, beam: int, n_best: int
) -> GivenTeacher:
    """One run of a store, trained on these data or on others; or runs that form an ensemble.

    Raises:
        DataError: a folder holds no trained run.
        ConfigError: a run is of another store, or the runs of an ensemble do not fit together.
    """
    runs = tuple(dict.fromkeys(_run_at(folder, store) for folder in folders))
    other = None if all(run.data == data for run in runs) else data
    rows: list[System] = []
    for run in runs:
        size = size_of(run.options)
        name = f"teacher {run.architecture}-{size} ({run.key})"
        rows.append(Member(name, "teacher", size, (run,), beam=beam, data=other))
    if len(runs) == 1:
        labels = Generate.as_chosen(runs[0], "train", beam, n_best, other)
        return GivenTeacher(rows[0].name, labels, labels_in_words(beam, n_best), tuple(rows))
    together = ensemble("teacher", runs, other, beam, n_best)
    return dataclasses.replace(together, rows=(*rows, *together.rows))


def ensemble(
    name: str, runs: tuple[Train, ...], data: ImportData | None, beam: int, n_best: int
) -> GivenTeacher:
    """Runs that caption together.

    Args:
        data: whose images, if not those that they were trained on.

    Raises:
        ConfigError: they do not fit together.
    """
    together = GenerateTogether.as_chosen(runs, "train", beam, n_best, data)
    together.inputs()  # says so here if they do not fit together
    searched = dataclasses.replace(together, split="test", n_best=1)
    name = f"{name}, ensemble of {len(runs)}"
    greedy = GenerateTogether(runs, "test", GREEDY, data=data)
    row = GivenSystem(name, greedy, searched, beam)
    return GivenTeacher(name, together, labels_in_words(beam, n_best), (row,))


def start_as_it_is(start: ImportCaptioner, data: ImportData, beam: int) -> GivenSystem:
    """A row of what students begin from, as it is; its captions are searched for as theirs."""
    greedy, searched = (Generate.as_chosen(start, "test", width, data=data) for width in (GREEDY, beam))
    return GivenSystem(f"{start.name} as it is", greedy, searched, beam, "start")


def _scored_on(row: System, data: ImportData) -> System:
    if isinstance(row, Member):
        return dataclasses.replace(row, data=data)
    return dataclasses.replace(row, greedy=_of(row.greedy, data), searched=_of(row.searched, data))


def _of(captions: CaptionsOfSplit, data: ImportData) -> CaptionsOfSplit:
    assert isinstance(captions, GenerateTogether | LabelWithPretrained), captions
    return dataclasses.replace(captions, data=data)


def _run_at(folder: Path, store: Path) -> Train:
    run = run_of(folder)
    if not Store(store).finds(run, folder):
        raise ConfigError(f"`--teacher-run` must be a run of `--store` ({store}), but is {folder}.")
    return run
