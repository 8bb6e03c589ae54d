"""The sentence that says which captioner to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap.reports import sentences
from distilcap.reports.results import Member
from distilcap.reports.sentences import which_to_take
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
    ],
)
def test_the_best_by_the_mean_is_taken_and_doubt_is_said(
    gains: dict[str, list[float]], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentences, "_cider_differences", lambda _, other, *__: 4 * gains[other.name])
    sentence = which_to_take((START, PLAIN), STUDENT, Store(Path("nowhere")))
    assert sentence.startswith("On your 8 test images, 'distilled' has ")
    for other, differences in gains.items():
        assert f"{sum(differences) / 2:+.1f} CIDEr (beam) against '{other}'" in sentence
    assert sentence.endswith(verdict)


def test_nothing_is_said_where_there_is_no_choice() -> None:
    assert not which_to_take((), STUDENT, Store(Path("nowhere")))
