"""What a plan will take: seconds and megabytes of every stage, from measured rates.

A stage's work is counted (multiply-adds of a training, images of an extraction) and divided by a rate. Rates
are those of the stages of the same kind that the store already holds for the same data; where there is none,
those measured on one core of a 2025 server. Good to a factor of two.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distilcap.data.dataset import SPLITS
from distilcap.data.features import store_bytes
from distilcap.errors import DataError
from distilcap.files import parse_json
from distilcap.stages.captions import Labels
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.decoding import ChooseDecoding
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.stages.label import DrawCaptions, Generate, GenerateTogether
from distilcap.stages.measure import Evaluate, MeasureLatency
from distilcap.stages.train import Train
from distilcap.store.stage import Planned, Stage, Store

if TYPE_CHECKING:
    from distilcap.models.presets import Options

__all__ = ["DEFAULT_RATES", "Cost", "Facts", "describe", "estimate_plan", "measured_rates"]

WORDS = 12  # of a caption with its end token
DRAWN = 17  # of a caption that an unfinished model draws
DEFAULT_RATES: dict[type, float] = {
    ImportData: 1e4,  # images a second
    BuildVocabulary: 4e3,  # images a second
    ExtractFeatures: 8e5,  # pixels a second
    Train: 2e10,  # multiply-adds a second
    Labels: 4e10,  # multiply-adds a second
    Evaluate: 1.0,  # seconds, as `METRIC_SECONDS` has them
    ChooseDecoding: 1.0,  # likewise
    MeasureLatency: 2e10,  # multiply-adds a second
}
METRIC_SECONDS = {"bleu": 3e-4, "meteor": 4e-3, "rouge_l": 3e-4, "cider": 4e-4, "spice": 6e-2}  # an image


@dataclass(frozen=True)
class Facts:
    """What costs depend on, beside the stages themselves.

    Attributes:
        images: of each split.
        captions: of an image.
        words: of the vocabulary.
        regions, dim: of an image's features.
        pixels: of an image that the encoder sees.
    """

    images: dict[str, int]
    captions: float
    words: int
    regions: int
    dim: int
    pixels: int

    @staticmethod
    def of(data: ImportData, features: ExtractFeatures, store: Store, min_count: int) -> Facts:
        """Look at the data and the encoder; builds nothing."""
        from distilcap.data.readers import read_dataset

        images = Path(data.images) if data.images else None
        dataset = data.load(store) if store.has(data) else read_dataset(Path(data.path), images)
        references = dataset.references("train")
        counts = Counter(
            word for id in references for text in references.texts(id) for word in text.lower().split()
        )
        encoder = features.create(store)
        return Facts(
            {split: len(dataset.split(split)) for split in SPLITS},
            sum(map(len, references.values())) / max(1, len(references)),
            sum(count >= min_count for count in counts.values()),
            encoder.regions,
            encoder.dim,
            encoder.preprocessing.size**2,
        )


@dataclass(frozen=True)
class Cost:
    """A planned stage with its price; nothing where it is there already.

    Attributes:
        measured: whether the rate comes from this store.
    """

    planned: Planned
    seconds: float
    megabytes: float
    measured: bool


def estimate_plan(
    plan: Sequence[Planned], facts: Facts, store: Store, rates: Mapping[type, float] | None = None
) -> list[Cost]:
    """Give the cost of every stage of a plan.

    Args:
        rates: by kind of stage, in the units of `DEFAULT_RATES`; they come before the store's.
    """
    given, found = rates or {}, measured_rates(plan, facts, store)
    costs = []
    for planned in plan:
        kind = _kind(planned.stage)
        seconds = _work(planned.stage, facts) / given.get(kind, found.get(kind, DEFAULT_RATES[kind]))
        measured = kind in found and kind not in given
        cost = Cost(planned, seconds, _megabytes(planned.stage, facts), measured)
        costs.append(dataclasses.replace(cost, seconds=0, megabytes=0) if planned.complete else cost)
    return costs


def _kind(stage: Stage) -> type:
    return next(kind for kind in DEFAULT_RATES if isinstance(stage, kind))


def _comparable(stage: Stage) -> bool:
    """Whether a stage of the store says how fast those of tables are."""
    if isinstance(stage, Labels):
        return bool(_decoding(stage)[0])  # not a file's captions, nor those of somebody else's model
    if isinstance(stage, Train):
        return not stage.tune_encoder
    return isinstance(stage, tuple(DEFAULT_RATES))


def measured_rates(plan: Sequence[Planned], facts: Facts, store: Store) -> dict[type, float]:
    """Work per second by kind, as a geometric mean over the store's stages on the plan's data."""
    data = {planned.stage.key for planned in plan if isinstance(planned.stage, ImportData)}
    logs: dict[type, list[float]] = {}
    for folder in sorted(store.root.glob("*/stage.json")) if store.root.is_dir() else []:
        try:
            stage = stage_at(folder.parent)
        except DataError:
            continue
        if not _comparable(stage):
            continue
        seconds = store.seconds(stage) if store.has(stage) else 0.0
        if seconds > 0 and data & {planned.stage.key for planned in store.plan([stage])}:
            logs.setdefault(_kind(stage), []).append(math.log(_work(stage, facts) / seconds))
    return {kind: math.exp(sum(several) / len(several)) for kind, several in logs.items()}


def _parameters(train: Train, facts: Facts) -> tuple[int, int, int]:
    """Parameters used once a region, those used once a word, and all."""
    return _parameters_of(train.architecture, train.options, facts.words, facts.dim)


@functools.cache
def _parameters_of(architecture: str, options: Options, words: int, dim: int) -> tuple[int, int, int]:
    import torch

    from distilcap.models.presets import build_captioner

    with torch.device("meta"):
        captioner = build_captioner(architecture, options, words, dim)
    regions = sum(
        parameter.numel()
        for name, parameter in captioner.named_parameters()
        if name.split(".")[0] in ("regions", "refiner", "keys", "keys_values")
    )
    table = words * options.embedding
    return regions, captioner.parameter_count() - regions - table, captioner.parameter_count()


def _work(stage: Stage, facts: Facts) -> float:
    if isinstance(stage, Train):
        return _training_work(stage, facts)
    if isinstance(stage, Labels):
        return _decoding_work(stage, facts)
    if isinstance(stage, MeasureLatency):
        regions, words, _ = _parameters(stage.captioner, facts)
        return (stage.images + stage.warmup) * (facts.regions * regions + DRAWN * words + 4e8)
    if isinstance(stage, Evaluate):
        return facts.images[stage.captions.split] * sum(
            METRIC_SECONDS.get(name, 1e-3) for name in stage.available
        )
    if isinstance(stage, ChooseDecoding):
        return facts.images["val"] * (len(stage.length_penalties) + 1) * METRIC_SECONDS["cider"]
    images = sum(facts.images.values())
    return float(images * facts.pixels if isinstance(stage, ExtractFeatures) else images)


def _training_work(train: Train, facts: Facts) -> float:
    """Multiply-adds of both phases; a backward pass costs as much as two forward ones."""
    regions, words, _ = _parameters(train, facts)
    options = train.training
    of_labels = facts.captions if train.labels is None or train.keep_originals else 0.0
    of_labels += getattr(train.labels, "n_best", 1) if train.labels is not None else 0
    captions = min(options.captions_per_image, of_labels)
    crossed = 3 * facts.regions * regions + 3 * captions * WORDS * words
    # Drawing is one pass more, word by word.
    drawn = 4 * facts.regions * regions + 4 * options.self_critical.samples * DRAWN * words
    epochs = options.cross_entropy.epochs * crossed + options.self_critical.epochs * drawn
    return facts.images["train"] * epochs


def _decoding(stage: Labels) -> tuple[tuple[Train, ...], str, int, int]:
    """Captioners that decode, split, hypotheses searched and captions kept of an image."""
    if isinstance(stage, Generate):
        return (stage.captioner,), stage.split, stage.beam, stage.n_best
    if isinstance(stage, DrawCaptions):
        return (stage.captioner,), stage.split, stage.captions, stage.captions
    if isinstance(stage, GenerateTogether):
        return stage.captioners, stage.split, stage.beam, stage.n_best
    return (), "train", 0, 1  # picks from captions that are there


def _decoding_work(stage: Labels, facts: Facts) -> float:
    captioners, split, width, _ = _decoding(stage)
    per_image = 1e6
    for captioner in captioners:
        regions, words, _ = _parameters(captioner, facts)
        per_image += facts.regions * regions + width * DRAWN * words
    return facts.images[split] * per_image


def _megabytes(stage: Stage, facts: Facts) -> float:
    images = sum(facts.images.values())
    if isinstance(stage, ExtractFeatures):
        return store_bytes(images, facts.regions, facts.dim) / 1e6
    if isinstance(stage, Train):
        return 4e-6 * _parameters(stage, facts)[2] + 0.1
    if isinstance(stage, Labels):
        _, split, _, kept = _decoding(stage)
        return 9e-5 * facts.images[split] * kept
    if isinstance(stage, Evaluate):
        return 4.5e-5 * facts.images[stage.captions.split] * (len(stage.available) + 3)
    return 5e-4 * images if isinstance(stage, ImportData) else 0.01


def describe(stage: Stage) -> str:
    """What a stage is, in a few words."""
    if isinstance(stage, Train):
        labels = f", labels {stage.labels.key}" if stage.labels is not None else ""
        return f"{stage.architecture} {stage.options.hidden} wide, seed {stage.training.seed}{labels}"
    if isinstance(stage, Generate):
        return f"{stage.split}, beam {stage.beam}, by {stage.captioner.key}"
    if isinstance(stage, Evaluate):
        return f"{', '.join(stage.available)} of {stage.captions.key}"
    if isinstance(stage, ExtractFeatures):
        return str(parse_json(stage.recipe_json, stage.key).get("encoder", stage.encoder))
    return stage.name if isinstance(stage, ImportData) else ""
