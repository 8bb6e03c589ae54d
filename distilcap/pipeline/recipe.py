"""How long and how gently a captioner is trained, by how much there is to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilcap.data.cleaning import Cleaning
from distilcap.data.dataset import Dataset
from distilcap.data.trainable import MIN_COUNT, usual_min_count
from distilcap.errors import ConfigError, DataError
from distilcap.options import filled, named_fields
from distilcap.stages.changed_data import HoldOut
from distilcap.stages.data import CleanReferences, ImportData
from distilcap.training.options import SelfCriticalPhase, TrainingOptions

__all__ = [
    "AUTO",
    "MIN_COUNT_HELP",
    "PAPER",
    "RECIPE_HELP",
    "Amount",
    "Given",
    "chosen_max_words",
    "chosen_min_count",
    "chosen_training",
    "learnt_data",
    "refuse_early",
    "refuse_without_rewards",
    "refuse_without_start",
]

AUTO, PAPER = "auto", "paper"
RECIPE_HELP = (
    "What decides the options of training that are not given: auto, the number of images and captions and "
    "what is begun from; or paper, the paper's schedule for 113,000 images."
)
MIN_COUNT_HELP = (
    "Number of times that a training word must occur; rarer words become <unk>.  [default: 1 to 5, by the "
    "number of captions; 5 with --recipe paper]"
)
Given = TrainingOptions | Mapping[str, Any]
"""Options of training as a whole, or the values that were given: a recipe decides the others."""


@dataclass(frozen=True)
class Amount:
    """What there is to learn from.

    Attributes:
        images: of the training split that have captions.
        captions: of these images.
        labelled: images whose captions are a teacher's, where these are learnt; 0 elsewhere.
    """

    images: int
    captions: int
    labelled: int = 0

    @staticmethod
    def of(dataset: Dataset) -> Amount:
        """Count."""
        references = dataset.references("train")
        return Amount(len(references), sum(map(len, references.values())))

    @property
    def learnt(self) -> int:
        """Number of images that training goes through in an epoch."""
        return self.labelled or self.images

    @property
    def many(self) -> bool:
        """Whether there is so much that nothing was measured there: the recipe is the paper's."""
        return self.images >= _MANY

    def check(self, path: str, images: int, cleaning: Cleaning | None = None) -> None:
        """Make sure that there is anything to learn from.

        Args:
            path: of the data.
            images: that they have, with and without captions.
            cleaning: what became of their captions; None where they are learnt as they are.

        Raises:
            DataError: no training image has a caption; the message says two ways out.
        """
        if not self.images and cleaning is not None and cleaning.dropped:
            raise DataError(
                f"{path}: `--clean-labels` {cleaning}, so that no training image has a caption left; "
                "`distilcap data check` shows examples."
            )
        if not self.images:
            raise DataError(
                f"{path}: no training image has a caption ({images:,} images in all). Put 1.txt beside "
                "1.jpg, a caption a line (or see docs/data.md), or let a large model write them: "
                "examples/label_with_vlm."
            )


def chosen_training(given: Given, recipe: str, amount: Amount, started: bool) -> TrainingOptions:
    """Options of training: those that were given, and for the others those of the recipe.

    Args:
        recipe: `AUTO` or `PAPER`.
        started: whether training begins from a captioner that can caption, instead of from random weights.

    Raises:
        ConfigError: a value cannot be, or is of the self-critical phase, which is left out.
    """
    if isinstance(given, TrainingOptions):
        return _of_start(given, started)
    values = _auto(amount, started, given) if recipe == AUTO else {}
    chosen = _of_start(filled(TrainingOptions, {**values, **given}), started)
    for name, _, _ in named_fields(SelfCriticalPhase, "scst_"):
        if name in given and name != "scst_epochs":
            refuse_without_rewards(name, chosen)
    return chosen


def _of_start(chosen: TrainingOptions, started: bool) -> TrainingOptions:
    """The options, without a share of random weights."""
    return chosen if started or not chosen.start_share else dataclasses.replace(chosen, start_share=0.0)


def refuse_without_rewards(name: str, chosen: TrainingOptions) -> None:
    """Refuse an option of the self-critical phase where that is left out: it would do nothing, but train all
    again under another key.

    Raises:
        ConfigError: says how to have the phase.
    """
    if not chosen.self_critical.epochs:
        raise ConfigError(
            f"`{name}` is of the self-critical phase, which has no epochs here: `--recipe auto` has none "
            f"below {_REWARDED:,} captioned training images. Give `scst_epochs`, or leave `{name}` out."
        )


