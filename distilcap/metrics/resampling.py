"""Resampling over images: intervals of scores and of means.

Every score is a function of summed sufficient statistics (`Metric.pool`), so one piece of code serves means
(CIDEr-D, ROUGE-L, SPICE) and pooled scores (BLEU, METEOR): images are resampled, statistics summed, pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from distilcap.metrics.base import FloatArray, Metric, Score
from distilcap.metrics.registry import metric_of
from distilcap.metrics.student import half_width

__all__ = [
    "CHUNK",
    "FEW_IMAGES",
    "Stack",
    "draws",
    "intervals",
    "mean_interval",
    "percentiles",
    "pooled",
    "statistics_of",
]

FEW_IMAGES = 30
"""Below so many a percentile bootstrap is too narrow: of ten images, 16 % of its intervals miss."""
CHUNK = 200  # resamples at a time: 200 x 5,000 images are 8 MB


def intervals(scores: Mapping[str, Score], resamples: int = 10_000, seed: int = 0) -> dict[str, Score]:
    """Give every available score its 95 % percentile interval over resampled images (Efron 1979).

    Args:
        scores: what `evaluate` gave, of the same images.
        resamples: how many times the images are drawn.
        seed: of the draws.
    """
    able = {key: score for key, score in scores.items() if score.unavailable is None}
    stack = Stack()
    for score in able.values():
        stack.add(statistics_of(score))
    drawn: dict[str, list[FloatArray]] = {key: [] for key in able}
    images = len(next(iter(able.values())).per_image) if able else 0
    for weights in draws(images, resamples if able else 0, seed):
        totals = weights @ stack.columns
        for key, score in able.items():
            drawn[key].append(pooled(score, metric_of(key), stack.of(statistics_of(score), totals), images))
    return {
        key: replace(score, interval=percentiles(np.concatenate(drawn[key]))) if drawn.get(key) else score
        for key, score in scores.items()
    }


def mean_interval(values: ArrayLike, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of values (images,).

    Percentiles over resampled images (Efron 1979); of fewer than `FEW_IMAGES`, Student's t.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if 1 < len(numbers) < FEW_IMAGES:
        mean = float(numbers.mean())
        half = half_width([(float(numbers.var(ddof=1)) / len(numbers), len(numbers) - 1)])
        return mean - half, mean + half
    means = [weights @ numbers for weights in draws(len(numbers), resamples, seed)]
    return percentiles(np.concatenate(means) / len(numbers))


class Stack:
    """Statistics side by side, (images, columns), so that one product sums them all; each of them once."""

    def __init__(self) -> None:
        self._slices: dict[int, slice] = {}
        self._parts: list[FloatArray] = []

    def add(self, statistics: FloatArray) -> None:
        """Add statistics (images, S), unless they are there already."""
        if id(statistics) not in self._slices:
            start = sum(part.shape[1] for part in self._parts)
            self._slices[id(statistics)] = slice(start, start + statistics.shape[1])
            self._parts.append(statistics)

    @property
    def columns(self) -> FloatArray:
        """All of them."""
        if len(self._parts) > 1:
            self._parts = [np.hstack(self._parts)]
        return self._parts[0]

    def of(self, statistics: FloatArray, totals: FloatArray) -> FloatArray:
        """Those columns of `totals` that belong to `statistics`."""
        return totals[:, self._slices[id(statistics)]]


def statistics_of(score: Score) -> FloatArray:
    """Those of an available score, (images, S)."""
    assert score.statistics is not None, score.metric
    return score.statistics


def pooled(score: Score, metric: Metric[Any], totals: FloatArray, images: int) -> FloatArray:
    """Scores (chunk,) of summed statistics (chunk, S)."""
    pooled = metric.pool(totals, images)[..., metric.keys.index(score.metric)]
    return np.asarray(pooled, dtype=np.float64)


def percentiles(values: FloatArray) -> tuple[float, float]:
    """What 95 % of the values lie between."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def draws(images: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each image is drawn, (chunk, images): the same draws for every system, hence paired."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = generator.integers(images, size=(rows, images), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)
