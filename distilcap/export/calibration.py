"""How confident a bundle may be of its captions, from its captions of images that people described, too.

A caption is right where it is at least as close to people's captions, by CIDEr-D, as three of four people's
captions are to the other people's of the same image. A single number says how likely that is: the caption's
log-probability by its tokens, scaled (Platt 1999) to how often it was so on validation images.

Why three of four: people describe the same picture in different ways, and the least typical quarter of what
they write has little in common with the others. Half of them would be a bar that people miss half the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distilcap.data.captions import CaptionSet
from distilcap.metrics import evaluate
from distilcap.metrics.cider import CiderD
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.runtime.bundle import BundleCaption
from distilcap.runtime.calibration import BINS, LEAST_IMAGES, Calibration, Reliability
from distilcap.runtime.limits import MAX_LOGIT
from distilcap.text.tokenizers import tokenizer_of

__all__ = ["People", "calibrate", "fit", "reliability"]

ATYPICAL = 0.25
"""The share of people's captions that are not close enough to the others' to be called right."""

Floats = NDArray[np.float64]


class People:
    """How close people's captions of the same image are to one another.

    Args:
        references: of validation images; n-grams are weighed by how many of these images have them.
        tokenizer: of the captioner.

    Attributes:
        images: how many of them have two captions at least.
        threshold: what three quarters of people's captions reach in CIDEr-D against the image's others.
        agree: whether that is more than nothing, so that it can tell a right caption from a wrong one.
    """

    def __init__(self, references: CaptionSet, tokenizer: str) -> None:
        words_of = tokenizer_of(tokenizer).words
        words = ([words_of(text) for text in references.texts(id)] for id in references)
        self._metric = CiderD(DocumentFrequencies.of("val", words))
        self._tokenizer = tokenizer
        described = references.only(id for id in references if len(references[id]) > 1)
        self.images = len(described)
        own: list[float] = []
        for number in range(max(map(len, described.values()), default=0)):
            those = {id: captions for id, captions in described.items() if len(captions) > number}
            one = CaptionSet({id: captions[number : number + 1] for id, captions in those.items()})
            others = CaptionSet(
                {id: captions[:number] + captions[number + 1 :] for id, captions in those.items()}
            )
            own += self._scores(one, others).values()
        self.threshold = float(np.quantile(own, ATYPICAL)) if own else 0.0
        self.agree = self.threshold > 1e-6  # a sum of floats

    def _scores(self, captions: CaptionSet, references: CaptionSet) -> Mapping[str, float]:
        return evaluate(captions, references, [self._metric], self._tokenizer)["cider"].per_image

    def right(self, written: Mapping[str, BundleCaption], references: CaptionSet) -> tuple[Floats, Floats]:
        """Mean log-probabilities of captions whose images people described, and 1 where right, else 0."""
        known = [id for id in written if references.get(id)]
        if not known:
            return np.empty(0), np.empty(0)
        captions = CaptionSet.of_texts({id: [written[id].text] for id in known})
        scores = self._scores(captions, references)
        right = [float(scores[id] >= self.threshold) for id in known]
        return np.array([written[id].mean_log_prob for id in known]), np.array(right)


def calibrate(
    people: People,
    fitted: tuple[Floats, Floats],
    held_out: tuple[Floats, Floats] | None = None,
    measured_on: str = "",
) -> Calibration | None:
    """Fit a calibration and measure it; None of fewer than `LEAST_IMAGES` images, or where no people agree.

    Args:
        fitted: what `People.right` gave of validation images.
        held_out: of others; without, each half of the validation images is measured by a fit on the other.
        measured_on: what `held_out` is, in words.
    """
    scores, right = fitted
    if min(len(scores), people.images) < LEAST_IMAGES or not people.agree:
        return None
    slope, intercept = fit(scores, right)
    if held_out is None or not len(held_out[0]):
        halves = [np.arange(len(scores)) % 2 == half for half in (0, 1)]
        parts = [
            (confidences(*fit(scores[~half], right[~half]), scores[half]), right[half]) for half in halves
        ]
        measured_on = "halves of the validation images, each by a fit on the other half"
    else:
        parts = [(confidences(slope, intercept, held_out[0]), held_out[1])]
    measured = reliability(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return Calibration(slope, intercept, people.threshold, len(scores), measured, measured_on)


def confidences(slope: float, intercept: float, scores: Floats) -> Floats:
    """See `Calibration.confidence`, of many."""
    return np.asarray(1 / (1 + np.exp(-(slope * scores + intercept))))


def fit(scores: Floats, right: Floats) -> tuple[float, float]:
    """Slope and intercept of the likeliest scaling (Platt 1999), by Newton's method; the slope is 0 at least.

    Targets are a little less than 1 and more than 0, as Platt's, so that it exists whatever was right.
    """
    count, hits = len(right), float(right.sum())
    targets = np.where(right > 0, (hits + 1) / (hits + 2), 1 / (count - hits + 2))
    spread = float(scores.std()) or 1.0
    inputs = np.stack([(scores - scores.mean()) / spread, np.ones(count)], axis=1)
    weights = np.zeros(2)
    for _ in range(100):
        predicted = confidences(1.0, 0.0, inputs @ weights)
        curvature = inputs.T @ (inputs * (predicted * (1 - predicted))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, inputs.T @ (targets - predicted))
        weights += step / max(1.0, float(np.abs(step).max()))  # by at most 1: Newton's own can overshoot
        if np.abs(step).max() < 1e-9:
            break
    slope, intercept = (float(weight) for weight in weights)
    slope, intercept = slope / spread, intercept - slope * float(scores.mean()) / spread
    if not 0 < slope <= MAX_LOGIT or abs(intercept) > MAX_LOGIT:
        # The captioner's probabilities tell nothing, or are all but the same: no bundle has such numbers.
        share = (hits + 1) / (count + 2)
        return 0.0, float(np.log(share / (1 - share)))
    return slope, intercept


def reliability(confidence: Floats, right: Floats) -> Reliability:
    """Confidence against what was right, in `BINS`."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)

    def means(values: Floats) -> Sequence[float]:
        sums = np.bincount(bins, weights=values, minlength=BINS)
        return [float(value) for value in (sums / np.maximum(counts, 1)).round(6)]

    return Reliability(tuple(map(int, counts)), tuple(means(confidence)), tuple(means(right)))