def refuse_without_start(training: Given, started: bool) -> None:
    """Refuse to keep a share of random weights.

    Raises:
        ConfigError: says how to begin from something.
    """
    if isinstance(training, TrainingOptions):
        share = training.start_share
    else:
        share = training.get("start_share", 0.0)
    if share and not started:
        raise ConfigError(
            "`start_share` is of what training begins from, which is nothing here: give `start`, or leave it "
            "out."
        )


def refuse_early(training: Given, *captioners: str | None) -> None:
    """Refuse options that cannot be before any data are read.

    Raises:
        ConfigError: a number is out of its bounds, or a name is no captioner's.
    """
    from distilcap.models.presets import captioner_name

    chosen_max_words(training)
    for name in filter(None, captioners):
        captioner_name(name)


def chosen_max_words(training: Given) -> int:
    """Most words of a caption that is learnt; no recipe decides it."""
    return chosen_training(training, PAPER, Amount(1, 1), False).max_words


def learnt_data(
    source: ImportData, clean: bool, max_words: int, tokenizer: str, needed: Sequence[str]
) -> tuple[ImportData, Amount, Dataset]:
    """The data to learn from, how much there is before images are held out, and the data set as it was read.

    Args:
        source: a person's data.
        clean: their captions are cleaned first; what then lacks captions counts as without.
        max_words, tokenizer: see `CleanReferences`.
        needed: splits that must have captioned images (see `HoldOut`).

    Raises:
        DataError: there is too little to learn from.
    """
    learnt: ImportData = source
    cleaning: Cleaning | None = None
    if clean:
        learnt, dataset, cleaning = CleanReferences.read_from(source, max_words, tokenizer)
    else:
        dataset = source.read()
    amount = Amount.of(dataset)
    amount.check(source.path, len(dataset.images), cleaning)
    try:
        return HoldOut.where_needed(learnt, dataset, needed), amount, dataset
    except DataError as error:
        dropped = f" `--clean-labels` {cleaning}." if cleaning is not None and cleaning.dropped else ""
        raise DataError(f"{error}{dropped}") from None


def chosen_min_count(given: int | None, training: Given, recipe: str, amount: Amount) -> int:
    """Number of times that a word must occur to be learnt."""
    if given is not None:
        return given
    if recipe == PAPER or isinstance(training, TrainingOptions):
        return MIN_COUNT
    return usual_min_count(amount.captions)


def _auto(amount: Amount, started: bool, given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe by the amount of data; docs/own-photos.md has what each line rests on.

    Warm-up and averaging are by the steps that are made with the epochs and batches that are given. No
    run ends early: on 40 validation images a peak of chance ended one far below its best.
    """
    if amount.many:
        return {"validate_start": started}
    updates, fewest, most = (1_200, 3, 24) if started else (3_400, 9, 40)
    images = max(1, amount.learnt)  # data without captions are refused later, with the way out
    epochs = min(most, max(fewest, round(updates * _BATCH / images)))
    rewarded = amount.images >= _REWARDED
    share = round(_FORGETTING / (_FORGETTING + images), 4) if images < _FEW else 0.0
    rewarded_epochs = (3 if started else 5) if rewarded else 0
    batches = -(-images // given.get("batch_images", _BATCH))
    steps = given.get("epochs", epochs) * batches
    rewarded_steps = given.get("scst_epochs", rewarded_epochs) * batches
    return {
        "epochs": epochs,
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup_steps": min(300, steps // 10),
        "label_smoothing": 0.1,
        "weight_averaging": min(0.998, max(0.9, 1 - 10 / max(1, steps))),
        "batch_images": _BATCH,
        "validate_start": started,
        "start_share": share,
        "scst_epochs": rewarded_epochs,
        "scst_learning_rate": 1e-4 if started else 2e-4,
        "scst_warmup_steps": min(100, rewarded_steps // 5) if rewarded else 0,
        "scst_weight_averaging": 0.99,
    }


_BATCH = 16  # images
_FEW = 100
"""Training images from which on nothing of the start is kept: with 160 drawn scenes a ninth cost 8 CIDEr."""
_FORGETTING = 20
"""Training images of which a captioner is to have learnt as much as it had known before: with 40 of the box's
kind, what was learnt alone lost up to 20 CIDEr on others (docs/own-photos.md)."""
_MANY = 30_000
_REWARDED = 3_000
"""Training images below which the reward is learnt by heart: of 160 images, self-critical training raised
CIDEr on 40 validation images by 4 and lowered it on test images by 7 to 8."""
