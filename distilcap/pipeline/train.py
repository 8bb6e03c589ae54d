"""A captioner on a data set: what `distilcap train` runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from distilcap.options import Options, option
from distilcap.pipeline.remarks import note_data, note_labels, note_training
from distilcap.progress import Progress
from distilcap.stages.captions import CLEAN_LABELS, CleanLabels, ImportCaptions, Labels
from distilcap.stages.data import BuildVocabulary, CleanReferences, DataOptions, judge_data
from distilcap.stages.features import EncoderOptions
from distilcap.stages.folders import run_of
from distilcap.stages.train import Train
from distilcap.store.stage import Store
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP
from distilcap.training.options import TrainingOptions
from distilcap.training.precision import resolved_precision

__all__ = ["RunOptions", "TrainedRun", "run_to_train", "train_run"]


@dataclass(frozen=True)
class RunOptions(Options):
    """A captioner and what it learns from."""

    captioner: str = option("updown-small", "Family and size of the captioner; see `distilcap models`.")
    labels: Path | None = option(
        None, "Captions file to learn from.  [default: the captions of the data set itself]"
    )
    clean_labels: bool = option(False, CLEAN_LABELS)
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
    tokenizer: str = option(PTB, TOKENIZER_HELP)


def run_to_train(
    data: DataOptions,
    encoder: EncoderOptions,
    run: RunOptions,
    training: TrainingOptions,
    store: Path | None = None,
    device: str = "cpu",
) -> Train:
    """The run that the options describe, to be built in a store on a device; see `EncoderOptions.stage`.

    Raises:
        ConfigError: a name or a number that cannot be.
        DataError: a file is missing or malformed.
    """
    from distilcap.models.presets import captioner_name, preset

    family, size = captioner_name(run.captioner)
    training = replace(training, precision=resolved_precision(training.precision, device))
    source = data.stage()
    learnt = source
    labels: Labels | None = ImportCaptions.of(run.labels) if run.labels else None
    if run.clean_labels and labels is not None:
        labels = CleanLabels(labels, training.max_words, run.tokenizer)
    elif run.clean_labels:
        learnt = CleanReferences.of_data(source, training.max_words, run.tokenizer)
    return Train(
        learnt,
        BuildVocabulary(learnt, run.min_count, training.max_words, run.tokenizer),
        encoder.stage(source, store, device),
        family,
        preset(family, size),
        training,
        labels=labels,
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
    """Train the run, unless the store holds it; a killed training goes on where it stopped.

    What a person should know of its captions and of what it learnt is noted.
    """
    judge_data([stage], store)
    note_data(stage.data, store, progress)
    if stage.labels is not None:
        store.build(stage.labels, progress)
        note_labels(stage.labels, stage.data, store, progress)
    folder = store.build(stage, progress)
    note_training(stage.describe(), stage, store, progress)
    summary = stage.summary(store)
    return TrainedRun(
        folder,
        int(summary["parameters"]),
        float(summary["best_validation_cider"]),
        float(summary["train_seconds"]),
    )
