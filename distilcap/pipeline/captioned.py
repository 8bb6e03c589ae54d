"""What a captioner says of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distilcap.data.captions import Caption
from distilcap.errors import DistilCapError
from distilcap.runtime.calibration import mean_log_prob

__all__ = ["Captioned", "WrittenCaption"]


@dataclass(frozen=True)
class WrittenCaption(Caption):
    """A caption that a captioner wrote; a `CaptionSet` may hold it like any other.

    Attributes:
        words: as the captioner's tokenizer has them.
        log_prob: log-probability of the tokens, in nats.
        tokens: how many: the words, and the end token where the caption ended by itself.
        confidence: how often such captions are as close to people's captions as people's are to each other
            (see docs/bundle.md), 0 to 1; None of a run, or of a bundle without calibration.
    """

    log_prob: float = 0.0
    words: tuple[str, ...] = ()
    confidence: float | None = None
    tokens: int = 1

    @property
    def word_probability(self) -> float:
        """Geometric mean of the tokens' probabilities, 0 to 1.

        Unlike `log_prob` it can be compared between captions of different lengths.
        """
        return math.exp(mean_log_prob(self.log_prob, self.tokens))


@dataclass(frozen=True)
class Captioned:
    """The captions of an image, or why there are none.

    Attributes:
        image: its path; "image 0" and so on for an image that has none, by its number among those given.
        captions: best first; empty where the image could not be read.
        error: what is wrong with the image; None where it was captioned.
    """

    image: str
    captions: tuple[WrittenCaption, ...]
    error: DistilCapError | None = None

    @property
    def best(self) -> WrittenCaption:
        """The best caption.

        Raises:
            DistilCapError: `error`, where there is no caption.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)  # not that of an earlier reading, which would grow
        return self.captions[0]

    @property
    def text(self) -> str:
        """The best caption's text; raises `error` where there is none."""
        return self.best.text

    @property
    def words(self) -> tuple[str, ...]:
        """The best caption's words; raises `error` where there is none."""
        return self.best.words

    @property
    def log_prob(self) -> float:
        """See `WrittenCaption.log_prob`: the best caption's; raises `error` where there is none."""
        return self.best.log_prob

    @property
    def confidence(self) -> float | None:
        """See `WrittenCaption.confidence`: the best caption's; raises `error` where there is none."""
        return self.best.confidence
