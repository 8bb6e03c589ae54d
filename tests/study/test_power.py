"""How many seeds decide, and a teacher's luck, on scores of which the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distilcap.study.conclusions import SIZE, judge
from distilcap.study.contrasts import MOST_SEEDS, Contrasts, Estimate, Scored

IMAGES = 400


def system(name: str, scores: list[float], teacher: str | None = None, noise: float = 0.0) -> Scored:
    """Equal on every image but for the given scores of its seeds, and noise of its own on images."""
    random = np.random.default_rng(sum(map(ord, name)))
    jitter = noise * random.normal(size=IMAGES)
    per_image = np.array(scores)[:, None] + (jitter - jitter.mean())[None]
    label_beam = 5 if teacher else None
    return Scored(name, "updown", "small", teacher, label_beam, per_image, own_teachers=teacher is not None)


def spread(mean: float, deviation: float, seeds: int) -> list[float]:
    """Scores whose sample mean and deviation are exactly these."""
    steps = np.arange(seeds) - (seeds - 1) / 2
    return list(mean + deviation * steps / steps.std(ddof=1))


def excludes_zero(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0


GAIN = {"a": 1.0, "b": -1.0}


@pytest.mark.parametrize(("gain", "deviation"), [(0.03, 0.03), (0.02, 0.04), (0.05, 0.04)])
def test_so_many_seeds_do_decide_and_a_third_fewer_do_not(gain: float, deviation: float) -> None:
    def contrasts(seeds: int) -> Contrasts:
        rows = [system("a", spread(0.5 + gain, deviation, seeds)), system("b", spread(0.5, deviation, seeds))]
        return Contrasts(rows)

    needed = contrasts(3).seeds_to_decide(GAIN, 1, excludes_zero)
    assert needed is not None
    # Trained with more seeds, the spread is better known: fewer may do, but not many fewer.
    assert excludes_zero(contrasts(needed).difference("a", "b"))
    textbook = 2 * (1.96 * deviation / gain) ** 2  # with a known spread
    assert not excludes_zero(contrasts(max(2, int(0.6 * textbook))).difference("a", "b"))
    assert textbook <= needed < 3 * textbook + 2


def test_seeds_do_not_decide_what_the_images_leave_open() -> None:
    rows = [
        system("a", spread(0.51, 0.01, 3), noise=2.0),
        system("b", spread(0.5, 0.01, 3), noise=2.0),
    ]
    assert Contrasts(rows).seeds_to_decide(GAIN, 1, excludes_zero) is None


def test_an_open_claim_says_how_many_seeds_it_needs() -> None:
    def rows(gain: float, noise: float = 0.0) -> list[Scored]:
        teacher = Scored("big", "updown", "big", None, None, np.full((1, IMAGES), 0.9))
        plain = system("plain", spread(0.5, 0.03, 3), noise=noise)
        taught = system("taught", spread(0.5 + gain, 0.03, 3), "big", noise=noise)
        return [teacher, plain, taught]

    def evidence(gain: float, noise: float = 0.0) -> str:
        (size,) = (one for one in judge(rows(gain, noise)) if one.text == SIZE)
        return size.claims[0].evidence

    assert "seeds" not in evidence(0.9)
    many, few = (int(evidence(gain).split(" about ")[1].split()[0]) for gain in (0.04, 0.06))
    assert 3 < few < many
    assert f"not even {MOST_SEEDS} seeds would decide it" in evidence(0.04, noise=3.0)


def test_a_teachers_luck_does_not_average_out_over_its_students() -> None:
    random = np.random.default_rng(5)
    luck, own, truth, times = 0.05, 0.01, 0.6, 120
    covered: dict[bool, int] = {True: 0, False: 0}
    widths = []
    names = [f"s{number}" for number in range(4)]
    for _ in range(times):
        moves = luck * random.normal(size=3)
        scores = {name: list(truth + moves + own * random.normal(size=3)) for name in names}
        for counted in covered:
            rows = [system(name, one, "big" if counted else None) for name, one in scores.items()]
            estimate = Contrasts(rows, resamples=200).estimate(dict.fromkeys(names, 0.25))
            covered[counted] += estimate.low < truth < estimate.high
            if counted:
                widths.append(estimate.high - estimate.low)
    assert covered[True] > 0.88 * times
    # Three seeds of a teacher are known by Student's t with two degrees of freedom, and no worse.
    textbook = 2 * 4.303 * luck / 3**0.5
    assert np.median(widths) < 1.2 * textbook
    assert covered[False] < 0.8 * times


@pytest.mark.parametrize(("seeds", "t"), [(2, 4.303), (3, 2.776), (11, 2.086)])
def test_the_interval_is_students_t(seeds: int, t: float) -> None:
    """Two systems of as many seeds, equal on all images: twice the degrees of freedom of one."""
    rows = [system(name, spread(mean, 0.02, seeds)) for name, mean in (("a", 0.55), ("b", 0.5))]
    for drawn in range(3):  # by whatever resamples of the images
        estimate = Contrasts(rows, seed=drawn).difference("a", "b")
        assert estimate.high - estimate.value == pytest.approx(t * 0.02 * (2 / seeds) ** 0.5, rel=1e-3)


def test_students_who_share_no_luck_have_none_counted() -> None:
    """Each student is lucky with another seed, so that their mean does not move at all."""
    lucky = [[0.5 + 0.1 * (seed == number) for seed in range(3)] for number in range(3)]
    rows = [system(f"s{number}", scores, "big") for number, scores in enumerate(lucky)]
    mean, one = (
        Contrasts(rows).estimate(weights)
        for weights in ({"s0": 1 / 3, "s1": 1 / 3, "s2": 1 / 3}, {"s0": 1.0})
    )
    assert (one.high - one.low) / (mean.high - mean.low) == pytest.approx(3**0.5)


def test_teachers_that_seeds_would_tell_apart_are_named() -> None:
    """Of three the two that lie farthest apart."""
    means = {"near": 0.55, "between": 0.56, "far": 0.6}
    teachers = [
        replace(system(name, spread(mean, 0.03, 3)), size="big", architecture=name)
        for name, mean in means.items()
    ]
    students = [system(f"by {name}", spread(0.5, 0.03, 3), name) for name in means]
    claim = judge([*teachers, *students])[0].claims[0]
    assert claim.outcome == "open"
    assert claim.evidence.endswith(" seeds would tell far and near apart")
