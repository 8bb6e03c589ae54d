"""The sentence that says which captioner to take."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from distilcap.reports import sentences
from distilcap.reports.results import Member
from distilcap.reports.sentences import Advice, gain_sentence, which_to_take
from distilcap.store.store import Store

STUDENT, START, PLAIN = (Member(name, "student", "small", ()) for name in ("distilled", "start", "plain"))


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ({"start": [30.0, 31.0], "plain": [-6.0, -5.0]}, ": take 'plain'."),
        ({"start": [30.0, 31.0], "plain": [5.0, 6.0]}, ": take 'distilled'."),
        ({"start": [-1.0, 0.5], "plain": [-4.0, -3.0]}, ": take 'plain'."),
        ({"start": [-9.0, 8.0], "plain": [5.0, 6.0]}, ": nothing is clearly better; take 'start'."),
        ({"start": [30.0, 31.0], "plain": [-8.0, 9.0]}, ": nothing is clearly better; take 'distilled'."),
        ({"start": [-5.0, 5.0], "plain": [5.0, 6.0]}, ": nothing is clearly better; take 'start'."),
    ],
)
def test_the_best_by_the_mean_is_taken_and_doubt_is_said(
    gains: dict[str, list[float]], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentences, "_cider_differences", lambda _, other, *__: 4 * gains[other.name])
    advice = which_to_take((START, PLAIN), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    sentence = advice.sentence
    assert sentence.startswith("On only 8 test images, 'distilled' has ")
    assert sentence.endswith(f"take '{advice.take.name}'.")
    for other, differences in gains.items():
        assert f"{sum(differences) / 2:+.1f} CIDEr (beam) against '{other}'" in sentence
    assert sentence.endswith(verdict)


def taken_of(truth: dict[str, float], seed: int, monkeypatch: pytest.MonkeyPatch) -> Advice:
    """Of a hundred images, by systems with such true means."""
    generator = np.random.default_rng(seed)
    base = generator.normal(50, 60, 100)
    scores = {name: base + mean + generator.normal(0, 35, 100) for name, mean in truth.items()}
    monkeypatch.setattr(
        sentences, "_cider_differences", lambda one, other, *_: list(scores[one.name] - scores[other.name])
    )
    advice = which_to_take((START, PLAIN), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    return advice


def test_of_equal_others_the_one_that_took_less_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are clearly better than the student: which of them is no question for their means."""
    truth = {"distilled": 0.0, "start": 15.0, "plain": 15.0}
    advices = [taken_of(truth, seed, monkeypatch) for seed in range(20)]
    assert sum(advice.take is START for advice in advices) >= 18
    assert sum(": nothing is clearly better; take 'start'." in advice.sentence for advice in advices) >= 18
    told = [advice.sentence for advice in advices if "'plain' has +" in advice.sentence]
    assert 5 < len(told) < 15
    assert re.search(r"; 'plain' has \+\d+.\d CIDEr \(beam\) against 'start', 95 % interval -", told[0])


def test_a_dearer_one_that_is_clearly_better_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = {"distilled": 0.0, "start": 15.0, "plain": 45.0}
    advice = taken_of(truth, 0, monkeypatch)
    assert advice.take is PLAIN
    assert "nothing is clearly better" not in advice.sentence


def test_it_is_said_where_few_of_many_images_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_cider_differences", lambda *_: [40.0, 35.0, 30.0, *[0.0] * 37])
    advice = which_to_take((START,), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    assert advice.sentence.endswith(" (only 3 differ): nothing is clearly better; take 'distilled'.")


def test_what_learnt_nothing_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training from the captioner in the box keeps that where no epoch is clearly better."""
    monkeypatch.setattr(sentences, "_cider_differences", lambda *_: [0.0, 0.0])
    advice = which_to_take((START, PLAIN), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    assert advice.take is START
    assert advice.sentence == (
        "On only 2 test images, 'distilled' has the same score on every image as 'start' and 'plain', so it "
        "learnt nothing beyond them: take 'start'."
    )


def test_nothing_is_said_where_there_is_no_choice() -> None:
    assert not which_to_take((), STUDENT, Store(Path("nowhere")))


def test_a_single_test_image_tells_no_better_one_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_cider_differences", lambda *_: [])
    advice = which_to_take((START, PLAIN), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    assert advice.take is STUDENT
    assert advice.sentence == (
        "Which of 'distilled', 'start', 'plain' to take cannot be told: CIDEr needs two test images with "
        "captions."
    )


@pytest.mark.parametrize(
    ("images", "gained", "taken"),
    [
        (7, "stands against", ": too few test images to tell."),
        (8, "neither clearly gained nor lost against", ": nothing is clearly better; take 'distilled'."),
    ],
)
def test_few_test_images_give_no_verdict(
    images: int, gained: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A percentile bootstrap of these calls the gain clear."""
    differences = [12.0, 9.0, 11.0, 8.0, -9.5, 9.0, -8.0, 9.0][:images]
    monkeypatch.setattr(sentences, "_cider_differences", lambda *_: differences)
    advice = which_to_take((START,), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    assert advice.take is STUDENT
    assert advice.sentence.startswith(f"On only {images} test images, ")
    assert advice.sentence.endswith(taken)
    distilled = Member("distilled", "distilled", "small", ())
    monkeypatch.setattr(sentences, "trained_members", lambda _: [PLAIN, distilled])
    said = gain_sentence((), Store(Path("nowhere")))
    assert said.startswith(f"distilled {gained} plain: ")
    assert f"over only {images} test images" in said
    assert said.endswith(": too few test images to tell.") == (images < 8)


def test_many_test_images_are_no_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_cider_differences", lambda *_: 15 * [5.0, 6.0])
    advice = which_to_take((START,), STUDENT, Store(Path("nowhere")))
    assert advice is not None
    assert advice.sentence.startswith("On your 30 test images, 'distilled' has +5.5 CIDEr (beam)")
