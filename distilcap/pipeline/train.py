"""A captioner on a data set: what `distilcap train` runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distilcap.options import Options, option
from distilcap.progress import Progress
from distilcap.stages.captions import ImportCaptions
from distilcap.stages.data import BuildVocabulary, DataOptions
from distilcap.stages.features import EncoderOptions
from distilcap.stages.folders import run_of
from distilcap.stages.train import Train
from distilcap.store.stage import Store
from distilcap.training.options import TrainingOptions

__all__ = ["RunOptions", "TrainedRun", "run_to_train", "train_run"]


@dataclass(frozen=True)
class RunOptions(Options):
    """A captioner and what it learns from."""

    captioner: str = option("updown-small", "Family and size of the captioner; see `distilcap models`.")
    labels: Path | None = option(
        None, "Captions file to learn from.  [default: the captions of the data set itself]"
    )
    keep_originals: bool = option(False, "Learn from the labels and the captions of the data set.")
    scst_references: str = option(
        "original",
        "What the self-critical reward compares with: the captions of the data set or the labels (pseudo).",
        choices=("original", "pseudo"),
    )
    tune_encoder: bool = option(False, "Train the encoder along, from images instead of features.")
    tune_stages: int = option(
        0,
        "Number of the encoder's last stages that are trained along; 0 is all with --tune-encoder.",
        least=0,
    )
    start: Path | None = option(None, "Run of the same captioner to begin from.  [default: random weights]")
    min_count: int = option(
        5, "Number of times that a training word must occur; rarer words become <unk>.", least=1
    )


def run_to_train(
    data: DataOptions, encoder: EncoderOptions, run: RunOptions, training: TrainingOptions
) -> Train:
    """The run that the options describe, to be built in a store.

    Raises:
        ConfigError: a name or a number that cannot be.
        DataError: a file is missing or malformed.
    """
    from distilcap.models.presets import captioner_name, preset

    family, size = captioner_name(run.captioner)
    source = data.stage()
    return Train(
        source,
        BuildVocabulary(source, run.min_count, training.max_words),
        encoder.stage(source),
        family,
        preset(family, size),
        training,
        labels=ImportCaptions.of(run.labels) if run.labels else None,
        keep_originals=run.keep_originals,
        scst_references=run.scst_references,
        tune_encoder=run.tune_encoder or run.tune_stages > 0,
        tune_stages=run.tune_stages,
        start=run_of(run.start) if run.start else None,
    )


@dataclass(frozen=True)
class TrainedRun:
    """A captioner that was trained.

    Attributes:
        folder: of the run in its store.
        parameters: how many numbers it learnt.
        best_validation_cider: of the weights that were kept, 0 to 10.
        train_seconds: of all processes' common time, validation included.
    """

    folder: Path
    parameters: int
    best_validation_cider: float
    train_seconds: float


def train_run(stage: Train, store: Store, progress: Progress) -> TrainedRun:
    """Train the run, unless the store holds it; a killed training goes on where it stopped."""
    folder = store.build(stage, progress)
    summary = stage.summary(store)
    return TrainedRun(
        folder,
        int(summary["parameters"]),
        float(summary["best_validation_cider"]),
        float(summary["train_seconds"]),
    )
