"""Confidence: a source that is right as often as its probabilities say, and what people agree on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.data.captions import CaptionSet
from distilcap.export.calibration import People, calibrate, confidences, fit, reliability
from distilcap.metrics import evaluate
from distilcap.runtime.bundle import BundleCaption
from distilcap.runtime.calibration import BINS, LEAST_IMAGES, Calibration, Reliability
from distilcap.runtime.fields import Fields
from distilcap.runtime.limits import MAX_LOGIT


def calibrated_source(count: int, slope: float, intercept: float, seed: int = 0):
    """Mean log-probabilities, and whether right: with the probability that the scaling says."""
    random = np.random.default_rng(seed)
    scores = -random.gamma(4.0, 0.2, count)
    true = 1 / (1 + np.exp(-(slope * scores + intercept)))
    return scores, (random.random(count) < true).astype(float), true


@pytest.mark.parametrize("slope, intercept", [(6.0, 3.0), (1.5, 0.0), (12.0, 8.0)])
def test_the_scaling_of_a_calibrated_source_is_found(slope, intercept):
    scores, right, true = calibrated_source(20_000, slope, intercept)
    fitted = confidences(*fit(scores, right), scores)
    assert np.abs(fitted - true).max() < 0.04
    assert np.abs(fitted - true).mean() < 0.01
    assert reliability(true, right).error < 0.02
    assert reliability(np.clip(true + 0.2, 0, 1), right).error > 0.1, "what is not calibrated is seen"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 0), st.booleans()), min_size=1, max_size=40))
def test_every_fit_is_finite_and_never_falls(pairs):
    scores, right = np.array([score for score, _ in pairs]), np.array([float(hit) for _, hit in pairs])
    slope, intercept = fit(scores, right)
    assert math.isfinite(slope)
    assert math.isfinite(intercept)
    assert 0 <= slope <= MAX_LOGIT
    assert abs(intercept) <= MAX_LOGIT
    if slope == 0:
        share = (right.sum() + 1) / (len(right) + 2)
        assert confidences(slope, intercept, scores)[0] == pytest.approx(share)


def test_a_fit_that_no_bundle_may_have_is_the_share():
    scores = np.linspace(-1, -0.9999, 100)  # all but the same: the slope would be some 10^5
    assert fit(scores, (np.arange(100) >= 40).astype(float)) == (0.0, pytest.approx(np.log(61 / 41)))


def test_likelier_captions_that_are_wrong_give_all_the_same_confidence():
    scores = np.linspace(-2, -0.1, 200)
    slope, intercept = fit(scores, (scores < -1).astype(float))
    right = (scores < -1).mean()
    assert (slope, intercept) == (0.0, pytest.approx(np.log(right / (1 - right)), abs=0.02))


def test_bins_are_what_they_say():
    measured = reliability(np.array([0.05, 0.15, 0.15, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert measured.captions == (1, 2, *[0] * 7, 1)
    assert measured.right == (0.0, 0.5, *[0.0] * 7, 1.0)
    assert measured.error == pytest.approx((0.05 + 2 * 0.35 + 0) / 4)


@pytest.mark.parametrize("count", [50, 200, 1_000])
def test_the_error_of_a_right_calibration_is_what_chance_shows(count):
    """Data of Platt's own model, halves of the validation images and others, 40 draws of each."""
    people = People(ALIKE, "ptb")
    draws = [calibrated_source(count, 2, 3, seed)[:2] for seed in range(40)]
    many = calibrated_source(20_000, 2, 3, 99)[:2]
    measured = [calibrate(people, draw) for draw in draws]
    measured += [calibrate(people, many, draw, "others") for draw in draws]
    errors, expected = (
        np.mean([getattr(one.reliability, name) for one in measured]) for name in ("error", "error_by_chance")
    )
    assert errors > 0.02
    assert expected == pytest.approx(errors, rel=0.2)
    assert reliability(np.full(10, 0.7), np.ones(10)).error_by_chance == pytest.approx(
        0.7979 * 0.21**0.5 / 10**0.5, rel=1e-3
    )


