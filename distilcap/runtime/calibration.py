"""Confidence that means something: from a caption's log-probability to how often such captions are right.

Right is a caption that is at least as close to people's captions of the image as three of four people's
captions are to the other people's, by CIDEr-D. `export.calibration` fits it on validation images.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from distilcap.runtime.fields import Fields
from distilcap.runtime.limits import MAX_CIDER, MAX_LOGIT

__all__ = ["BINS", "LEAST_IMAGES", "Calibration", "Reliability", "mean_log_prob"]

BINS = 10
"""Of equal width, from confidence 0 to 1."""

LEAST_IMAGES = 50
"""Fitted on so many at least: of 50, the share that is right is known to 14 percentage points (95 %)."""


def mean_log_prob(log_prob: float, tokens: int) -> float:
    """A caption's log-probability by its tokens, the end token among them: what a calibration reads."""
    return log_prob / max(1, tokens)


@dataclass(frozen=True)
class Reliability:
    """What came of captions that the calibration was not fitted on, by `BINS` of their confidence.

    Attributes:
        captions: how many. confidence: their mean. right: the share that was right; 0 where there are none.
    """

    captions: tuple[int, ...]
    confidence: tuple[float, ...]
    right: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017): the mean distance of confidence from the share that
        was right."""
        bins = zip(self.captions, self.confidence, self.right, strict=True)
        distance = sum(count * abs(confidence - right) for count, confidence, right in bins)
        return distance / max(1, sum(self.captions))

    @property
    def error_by_chance(self) -> float:
        """What `error` is expected to be of a right calibration, which few captions alone keep from 0.

        The share that is right among n captions of confidence c deviates from c by sqrt(2 c (1 - c) / (pi n))
        on average, the mean deviation of its normal approximation.
        """
        bins = zip(self.captions, self.confidence, strict=True)
        distance = sum(math.sqrt(2 * count * mean * (1 - mean) / math.pi) for count, mean in bins)
        return distance / max(1, sum(self.captions))

    def __str__(self) -> str:
        return (
            f"expected calibration error {100 * self.error:.1f} points, where chance alone would show about "
            f"{100 * self.error_by_chance:.1f} of a right calibration"
        )


@dataclass(frozen=True)
class Calibration:
    """Platt's scaling (1999): confidence = 1 / (1 + exp(-(slope x + intercept))), x of `mean_log_prob`.

    Attributes:
        slope, intercept: slope is not negative, so likelier captions never have less confidence.
        threshold: CIDEr-D from which a caption is right, 0 to 10.
        images: how many it was fitted on.
        reliability: on other images, in words `measured_on`.
    """

    slope: float
    intercept: float
    threshold: float
    images: int
    reliability: Reliability
    measured_on: str

    def confidence(self, mean_log_prob: float) -> float:
        """How often captions with such a mean log-probability are right, 0 to 1."""
        logit = self.slope * max(mean_log_prob, -MAX_LOGIT) + self.intercept  # impossible captions have -inf
        return 1 / (1 + math.exp(min(-logit, MAX_LOGIT)))

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; `from_json` reads it back equal."""
        plain = dataclasses.asdict(self)
        plain["reliability"] = {name: list(values) for name, values in plain["reliability"].items()}
        return plain

    @staticmethod
    def from_json(content: Fields) -> Calibration:
        """Read what `to_json` gave; BundleError where a field is missing, unknown or out of range."""
        content.only(*(field.name for field in dataclasses.fields(Calibration)))
        bins = content.object("reliability")
        bins.only("captions", "confidence", "right")
        captions = bins.integers("captions", BINS, 0, 2**31 - 1)
        confidence, right = (bins.numbers(name, BINS, 0, 1) for name in ("confidence", "right"))
        if len(captions) != BINS:
            content.refuse("calibration.reliability.captions", f"a list of {BINS}", list(captions))
        return Calibration(
            slope=content.number("slope", 0, MAX_LOGIT),
            intercept=content.number("intercept", -MAX_LOGIT, MAX_LOGIT),
            threshold=content.number("threshold", 0, MAX_CIDER),
            images=content.integer("images", 1, 2**31 - 1),
            reliability=Reliability(captions, confidence, right),
            measured_on=content.text("measured_on"),
        )
