"""Differences between systems, and how sure they are: contrasts of mean scores over the same test images.

A contrast is a weighted sum of systems' scores, such as "distilled less undistilled". Its noise:

- A run's own luck: the variance of a score over seeds, pooled over all systems that have several. Over n
  images it is v + e/n, where e is the luck with single images (the variance of image x seed).
- Images: the variance by a paired bootstrap, all systems on the same resampled images (Koehn 2004), seeds
  averaged. Of S seeds it holds e/(n S), which a run's own luck has already: that is taken from it. e is
  estimated by the same analysis of variance as the luck (Searle, Casella and McCulloch 1992, chapter 4).
- A teacher's luck, where each seed has a teacher of its own: all students of one teacher's run move together,
  so it does not average out over them. It is what the mean of a teacher's students moves from seed to seed
  beyond their own luck, pooled over teachers. Where a teacher ran once, its luck is not counted. (What its
  students share on single images is in the images' part too: intervals are a little wide by that.)

The three are added, and the interval is Student's t with the degrees of freedom that Satterthwaite (1946)
gives the sum: a variance that few seeds show widens it, the more the more it weighs. Seeds that happen to lie
closer together than e/n allows count as e/n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distilcap.metrics.student import half_width

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
        own_teachers: each seed had teachers that no other seed had.
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
        self._own_luck, self._teacher_luck = _spread(systems, self._taught)
        own = self._own_luck
        self.seed_deviation = own.variance**0.5 if own.degrees else None
        """Standard deviation of a score over seeds, pooled; None where every system ran once."""

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
        value, resampled = float(values.mean()), self._weights @ values.astype(np.float32)
        ran = {name: len(self.systems[name].per_image) for name in weights}
        of_seeds = sum(weight**2 / ran[name] for name, weight in weights.items()) * self._own_luck.on_images
        of_images = float(resampled.astype(np.float64).var()) - of_seeds
        parts = [(max(0.0, of_images), len(values) - 1)]
        if self.seed_deviation is not None:
            runs = {name: seeds or ran[name] for name in weights}
            share = sum(weight**2 / runs[name] for name, weight in weights.items())
            parts.append((share * self._own_luck.variance, self._own_luck.degrees_of(seeds)))
            of_teachers = [[name for name in weights if name in group] for group in self._taught]
            share = sum(
                sum(weights[name] for name in group) ** 2 / runs[group[0]] for group in of_teachers if group
            )
            parts.append((share * self._teacher_luck.variance, self._teacher_luck.degrees_of(seeds)))
        half = half_width(parts, 1 - 0.025 / comparisons)
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
    """A variance, its degrees of freedom, and how many more each further seed of every system brings.

    `on_images` is the part of it that is luck with single images: e/n above.
    """

    variance: float
    degrees: int
    a_seed: int
    on_images: float = 0.0

    def degrees_of(self, seeds: int | None) -> int:
        """Degrees of freedom with so many seeds of every system; None is what ran."""
        return self.degrees if seeds is None else self.a_seed * (seeds - 1)


def _taught_together(systems: Sequence[Scored]) -> list[dict[str, Scored]]:
    """Students by their teacher, where each seed has its own and there are students to compare."""
    groups: dict[tuple[str, int], dict[str, Scored]] = {}
    for system in systems:
        if system.own_teachers and system.teacher is not None and len(system.per_image) > 1:
            groups.setdefault((system.teacher, len(system.per_image)), {})[system.name] = system
    return [group for group in groups.values() if len(group) > 1]


def _spread(systems: Sequence[Scored], taught: Sequence[dict[str, Scored]]) -> tuple[_Spread, _Spread]:
    """Of a run's own luck and of a teacher's."""
    moves = {system.name: system.per_image - system.per_image.mean(axis=0) for system in systems}
    means = {name: move.mean(axis=1, keepdims=True) for name, move in moves.items()}
    (own, degrees), (common, common_degrees) = _variances(means, taught)
    (on_images, _), _ = _variances({name: move - means[name] for name, move in moves.items()}, taught)
    images = systems[0].per_image.shape[1]
    on_images /= max(1, images - 1) * images
    alone, students = len(systems) - sum(map(len, taught)), sum(len(group) - 1 for group in taught)
    return (
        _Spread(max(own, on_images), degrees, alone + students, on_images),
        _Spread(max(0.0, common), common_degrees, len(taught)),
    )


def _variances(
    moves: Mapping[str, FloatArray], taught: Sequence[dict[str, Scored]]
) -> tuple[tuple[float, int], tuple[float, int]]:
    """Of what runs and what teachers move from seed to seed, each with its degrees of freedom.

    By an analysis of variance: the mean of k students of one teacher's run has the teacher's variance and 1/k
    of their own.

    Args:
        moves: (seeds, columns) by system, 0 in the mean over seeds; the variances are sums over columns.
    """
    together = {name for group in taught for name in group}
    squares = common_squares = own_part = 0.0
    degrees = common_degrees = 0
    for move in (move for name, move in moves.items() if name not in together):
        squares += float((move**2).sum())
        degrees += len(move) - 1
    for group in taught:
        students = np.array([moves[name] for name in group])
        common = students.mean(axis=0)
        squares += float(((students - common) ** 2).sum())
        degrees += (len(students) - 1) * (len(common) - 1)
        common_squares += float((common**2).sum())
        common_degrees += len(common) - 1
        own_part += (len(common) - 1) / len(students)
    variance = squares / degrees if degrees else 0.0
    common_variance = (common_squares - own_part * variance) / common_degrees if common_degrees else 0.0
    return (variance, degrees), (common_variance, common_degrees)
