"""METEOR in Python against the official program's recorded and present scores."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from official import coco_captions

from distilcap.data.caption_files import read_candidates, read_references
from distilcap.errors import MissingError
from distilcap.metrics import create_metric, evaluate
from distilcap.metrics.meteor.metric import Meteor
from distilcap.metrics.meteor_jar import MeteorJar
from distilcap.metrics.ngrams import References
from distilcap.text.tokenize import tokenize

Corpus = list[tuple[str, list[str]]]


@pytest.fixture(scope="module")
def meteor() -> Meteor:
    metric = Meteor()
    if reason := metric.unavailable():
        pytest.skip(reason)
    return metric


@pytest.fixture(scope="module")
def jar() -> MeteorJar:
    metric = MeteorJar()
    if reason := metric.unavailable():
        pytest.skip(reason)
    return metric


def statistics_of(metric: Meteor | MeteorJar, corpus: Corpus) -> np.ndarray:
    """Captions are words joined by spaces already."""
    known = References([text.split() for text in texts] for _, texts in corpus)
    return metric.statistics([text.split() for text, _ in corpus], metric.prepare(known))


def score_of(metric: Meteor | MeteorJar, candidate: str, *references: str) -> float:
    return float(metric.pool(statistics_of(metric, [(candidate, list(references))]), 1)[0, 0])


def assert_equal_to_jar(meteor: Meteor, jar: MeteorJar, corpus: Corpus) -> None:
    ours, official = statistics_of(meteor, corpus), statistics_of(jar, corpus)
    apart = np.abs(meteor.pool(ours, 1) - jar.pool(official, 1))[:, 0]
    assert [(*corpus[row], apart[row]) for row in np.flatnonzero(apart > 1e-9)] == []
    total = meteor.pool(ours.sum(axis=0), len(corpus)) - jar.pool(official.sum(axis=0), len(corpus))
    assert abs(total[0]) < 1e-9


def test_the_official_example(meteor, shared_data):
    folder = shared_data / "coco_fakecap"
    recorded = json.loads((folder / "fakecap_scores.json").read_text())
    score = evaluate(
        read_candidates(folder / "captions_val2014_fakecap_results.json"),
        read_references(folder / "captions_val2014_fakecap_refs.json"),
        [meteor],
    )["meteor"]
    assert score.value == pytest.approx(recorded["scores"]["METEOR"], abs=1e-9)
    ours = [score.per_image[str(image_id)] for image_id in recorded["image_ids"]]
    assert np.abs(np.array(ours) - recorded["per_image"]["METEOR"]).max() < 1e-9
    assert score.signature == "meteor-1.5|refs:5-6|tok:ptb-official|lang:en|norm:1|by:python|v:1.0"


def test_by_hand(meteor):
    """F and penalty of the papers; function words ("a", "the") weigh 0.25, others 0.75."""
    assert score_of(meteor, "dogs run", "dogs run") == 1
    assert score_of(meteor, "dogs run", "cats sleep") == 0
    # Two chunks of two matches: precision and recall 1, penalty 0.6.
    assert score_of(meteor, "run dogs", "dogs run") == pytest.approx(0.4)
    # One of two content words: P = R = 1/2, one chunk of one match.
    assert score_of(meteor, "dogs sleep", "dogs run") == pytest.approx(0.4 * 0.5)
    # A stem weighs 0.6; one chunk that covers both captions has no penalty.
    assert score_of(meteor, "the zebras", "the zebra") == pytest.approx(0.25 + 0.75 * 0.6)
    # Alone, the official program does not see it: stems and synonyms there do not count as words matched.
    assert score_of(meteor, "zebras", "zebra") == 0
    # The function word is all that matches: 0.25 of 1 on both sides.
    assert score_of(meteor, "the zebra", "the orchestra") == pytest.approx(0.4 * 0.25)


def test_an_images_best_reference_counts(meteor):
    best = statistics_of(meteor, [("dogs run", ["cats sleep", "dogs run", "dogs"])])
    np.testing.assert_array_equal(best, statistics_of(meteor, [("dogs run", ["dogs run"])]))


HARD: Corpus = [
    ("", ["a dog runs on the grass", "a dog"]),
    ("a dog", ["", "a dog runs"]),
    ("a dog runs on grass", ["a dog runs on the grass"]),
    ("dog", ["dog"]),
    ("the", ["the"]),
    ("two cats sleep", ["a dog runs on the grass"]),
    ("日本語 の straßenhund läuft", ["ein kleiner straßenhund läuft", "日本語 の 犬"]),
    ("naïve cafés ½ of ⅓ \u200b x", ["a naïve café 1/2 of it", "½ \u200b"]),
    ("-lrb- & / -rrb-", ["a dog -lrb- runs -rrb-", "& /"]),
    ("% $ # @ * + =", ["# $ %", "* * *"]),
    ("the the the the the the the the", ["the the the cat", "the cat the cat the cat"]),
    ("dog cat " * 12, ["cat dog " * 12, "dog dog cat cat " * 6]),
    ("a man on a man on a man", ["on a man a man on a", "man on man"]),
    (
        "rock 'n' roll o'clock it 's 1990 's n't mr. u.s. no. 5",
        ["it 's five o'clock in the u.s .", "mr no 5"],
    ),
    ("1,000 x-ray-y 3.5 a-b-c 5'6 o'neil's ...", ["1000 xray y 3.5 a b c", "1,000 x ray"]),
    ("the grass runs on a dog " * 30 + "end", ["a dog runs on the grass " * 28 + "end"]),
    (" ".join(f"w{n % 37}" for n in range(150)), [" ".join(f"w{n % 41}" for n in range(140))]),
    ("a couple of people are riding motor bikes", ["two persons ride motorcycles", "some folks on bikes"]),
    ("zebras", ["zebra"]),
    ("a dog runs", [f"a dog runs {n}" for n in range(30)]),
]


RECORDED = [
    0.0,
    0.29170666383042776,
    0.46456952161583437,
    1.0,
    1.0,
    0.0,
    0.4235223534344703,
    0.3018867924528302,
    0.45492348764031004,
    0.3181818181818182,
    0.24683574425898172,
    0.6349813948640766,
    0.5120309542150457,
    0.22425805728747678,
    0.3574862503061114,
    0.47204016162098583,
    0.6332155477031801,
    0.21437026353642002,
    0.0,
    0.3799461194352912,
]
"""What the official program gives for these."""


def test_hard_cases(meteor):
    np.testing.assert_allclose(meteor.pool(statistics_of(meteor, HARD), 1)[:, 0], RECORDED, atol=1e-9)


@pytest.mark.slow
def test_hard_cases_equal_the_jar(meteor, jar):
    assert_equal_to_jar(meteor, jar, HARD)


ODD = [*"'-.,/&\"`’‘“”–—…éñ!?;:()1230 sd$%#@*_+=~½²日", "'s", "n't", "o'", "a.m.", "U.S.", "No. 5", "Mr."]
ODD += ["1,000", "x-ray-y", "'n'", "5'6", "\u00a0", "\u200b", "\U0001f600", " the", " a a", " of"]


@pytest.mark.slow
def test_mutated_captions_equal_the_jar(meteor, jar):
    """3,000 images whose captions have characters put in, words doubled and swapped."""
    drawn = random.Random(5)

    def mutated(text: str) -> str:
        words = text.split()
        for _ in range(drawn.randint(0, 3)):
            one, other = drawn.randrange(len(words)), drawn.randrange(len(words))
            words[one], words[other] = words[other], words[one]
            words.insert(one, words[other])
        text = " ".join(words)
        for _ in range(drawn.randint(0, 3)):
            place = drawn.randrange(len(text) + 1)
            text = text[:place] + drawn.choice(ODD) + text[place:]
        return " ".join(tokenize(text))

    captions = list(coco_captions("val2014").values())
    corpus = [
        (mutated(one[0]), [mutated(text) for text in one[drawn.randint(0, 3) :]]) for one in captions[:3000]
    ]
    assert_equal_to_jar(meteor, jar, corpus)


@pytest.mark.slow
def test_coco_val2014_with_a_reference_held_out(meteor, jar):
    """All 40,504 images."""
    captions = coco_captions("val2014").values()
    words = [[" ".join(tokenize(text)) for text in texts] for texts in captions]
    assert_equal_to_jar(meteor, jar, [(texts[0], texts[1:]) for texts in words])


def test_no_java_is_needed(meteor, monkeypatch):
    def missing() -> None:
        raise AssertionError("Java was looked for")

    monkeypatch.setattr("distilcap.metrics.java.find_java", missing)
    monkeypatch.setattr("subprocess.Popen", missing)
    assert score_of(meteor, "dogs run", "dogs run") == 1


def test_references_prepared_once_serve_several_candidates(meteor):
    prepared = meteor.prepare(References([[["dogs", "run"]], [["cats", "sleep"]]]))
    new_words = meteor.statistics([["zebras", "sing"], ["sleeping", "cats"]], prepared)
    again = meteor.statistics([["dogs", "run"], ["cats", "sleep"]], prepared)
    np.testing.assert_allclose(meteor.pool(again, 1)[:, 0], [1, 1])
    assert meteor.pool(new_words, 1)[0, 0] == 0
    assert 0 < meteor.pool(new_words, 1)[1, 0] < 1
    assert meteor.statistics([], meteor.prepare(References([]))).shape == (0, 23)


def test_what_is_missing_is_said(monkeypatch):
    def no_data() -> None:
        raise MissingError("METEOR's data are not installed")

    monkeypatch.setattr("distilcap.metrics.meteor.metric.find_data", no_data)
    assert create_metric("meteor").unavailable() == "METEOR's data are not installed"


def test_the_default_needs_no_java_and_is_signed_apart_from_the_jar():
    assert create_metric("meteor").settings() != create_metric("meteor_jar").settings()
    assert create_metric("meteor").keys != create_metric("meteor_jar").keys


def test_the_tables_folder(monkeypatch):
    from distilcap.metrics.meteor.phrases import meteor_home

    monkeypatch.setenv("DISTILCAP_METEOR", "/somewhere")
    assert meteor_home() == Path("/somewhere")
    monkeypatch.delenv("DISTILCAP_METEOR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    monkeypatch.delenv("DISTILCAP_CACHE", raising=False)
    assert meteor_home() == Path("/caches/distilcap/meteor")
    monkeypatch.setenv("DISTILCAP_CACHE", "/cache")
    assert meteor_home() == Path("/cache/meteor")