REFERENCES = CaptionSet.of_texts(
    {
        str(image): [
            f"a {colour} dog number {image} runs",
            f"the {colour} dog number {image} runs",
            "something",
        ]
        for image, colour in enumerate(["red", "blue", "green", "black"] * 15)
    }
)


ALIKE = CaptionSet({id: captions[:2] for id, captions in REFERENCES.items()})


def test_people_are_measured_against_the_others_of_the_same_image():
    people = People(REFERENCES, "ptb")
    assert people.images == 60
    # A third of people's captions have nothing in common with the others.
    assert people.threshold == pytest.approx(0.0)
    assert not people.agree
    first = CaptionSet({id: captions[:1] for id, captions in ALIKE.items()})
    second = CaptionSet({id: captions[1:] for id, captions in ALIKE.items()})
    # Of two captions each is the other's only reference.
    alike = evaluate(first, second, ["cider"], "ptb")["cider"].value
    assert People(ALIKE, "ptb").threshold == pytest.approx(alike, rel=0.25)
    assert People(ALIKE, "ptb").threshold > 1


def test_captions_are_right_that_are_as_close_as_peoples():
    people = People(ALIKE, "ptb")
    written = {
        "0": BundleCaption("a red dog number 0 runs", -3.0, (4, 5, 2)),
        "1": BundleCaption("a cat", -1.0, (4, 2)),
        "unknown": BundleCaption("a cat", -1.0, (4, 2)),
    }
    scores, right = people.right(written, ALIKE)
    assert scores.tolist() == [-1.0, -0.5]
    assert right.tolist() == [1.0, 0.0]


def test_too_few_images_are_not_calibrated():
    people = People(ALIKE, "ptb")
    scores, right, _ = calibrated_source(LEAST_IMAGES - 1, 6, 3)
    assert calibrate(people, (scores, right)) is None
    enough = calibrated_source(200, 6, 3)[:2]
    assert calibrate(people, enough) is not None
    assert calibrate(People(ALIKE.top(), "ptb"), enough) is None, "one caption each"
    assert calibrate(People(REFERENCES, "ptb"), enough) is None, "whatever is written would be right"


def test_it_is_measured_on_what_it_was_not_fitted_on():
    people = People(ALIKE, "ptb")
    fitted = calibrated_source(2_000, 6, 3, seed=1)[:2]
    halves = calibrate(people, fitted)
    assert halves is not None
    assert "halves" in halves.measured_on
    assert sum(halves.reliability.captions) == halves.images == 2_000
    assert halves.reliability.error < 0.05
    scores, every_second = fitted[0], np.arange(2_000) % 2.0
    contrary = calibrate(people, (scores, every_second))  # what one half teaches is wrong of the other
    assert contrary is not None
    assert contrary.reliability.error > 0.95
    others = calibrated_source(500, 6, 0, seed=2)[:2]  # less is right than it thinks
    measured = calibrate(people, fitted, others, "500 other images")
    assert measured is not None
    assert (measured.slope, measured.intercept) == (halves.slope, halves.intercept)
    assert sum(measured.reliability.captions) == 500
    assert measured.reliability.error > 0.2
    assert Calibration.from_json(Fields(measured.to_json(), "x", "calibration")) == measured


def test_any_log_probability_has_a_confidence():
    empty = Reliability((0,) * BINS, (0.0,) * BINS, (0.0,) * BINS)
    for slope, intercept in ((0.0, 0.0), (500.0, -500.0), (500.0, 500.0)):
        calibration = Calibration(slope, intercept, 0.5, 50, empty, "")
        for value in (0.0, -1e-9, -1.0, -1e30, -math.inf):
            assert 0 <= calibration.confidence(value) <= 1
    assert empty.error == empty.error_by_chance == 0
    confidence = Calibration(6.0, 3.0, 0.5, 50, empty, "").confidence
    # The logistic function of 1.5, 0, -3 and -9.
    found = [confidence(value) for value in (-0.25, -0.5, -1.0, -2.0)]
    assert found == pytest.approx([0.8175745, 0.5, 0.0474259, 0.0001234], abs=1e-7)
