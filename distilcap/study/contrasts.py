"""Differences between systems, and how sure they are: contrasts of mean scores over the same test images.

A contrast is a weighted sum of systems' scores, such as "distilled less undistilled". Two sources of noise
are counted. Images: a paired bootstrap, all systems on the same resampled images (Koehn 2004), seeds
averaged. Seeds: the variance of a score over seeds, pooled over all systems that have several, added to each
resample as a draw from Student's t. Not counted: that a teacher was trained once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["Contrasts", "Estimate", "Scored"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """One row of a table, with its score on every test image.

    Attributes:
        architecture: "updown" or "aoanet".
        size: such as "small".
        teacher: name of the system whose captions it learnt from; None learnt from the references.
        label_beam: width with which the teacher labelled; None where none did, or otherwise.
        per_image: (seeds, images) scores of a metric whose corpus value is the mean over images.
    """

    name: str
    architecture: str
    size: str
    teacher: str | None
    label_beam: int | None
    per_image: FloatArray


@dataclass(frozen=True)
class Estimate:
    """A contrast's value, with an interval over images and seeds (images alone where nothing ran twice)."""

    value: float
    low: float
    high: float


class Contrasts:
    """Estimates contrasts of systems that were scored on the same images in the same order."""

    def __init__(self, systems: Sequence[Scored], resamples: int = 2000, seed: int = 0) -> None:
        self.systems = {system.name: system for system in systems}
        (images,) = {system.per_image.shape[1] for system in systems}
        self._means = {system.name: system.per_image.mean(axis=0) for system in systems}
        generator = np.random.default_rng(seed)
        drawn = generator.integers(images, size=(resamples, images)) + images * np.arange(resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images)
        self._weights = (counts / images).astype(np.float32)
        several = [system.per_image.mean(axis=1) for system in systems if len(system.per_image) > 1]
        degrees = sum(len(scores) - 1 for scores in several)
        squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in several)
        self.seed_deviation = (squares / degrees) ** 0.5 if degrees else None
        """Standard deviation of a score over seeds, pooled; None where every system ran once."""
        self._seed_draws = generator.standard_t(max(degrees, 1), size=resamples)

    def estimate(self, weights: Mapping[str, float], comparisons: int = 1) -> Estimate:
        """Estimate the sum of `weights` times scores.

        Args:
            comparisons: how many estimates a claim looks at; the interval is widened for it (Bonferroni).
        """
        values = np.sum([weight * self._means[name] for name, weight in weights.items()], axis=0)
        value, draws = float(values.mean()), self._weights @ values.astype(np.float32)
        total = draws.astype(np.float64)
        if self.seed_deviation is not None:
            share = sum(weight**2 / len(self.systems[name].per_image) for name, weight in weights.items())
            total = total + self._seed_draws * self.seed_deviation * share**0.5
        # A normal interval: 2,000 resamples cannot give the far percentiles that many comparisons need.
        half = NormalDist().inv_cdf(1 - 0.025 / comparisons) * float(total.std())
        return Estimate(value, value - half, value + half)

    def difference(self, first: str, second: str, comparisons: int = 1) -> Estimate:
        """Estimate how much `first` scores above `second`."""
        return self.estimate({first: 1.0, second: -1.0}, comparisons)
