"""How sure a score is, and whether two systems differ: resampling over images.

Every score is a function of summed sufficient statistics (`Metric.pool`), so one piece of code serves means
(CIDEr-D, ROUGE-L, SPICE) and pooled scores (BLEU, METEOR): images are resampled, statistics summed, pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distilcap.errors import ConfigError
from distilcap.metrics.base import FloatArray, Metric, Score

__all__ = ["Comparison", "System", "bootstrap_interval", "compare_systems", "holm"]

_CHUNK = 200  # resamples at a time: 200 x 5,000 images are 8 MB


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
        """Sample deviation over seeds; None with one."""
        return float(np.std(self.values, ddof=1)) if len(self.seeds) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """A system against a baseline, under one metric.

    Attributes:
        difference: of the means over seeds, system minus baseline.
        interval: 95 % of the paired bootstrap's differences.
        bootstrap_p: two-sided p-value of the paired bootstrap (Koehn 2004).
        randomisation_p: two-sided p-value of approximate randomisation (Riezler & Maxwell 2005).
        corrected_p: `randomisation_p`, Holm-corrected over the systems compared.
    """

    system: str
    baseline: str
    metric: str
    difference: float
    interval: tuple[float, float]
    bootstrap_p: float
    randomisation_p: float
    corrected_p: float


def bootstrap_interval(
    score: Score, metric: Metric[Any], resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a score over resampled images (Efron 1979).

    Args:
        score: with its `statistics`.
        metric: which pools them.
        resamples: how many times the images are drawn.
        seed: of the draws.
    """
    values = np.concatenate(
        [_pooled((score,), metric, weights) for weights in _draws(len(score.per_image), resamples, seed)]
    )
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def compare_systems(
    systems: Sequence[System],
    metric: Metric[Any],
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare each system after the first with the first, the baseline.

    Args:
        systems: at least two, scored on the same images with the same signature.
        metric: of all scores.
        resamples: of the bootstrap and of the randomisation.
        seed: of both.

    Raises:
        ConfigError: fewer than two systems, other images, or other signatures.
    """
    _check(systems)
    baseline = systems[0]
    found: list[Comparison] = []
    images = len(baseline.seeds[0].per_image)
    for system in systems[1:]:
        observed = system.mean - baseline.mean
        differences = np.concatenate(
            [
                _pooled(system.seeds, metric, weights) - _pooled(baseline.seeds, metric, weights)
                for weights in _draws(images, resamples, seed)
            ]
        )
        low, high = np.percentile(differences, [2.5, 97.5])
        # How often a difference, moved to zero mean as if there were none, is as large as the one seen.
        as_large = np.abs(differences - differences.mean()) >= abs(observed) - 1e-12
        bootstrap_p = (as_large.sum() + 1) / (resamples + 1)
        randomisation_p = _randomised(system, baseline, metric, abs(observed), resamples, seed)
        found.append(
            Comparison(
                system=system.name,
                baseline=baseline.name,
                metric=baseline.seeds[0].metric,
                difference=observed,
                interval=(float(low), float(high)),
                bootstrap_p=float(bootstrap_p),
                randomisation_p=randomisation_p,
                corrected_p=randomisation_p,
            )
        )
    corrected = holm([one.randomisation_p for one in found])
    return [replace(one, corrected_p=p) for one, p in zip(found, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many (Holm 1979): step down, never below an earlier one, never above 1."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _check(systems: Sequence[System]) -> None:
    if len(systems) < 2:
        raise ConfigError("A comparison takes at least two systems.")
    first = systems[0].seeds[0]
    for system in systems:
        for score in system.seeds:
            if score.unavailable:
                raise ConfigError(f"{system.name}: {score.metric} is not available ({score.unavailable}).")
            if score.signature != first.signature:
                raise ConfigError(
                    f"{systems[0].name} and {system.name} were scored differently and cannot be compared: "
                    f"{first.signature} and {score.signature}."
                )
            if list(score.per_image) != list(first.per_image):
                raise ConfigError(f"{systems[0].name} and {system.name} were scored on different images.")


def _draws(images: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each image is drawn, (chunk, images): the same draws for every system, hence paired."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = generator.integers(images, size=(rows, images), dtype=np.int64)
        drawn += np.arange(rows)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)


def _column(score: Score, metric: Metric[Any]) -> int:
    return metric.keys.index(score.metric)


def _pooled(seeds: Sequence[Score], metric: Metric[Any], weights: FloatArray) -> FloatArray:
    """Scores (chunk,) of weighted images, averaged over seeds."""
    values = []
    for score in seeds:
        assert score.statistics is not None
        values.append(metric.pool(weights @ score.statistics, weights.shape[1])[..., _column(score, metric)])
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def _randomised(
    system: System, baseline: System, metric: Metric[Any], observed: float, resamples: int, seed: int
) -> float:
    """Share of random exchanges of the two systems' outputs, image by image, that differ as much."""
    generator = np.random.default_rng((seed, 1))
    images = len(baseline.seeds[0].per_image)
    as_large = 0
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        exchanged = generator.integers(2, size=(rows, images)).astype(np.float64)
        ours, theirs = (
            np.mean([_exchange(seeds, others, metric, exchanged) for seeds, others in pairs], axis=0)
            for pairs in (_paired(system, baseline), _paired(baseline, system))
        )
        as_large += int((np.abs(ours - theirs) >= observed - 1e-12).sum())
    return (as_large + 1) / (resamples + 1)


def _paired(one: System, other: System) -> list[tuple[Score, Score]]:
    """Each seed of one with a seed of the other, in turn."""
    count = max(len(one.seeds), len(other.seeds))
    return [(one.seeds[n % len(one.seeds)], other.seeds[n % len(other.seeds)]) for n in range(count)]


def _exchange(own: Score, other: Score, metric: Metric[Any], exchanged: FloatArray) -> FloatArray:
    assert own.statistics is not None
    assert other.statistics is not None
    totals = own.statistics.sum(axis=0) + exchanged @ (other.statistics - own.statistics)
    pooled = metric.pool(totals, exchanged.shape[1])[..., _column(own, metric)]
    return np.asarray(pooled, dtype=np.float64)
