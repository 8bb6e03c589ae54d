"""What a plan will take: seconds and megabytes of every stage, from measured rates.

A stage says what work it is (`Plannable.work`: multiply-adds of a training, images of an import), which is
divided by a rate. Rates are those of the stages of the same kind that the store already holds for the same
data; where there is none, those measured on one core of a 2025 server (`Plannable.rate`). Good to a factor of
two.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distilcap.data.dataset import SPLITS
from distilcap.errors import DataError
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.stages.train import Train
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage
from distilcap.store.store import Planned, Store

__all__ = ["Cost", "estimate_plan", "facts_of", "facts_of_run", "measured_rates"]


def facts_of(data: ImportData, features: ExtractFeatures, store: Store, min_count: int) -> Facts:
    """Look at the data and the encoder; builds nothing."""
    dataset = data.load(store) if store.has(data) else data.read()
    references = dataset.references("train")
    counts = Counter(
        word for id in references for text in references.texts(id) for word in text.lower().split()
    )
    if features.tuned_by is not None:  # of the same shapes as untuned, and perhaps not there yet
        features = dataclasses.replace(features, tuned_by=None, weights="random")
    encoder = features.create(store)
    return Facts(
        {split: len(dataset.split(split)) for split in SPLITS},
        sum(map(len, references.values())) / max(1, len(references)),
        sum(count >= min_count for count in counts.values()),
        encoder.regions,
        encoder.dim,
        encoder.preprocessing.size**2,
        len(dataset.split("train")) - len(references),
    )


def facts_of_run(run: Train, store: Store) -> Facts:
    """What `facts_of` sees of a run's data and encoder."""
    return facts_of(run.data, run.features, store, run.vocabulary.min_count)


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
        rates: by the class that sets the rate, such as `Train`; they come before the store's.
    """
    given, measured = rates or {}, measured_rates(plan, facts, store)
    costs = []
    for planned in plan:
        stage = planned.stage
        kind = stage.rate_owner()
        work = stage.work(facts) if planned.to_do else Work(0.0, 0.0)
        seconds = work.amount / given.get(kind, measured.get(kind, stage.rate))
        costs.append(Cost(planned, seconds, work.megabytes, kind in measured and kind not in given))
    return costs


def measured_rates(plan: Sequence[Planned], facts: Facts, store: Store) -> dict[type, float]:
    """Work per second by kind, as a geometric mean over the store's stages on the plan's data."""
    data = {planned.stage.key for planned in plan if isinstance(planned.stage, ImportData)}
    logs: dict[type, list[float]] = {}
    for folder in sorted(store.root.glob("*/stage.json")) if store.root.is_dir() else []:
        try:
            stage = stage_at(folder.parent)
        except DataError:
            continue
        work = stage.work(facts)
        seconds = store.seconds(stage) if work.comparable and store.has(stage) else 0.0
        timed = seconds > 0 and work.amount > 0  # captions of an empty split say nothing of a rate
        of_data = timed and data & {planned.stage.key for planned in store.plan([stage])}
        if of_data and _timed_whole(stage, store):  # which may read a large index, and so comes last
            logs.setdefault(stage.rate_owner(), []).append(math.log(work.amount / seconds))
    return {kind: math.exp(sum(rates) / len(rates)) for kind, rates in logs.items()}


def _timed_whole(stage: Stage, store: Store) -> bool:
    """See `Stage.timed_whole`; a damaged artifact says nothing of a rate."""
    try:
        return stage.timed_whole(store)
    except DataError:
        return False
