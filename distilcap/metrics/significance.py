"""Whether two systems differ: paired bootstrap and approximate randomisation over images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from distilcap.errors import ConfigError
from distilcap.metrics.base import FloatArray, Metric, Score
from distilcap.metrics.resampling import (
    CHUNK,
    FEW_IMAGES,
    Stack,
    interval_of,
    pooled,
    resampled,
    statistics_of,
)

__all__ = [
    "Comparison",
    "System",
    "compare_systems",
    "compare_table",
    "holm",
]

_ROUNDING = 1e-12


@dataclass(frozen=True)
class System:
    """One system's scores under one metric, over its seeds.

    Attributes:
        name: for people.
        seeds: one `Score` a training seed, of the same images.
    """

    name: str
    seeds: tuple[Score, ...]

    @property
    def values(self) -> list[float]:
        """The score of each seed."""
        return [score.value for score in self.seeds]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Sample deviation over seeds; None with a single seed."""
        return float(np.std(self.values, ddof=1)) if len(self.seeds) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """A system against a baseline, under one metric.

    Attributes:
        difference: of the means over seeds, system minus baseline.
        interval: 95 % of the paired bootstrap's differences; where fewer than `FEW_IMAGES` images differ,
            Student's t (see `resampling`). None of one image, as are all p-values.
        bootstrap_p: two-sided p-value of the paired bootstrap (Koehn 2004); None where so few differ.
        randomisation_p: two-sided p-value of approximate randomisation (Riezler & Maxwell 2005).
        corrected_p: `randomisation_p`, Holm-corrected over the systems compared.
    """

    system: str
    baseline: str
    metric: str
    difference: float
    interval: tuple[float, float] | None
    bootstrap_p: float | None
    randomisation_p: float | None
    corrected_p: float | None


Column: TypeAlias = tuple[Metric[Any], Sequence[System]]
"""A metric, and the systems' scores under it."""


def compare_systems(
    systems: Sequence[System], metric: Metric[Any], resamples: int = 10_000, seed: int = 0
) -> list[Comparison]:
    """Compare each system after the first with the first, the baseline, under one metric.

    Args:
        systems: at least two, scored on the same images with the same signature.
        metric: of all scores.
        resamples: of the bootstrap and of the randomisation.
        seed: of both.

    Raises:
        ConfigError: fewer than two systems, other images, or other signatures.
    """
    return compare_table([(metric, systems)], resamples, seed)


def compare_table(columns: Sequence[Column], resamples: int = 10_000, seed: int = 0) -> list[Comparison]:
    """Compare systems with the first of them under several metrics; p-values are corrected over all.

    Args:
        columns: each metric with the systems' scores under it, as `compare_systems` takes them; all of the
            same images.
        resamples: of the bootstrap and of the randomisation.
        seed: of both.

    Raises:
        ConfigError: fewer than two systems, other images, or other signatures; or no resamples.
    """
    if resamples < 1:
        raise ConfigError(f"`resamples` must be at least 1, but is {resamples}: a test needs them.")
    columns = [(metric, _checked(systems)) for metric, systems in columns]
    pairs = [(metric, systems[0], system) for metric, systems in columns for system in systems[1:]]
    if not pairs:
        return []
    images = len(pairs[0][1].seeds[0].per_image)
    if images < 2:
        return [_difference(baseline, system) for _, baseline, system in pairs]
    differences = _resampled(columns, images, resamples, seed)
    as_large = _randomised(pairs, resamples, seed)
    p_values = [(count + 1) / (resamples + 1) for count in as_large]
    comparisons = []
    for (_, *both), drawn, p, corrected in zip(pairs, differences, p_values, holm(p_values), strict=True):
        compared, differing = _difference(*both), _differing(*both)
        compared = replace(
            compared,
            interval=interval_of(compared.difference, drawn, images, differing),
            bootstrap_p=_bootstrap_p(compared.difference, drawn) if differing >= FEW_IMAGES else None,
            randomisation_p=p,
            corrected_p=corrected,
        )
        comparisons.append(compared)
    return comparisons


def _difference(baseline: System, system: System) -> Comparison:
    """With neither interval nor p-values."""
    difference, metric = system.mean - baseline.mean, baseline.seeds[0].metric
    return Comparison(system.name, baseline.name, metric, difference, None, None, None, None)


