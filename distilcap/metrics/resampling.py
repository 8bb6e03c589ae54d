"""Resampling over images: intervals of scores and of means.

Every score is a function of summed sufficient statistics (`Metric.pool`), so one piece of code serves means
(CIDEr-D, ROUGE-L, SPICE) and pooled scores (BLEU, METEOR): images are resampled, statistics summed, pooled.
Of few images each is left out in turn instead, and the interval is Student's t of this jackknife (Tukey
1958), which for a mean is the usual one. One image tells nothing of others.

Of a difference only the images count on which two systems differ: where these are few among many, as of a
student that is nearly its start, percentiles are too narrow as well, and the interval is Student's t of the
resamples' variance, with as many degrees of freedom as images differ, less one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from distilcap.metrics.base import FloatArray, Metric, Score
from distilcap.metrics.registry import metric_of
from distilcap.metrics.student import T_975

__all__ = [
    "CHUNK",
    "FEW_IMAGES",
    "Stack",
    "interval_of",
    "intervals",
    "mean_interval",
    "pooled",
    "remark_on_few",
    "resampled",
    "statistics_of",
]

FEW_IMAGES = 30
"""Below so many, of a difference so many that differ, a percentile bootstrap is too narrow: of ten images,
16 % of its intervals miss; of 40 of which six to ten differ, 9 to 11 % exclude a true 0."""
CHUNK = 200  # resamples at a time: 200 x 5,000 images are 8 MB


def remark_on_few(images: int) -> str:
    """What a person should know of intervals and tests of so few images, in a sentence; else empty."""
    if images == 1:
        return "Of one image there is neither an interval nor a p-value."
    few = f"Only {images} images: intervals are Student's t, since resamples of so few vary too little."
    return few if 1 < images < FEW_IMAGES else ""


def intervals(scores: Mapping[str, Score], resamples: int = 10_000, seed: int = 0) -> dict[str, Score]:
    """Give every available score its 95 % interval over images; none where there is but one image.

    Percentiles over resampled images (Efron 1979); of fewer than `FEW_IMAGES`, Student's t.

    Args:
        scores: what `evaluate` gave, of the same images.
        resamples: how many times the images are drawn.
        seed: of the draws.
    """
    able = {key: score for key, score in scores.items() if score.unavailable is None}
    images = len(next(iter(able.values())).per_image) if able else 0
    if images < 2 or not resamples:
        return dict(scores)
    stack = Stack()
    for score in able.values():
        stack.add(statistics_of(score))
    drawn: dict[str, list[FloatArray]] = {key: [] for key in able}
    chunks, size = resampled(images, resamples, seed)
    for weights in chunks:
        totals = weights @ stack.columns
        for key, score in able.items():
            drawn[key].append(pooled(score, metric_of(key), stack.of(statistics_of(score), totals), size))
    return {
        key: replace(score, interval=interval_of(score.value, np.concatenate(drawn[key]), images, images))
        if key in able
        else score
        for key, score in scores.items()
    }


def mean_interval(values: ArrayLike, resamples: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of differences (images,), two or more, as `compare_table` makes it."""
    numbers = np.asarray(values, dtype=np.float64)
    chunks, size = resampled(len(numbers), resamples, seed)
    means = np.concatenate([weights @ numbers for weights in chunks]) / size
    return interval_of(float(numbers.mean()), means, len(numbers), int(np.count_nonzero(numbers)))


def resampled(images: int, resamples: int, seed: int) -> tuple[Iterable[FloatArray], int]:
    """How often each image is in each resample, (chunk, images), and how many images a resample has.

    Of fewer than `FEW_IMAGES` each resample is all but one.
    """
    if images < FEW_IMAGES:
        return [1.0 - np.eye(images)], images - 1
    return _draws(images, resamples, seed), images


def interval_of(value: float, drawn: FloatArray, images: int, differing: int) -> tuple[float, float]:
    """The 95 % interval of a value of two images or more, whose resamples (`resampled`) gave `drawn`.

    Args:
        differing: of a difference, on how many images the two systems differ; of a score all.
    """
    if differing >= FEW_IMAGES:
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(low), float(high)
    scale = images - 1 if images < FEW_IMAGES else images / (images - 1)
    half = T_975[max(differing, 2) - 2] * math.sqrt(scale * float(drawn.var()))
    return value - half, value + half


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


def _draws(images: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each image is drawn, (chunk, images): the same draws for every system, hence paired."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = generator.integers(images, size=(rows, images), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * images
        counts = np.bincount(drawn.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)
