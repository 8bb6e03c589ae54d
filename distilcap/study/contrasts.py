"""Differences between systems, and how sure they are: contrasts of mean scores over the same test images.

A contrast is a weighted sum of systems' scores, such as "distilled less undistilled". Its noise:

- Images: a paired bootstrap, all systems on the same resampled images (Koehn 2004), seeds averaged.
- A run's own luck: the variance of a score over seeds, pooled over all systems that have several, added to
  each resample as a draw from Student's t.
- A teacher's luck, where each seed has a teacher of its own: all students of one teacher's run move together,
  so it does not average out over them. It is what the mean of a teacher's students moves from seed to seed
  beyond their own luck, pooled over teachers. Where a teacher ran once, its luck is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_SEEDS", "Contrasts", "Estimate", "Scored"]

MOST_SEEDS = 100
"""More than that nobody trains."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """One row of a table, with its score on every test image.

    Attributes:
        architecture: the family, such as "updown".
        size: such as "small".
        teacher: name of the system whose captions it learnt from; None learnt from the references.
        label_beam: width with which the teacher labelled; None where none did, or otherwise.
        per_image: (seeds, images) scores of a metric whose corpus value is the mean over images.
        own_teachers: each seed learnt from the teacher of the same seed.
    """

    name: str
    architecture: str
    size: str
    teacher: str | None
    label_beam: int | None
    per_image: FloatArray
    own_teachers: bool = False


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
        self._taught = _taught_together(systems)
        own, self._teacher_luck = _spread(systems, self._taught)
        self.seed_deviation = own.deviation if own.degrees else None
        """Standard deviation of a score over seeds, pooled; None where every system ran once."""
        self._seed_draws = generator.standard_t(max(own.degrees, 1), size=resamples)
        self._teacher_draws = generator.standard_t(max(self._teacher_luck.degrees, 1), size=resamples)

    def estimate(
        self, weights: Mapping[str, float], comparisons: int = 1, seeds: int | None = None
    ) -> Estimate:
        """Estimate the sum of `weights` times scores.

        Args:
            comparisons: how many estimates a claim looks at; the interval is widened for it (Bonferroni).
            seeds: of every system; None is what ran. Else it is foretold what so many would give, if the
                value and all spreads stay as they were measured.
        """
        values = np.sum([weight * self._means[name] for name, weight in weights.items()], axis=0)
        value, draws = float(values.mean()), self._weights @ values.astype(np.float32)
        total = draws.astype(np.float64)
        if self.seed_deviation is not None:
            runs = {name: seeds or len(self.systems[name].per_image) for name in weights}
            share = sum(weight**2 / runs[name] for name, weight in weights.items())
            total = total + self._seed_draws * self.seed_deviation * share**0.5
            of_teachers = [[name for name in weights if name in group] for group in self._taught]
            share = sum(
                sum(weights[name] for name in group) ** 2 / runs[group[0]] for group in of_teachers if group
            )
            total = total + self._teacher_draws * self._teacher_luck.deviation * share**0.5
        # A normal interval: 2,000 resamples cannot give the far percentiles that many comparisons need.
        half = NormalDist().inv_cdf(1 - 0.025 / comparisons) * float(total.std())
        return Estimate(value, value - half, value + half)

    def seeds_to_decide(
        self, weights: Mapping[str, float], comparisons: int, decided: Callable[[Estimate], bool]
    ) -> int | None:
        """The fewest seeds of every system that would decide an estimate, if value and spreads stay.

        None where `MOST_SEEDS` are too few, as where the noise is that of the test images.
        """
        counts = range(2, MOST_SEEDS + 1)
        return next((n for n in counts if decided(self.estimate(weights, comparisons, n))), None)

    def difference(self, first: str, second: str, comparisons: int = 1) -> Estimate:
        """Estimate how much `first` scores above `second`."""
        return self.estimate({first: 1.0, second: -1.0}, comparisons)


@dataclass(frozen=True)
class _Spread:
    deviation: float
    degrees: int


def _taught_together(systems: Sequence[Scored]) -> list[dict[str, Scored]]:
    """Students by their teacher, where each seed has its own and there are students to compare."""
    groups: dict[tuple[str, int], dict[str, Scored]] = {}
    for system in systems:
        if system.own_teachers and system.teacher is not None and len(system.per_image) > 1:
            groups.setdefault((system.teacher, len(system.per_image)), {})[system.name] = system
    return [group for group in groups.values() if len(group) > 1]


def _spread(systems: Sequence[Scored], taught: Sequence[dict[str, Scored]]) -> tuple[_Spread, _Spread]:
    """Of a run's own luck and of a teacher's, by an analysis of variance.

    The mean of k students of one teacher's run has the teacher's variance and 1/k of their own.
    """
    together = {name for group in taught for name in group}
    squares = common_squares = own_part = 0.0
    degrees = common_degrees = 0
    for system in systems:
        if system.name not in together:
            scores = system.per_image.mean(axis=1)
            squares += float(((scores - scores.mean()) ** 2).sum())
            degrees += len(scores) - 1
    for group in taught:
        moves = np.array([system.per_image.mean(axis=1) for system in group.values()])
        moves -= moves.mean(axis=1, keepdims=True)
        common = moves.mean(axis=0)
        squares += float(((moves - common) ** 2).sum())
        degrees += (len(moves) - 1) * (len(common) - 1)
        common_squares += float((common**2).sum())
        common_degrees += len(common) - 1
        own_part += (len(common) - 1) / len(moves)
    variance = squares / degrees if degrees else 0.0
    common_variance = (common_squares - own_part * variance) / common_degrees if common_degrees else 0.0
    return _Spread(variance**0.5, degrees), _Spread(max(0.0, common_variance) ** 0.5, common_degrees)