def _differing(baseline: System, system: System) -> int:
    """On how many images the two differ, seeds averaged."""
    ours, theirs = (np.mean([statistics_of(score) for score in one.seeds], 0) for one in (baseline, system))
    return int((np.abs(ours - theirs) > _ROUNDING).any(axis=1).sum())


def _bootstrap_p(observed: float, drawn: FloatArray) -> float:
    """How often a difference, moved to zero mean as if there were none, is as large as observed."""
    larger = np.abs(drawn - drawn.mean()) >= abs(observed) - _ROUNDING
    return (int(larger.sum()) + 1) / (len(drawn) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979): step down, never below an earlier value nor above 1."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _checked(systems: Sequence[System]) -> list[System]:
    """Systems that can be compared, with the images in the first's order: files keep their references'."""
    if len(systems) < 2:
        raise ConfigError("A comparison takes at least two systems.")
    first = systems[0].seeds[0]
    images = list(first.per_image)
    systems = [replace(one, seeds=tuple(score.in_order(images) for score in one.seeds)) for one in systems]
    for system in systems:
        for score in system.seeds:
            if score.unavailable:
                raise ConfigError(f"{system.name}: {score.metric} is not available ({score.unavailable}).")
            if score.signature != first.signature:
                raise ConfigError(
                    f"{systems[0].name} and {system.name} were scored differently and cannot be compared: "
                    f"{first.signature} and {score.signature}."
                )
            if list(score.per_image) != images:
                raise ConfigError(f"{systems[0].name} and {system.name} were scored on different images.")
    return systems


def _resampled(columns: Sequence[Column], images: int, resamples: int, seed: int) -> list[FloatArray]:
    """For each system after the first of its column, its difference from the first in each resample."""
    stack = Stack()
    for _, systems in columns:
        for system in systems:
            for score in system.seeds:
                stack.add(statistics_of(score))
    drawn: list[list[FloatArray]] = [[] for _, systems in columns for _ in systems[1:]]
    chunks, size = resampled(images, resamples, seed)
    for weights in chunks:
        totals = weights @ stack.columns
        row = iter(drawn)
        for metric, systems in columns:
            baseline, *others = (
                np.mean(
                    [
                        pooled(score, metric, stack.of(statistics_of(score), totals), size)
                        for score in system.seeds
                    ],
                    axis=0,
                )
                for system in systems
            )
            for other in others:
                next(row).append(other - baseline)
    return [np.concatenate(parts) for parts in drawn]


def _randomised(pairs: Sequence[tuple[Metric[Any], System, System]], resamples: int, seed: int) -> list[int]:
    """How many random exchanges of two systems' outputs, image by image, differ as much as they do."""
    images = len(pairs[0][1].seeds[0].per_image)
    matched = [list(_matched(baseline, system)) for _, baseline, system in pairs]
    changes = {
        (id(ours.statistics), id(theirs.statistics)): statistics_of(theirs) - statistics_of(ours)
        for seeds in matched
        for ours, theirs in seeds
    }
    stack = np.hstack(list(changes.values()))
    ends = np.cumsum([change.shape[1] for change in changes.values()])
    columns_of = {
        key: slice(end - change.shape[1], end)
        for (key, change), end in zip(changes.items(), ends, strict=True)
    }
    generator = np.random.default_rng((seed, 1))
    counts = [0] * len(pairs)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        exchanged = generator.integers(2, size=(rows, images), dtype=np.uint8).astype(np.float64)
        moved = exchanged @ stack
        for index, ((metric, baseline, system), seeds) in enumerate(zip(pairs, matched, strict=True)):
            shifts = []
            for ours, theirs in seeds:
                change = moved[:, columns_of[id(ours.statistics), id(theirs.statistics)]]
                mine = pooled(ours, metric, statistics_of(ours).sum(axis=0) + change, images)
                shifts.append(
                    pooled(theirs, metric, statistics_of(theirs).sum(axis=0) - change, images) - mine
                )
            observed = abs(system.mean - baseline.mean)
            counts[index] += int((np.abs(np.mean(shifts, axis=0)) >= observed - _ROUNDING).sum())
    return counts


def _matched(baseline: System, system: System) -> Iterator[tuple[Score, Score]]:
    """Each seed of the baseline with a seed of the system, in turn, all of them equally often."""
    for n in range(math.lcm(len(baseline.seeds), len(system.seeds))):
        yield baseline.seeds[n % len(baseline.seeds)], system.seeds[n % len(system.seeds)]
