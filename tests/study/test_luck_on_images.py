"""A run is lucky with single images: that is noise of seeds and of images, and is counted once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from distilcap.study.contrasts import MOST_SEEDS, Contrasts, Estimate, Scored

IMAGES = 200
Z = 1.96

FloatArray = npt.NDArray[np.float64]


def system(name: str, per_image: FloatArray, teacher: str | None = None) -> Scored:
    return Scored(
        name, "updown", "small", teacher, 5 if teacher else None, per_image, own_teachers=bool(teacher)
    )


def lucky(random: np.random.Generator, seeds: int, deviation: float = 1.0) -> FloatArray:
    """Luck with single images, (seeds, images); their mean has 1/IMAGES of its variance."""
    return deviation * random.normal(size=(seeds, IMAGES))


def half(estimate: Estimate) -> float:
    return estimate.high - estimate.value


def excludes_zero(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0


def test_luck_with_single_images_is_counted_once() -> None:
    """Equal systems, all noise of which is image x seed: 95 % of intervals hold 0, counted twice 99.4 %."""
    random = np.random.default_rng(1)
    names = [f"s{number}" for number in range(12)]
    truth = (2 / (3 * IMAGES)) ** 0.5
    held, widths = [], []
    for _ in range(60):
        images = random.normal(size=IMAGES)
        rows = [system(name, images + lucky(random, 3)) for name in names]
        contrasts = Contrasts(rows, resamples=200)
        estimates = [contrasts.difference(*pair) for pair in zip(names[::2], names[1::2], strict=True)]
        held += [not excludes_zero(estimate) for estimate in estimates]
        widths += [half(estimate) for estimate in estimates]
    # A little wider, as seeds that lie together do not count; twice counted, 1.41 times as wide and more.
    assert 0.97 < np.mean(widths) / (Z * truth) < 1.2
    assert 0.93 < np.mean(held) < 0.985


@pytest.mark.parametrize("seeds", [2, 3])
def test_two_rows_of_few_seeds_have_no_narrow_intervals(seeds: int) -> None:
    """Seeds differ by luck on images and in all alike; of two rows nobody knows well by how much."""
    random = np.random.default_rng(2)
    held = []
    for _ in range(250):
        rows = [
            system(name, lucky(random, seeds) + random.normal(size=(seeds, 1)) / IMAGES**0.5) for name in "ab"
        ]
        held.append(not excludes_zero(Contrasts(rows, resamples=50).difference("a", "b")))
    assert np.mean(held) > 0.935


def test_seeds_that_lie_together_by_chance_do_not_hide_the_luck_with_images() -> None:
    random = np.random.default_rng(3)
    rows = []
    for name in "ab":
        luck = lucky(random, 3)
        rows.append(system(name, luck - luck.mean(axis=1, keepdims=True)))
    estimate = Contrasts(rows).difference("a", "b")
    assert half(estimate) > Z * (2 / (3 * IMAGES)) ** 0.5


def test_what_students_of_a_teacher_share_on_images_is_not_taken_from_their_own() -> None:
    """It cancels out between them: the noise of their difference is their own luck, and no less."""
    random = np.random.default_rng(4)
    shared = lucky(random, 3, 3.0)
    rows = [system(f"s{number}", shared + lucky(random, 3), "big") for number in range(12)]
    contrasts = Contrasts(rows)
    widths = [half(contrasts.difference("s0", f"s{number}")) for number in range(1, 12)]
    assert np.mean(widths) == pytest.approx(Z * (2 / (3 * IMAGES)) ** 0.5, rel=0.15)


def test_more_seeds_average_the_luck_with_images_out() -> None:
    random = np.random.default_rng(5)
    gain = 0.06
    rows = []
    for name in "abcdefgh":
        luck = lucky(random, 3)
        rows.append(system(name, luck - luck.mean() + gain * (name == "a")))
    needed = Contrasts(rows).seeds_to_decide({"a": 1.0, "b": -1.0}, 1, excludes_zero)
    textbook = 2 * Z**2 / IMAGES / gain**2
    assert needed is not None, f"not even {MOST_SEEDS}"
    assert needed == pytest.approx(textbook, rel=0.4)
