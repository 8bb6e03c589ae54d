"""A captioner on a data set: what `distilcap train` runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.pipeline.given import described_by
from distilcap.pipeline.recipe import (
    AUTO,
    MIN_COUNT_HELP,
    PAPER,
    RECIPE_HELP,
    Given,
    chosen_max_words,
    chosen_min_count,
    chosen_training,
    learnt_data,
    refuse_early,
    refuse_without_rewards,
    refuse_without_start,
)
from distilcap.pipeline.remarks import note_data, note_labels, note_training
from distilcap.pipeline.start import NOTHING, START_HELP, USUAL_CAPTIONER, beginning
from distilcap.progress import Progress
from distilcap.stages.captions import CLEAN_LABELS, CleanLabels, ImportCaptions, Labels
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary, judge_data
from distilcap.store.store import Store
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP
from distilcap.training.precision import resolved_precision

__all__ = ["RunOptions", "TrainedRun", "run_to_train", "train_run"]

ORIGINAL = "original"


@dataclass(frozen=True)
class RunOptions(Options):
    """A captioner and what it learns from."""

    captioner: str | None = option(
        None,
        "Family and size of the captioner; see `distilcap models`.  [default: that of --start; else "
        "updown-small]",
    )
    labels: Path | None = option(
        None, "Captions file to learn from.  [default: the captions of the data set itself]"
    )
    clean_labels: bool = option(False, CLEAN_LABELS)
    keep_originals: bool = option(False, "Learn from the labels and the captions of the data set.")
    scst_references: str = option(
        ORIGINAL,
        "What the self-critical reward compares with: the captions of the data set, or what is learnt from "
        "(pseudo): the labels, with --keep-originals both.",
        choices=(ORIGINAL, "pseudo"),
    )
    tune_encoder: bool = option(False, "Train the encoder along, from images instead of features.")
    tune_stages: int = option(
        0,
        "Number of the encoder's last stages that are trained along; 0 is all with --tune-encoder.",
        least=0,
    )
    start: Path | None = option(None, f"{START_HELP}  [default: none]")
    recipe: str = option(AUTO, RECIPE_HELP, choices=(AUTO, PAPER))
    min_count: int | None = option(None, MIN_COUNT_HELP, least=1)
    tokenizer: str = option(PTB, TOKENIZER_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is None and (self.keep_originals or self.scst_references != ORIGINAL):
            name = "keep_originals" if self.keep_originals else "scst_references"
            raise ConfigError(f"`{name}` is about `labels`: give those, or leave it out.")


def run_to_train(
    data: DataOptions,
    encoder: EncoderOptions,
    run: RunOptions,
    training: Given,
    store: Path | None = None,
    device: str = "cpu",
) -> Train:
    """The run that the options describe, to be built in a store on a device; see `EncoderOptions.stage`.

    Args:
        training: what is not among values given is decided by the recipe.

    Raises:
        ConfigError: a name or a number that cannot be, or an option that would do nothing.
        DataError: a file is missing or malformed.
    """
    tuned = run.tune_encoder or run.tune_stages > 0
    for name in ("encoder_learning_rate", "scst_encoder_learning_rate"):
        if not tuned and isinstance(training, Mapping) and name in training:
            raise ConfigError(
                f"`{name}` is of an encoder that is trained along: give `tune_encoder` or `tune_stages`, or "
                "leave it out."
            )
    refuse_early(training, run.captioner)
    source, started = data.stage(), run.start is not None and str(run.start) != NOTHING
    refuse_without_start(training, started)
    clean, max_words = run.clean_labels and run.labels is None, chosen_max_words(training)
    learnt, amount, dataset = learnt_data(source, clean, max_words, run.tokenizer, ("val",))
    labels: Labels | None = None
    if run.labels:
        labels, captions = ImportCaptions.of(run.labels).of_images(source, dataset)
        learns = described_by(captions) & {image.id for image in dataset.split("train")}
        if run.keep_originals:
            learns |= dataset.references("train").keys()
        amount = replace(amount, labelled=len(learns))
    chosen = chosen_training(training, run.recipe, amount, started)
    if run.scst_references != ORIGINAL:
        refuse_without_rewards("scst_references", chosen)
    if tuned and isinstance(training, Mapping):
        chosen = chosen.with_slower_encoder()
    chosen = replace(chosen, precision=resolved_precision(chosen.precision, device))
    if run.clean_labels and labels is not None:
        labels = CleanLabels.of(labels, chosen.max_words, run.tokenizer)
    min_count = chosen_min_count(run.min_count, training, run.recipe, amount)
    vocabulary = BuildVocabulary(learnt, min_count, chosen.max_words, run.tokenizer)
    captioner = run.captioner or ("" if started else USUAL_CAPTIONER)
    begun = beginning(run.start, captioner, vocabulary, encoder, source, store, device)
    return Train(
        learnt,
        begun.vocabulary,
        begun.features,
        begun.family,
        begun.options,
        chosen,
        labels=labels,
        keep_originals=run.keep_originals,
        scst_references=run.scst_references,
        tune_encoder=tuned,
        tune_stages=run.tune_stages,
        start=begun.start,
    )


@dataclass(frozen=True)
class TrainedRun:
    """A captioner that was trained.

    Attributes:
        folder: of the run in its store.
        parameters: how many numbers it learnt.
        best_validation_cider: of the weights that were kept, 0 to 10.
        train_seconds: of all processes' common time, without validation and saving.
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
    note_data(stage, store, progress)
    if stage.labels is not None:
        store.build(stage.labels, progress)
        note_labels(stage.labels, stage, store, progress)
    folder = store.build(stage, progress)
    note_training(stage.describe(), stage, store, progress)
    summary = stage.summary(store)
    return TrainedRun(
        folder,
        int(summary["parameters"]),
        float(summary["best_validation_cider"]),
        float(summary["train_seconds"]),
    )
