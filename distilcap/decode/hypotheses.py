"""What every decoder returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distilcap.text.vocabulary import Vocabulary

__all__ = ["Hypotheses"]


@dataclass(frozen=True)
class Hypotheses:
    """K captions of each of B images.

    Attributes:
        tokens: (B, K, T) ids without the begin token; the end token is included where a caption ended
            within T words, and pads follow it.
        log_probs: (B, K) log-probability of each caption, its end token included, in nats.
    """

    tokens: Tensor
    log_probs: Tensor

    def texts(self, vocabulary: Vocabulary) -> list[list[str]]:
        """The captions of each image as strings."""
        return [[vocabulary.decode(one) for one in several] for several in self.tokens.tolist()]
