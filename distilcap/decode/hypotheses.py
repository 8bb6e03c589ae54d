"""What every decoder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from distilcap.errors import DataError
from distilcap.models.captioner import Captioner
from distilcap.models.finite import broken_images, broken_weight, named
from distilcap.shapes import Regions
from distilcap.shown import some
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
        return [[vocabulary.decode(tokens) for tokens in beam] for beam in self.tokens.tolist()]

    def or_error(self, captioner: Captioner, regions: Regions, ids: Sequence[str] = ()) -> Hypotheses:
        """These hypotheses, if the best of each image has a log-probability that is a number.

        Args:
            captioner: which wrote them. regions: of the images, which it read.
            ids: of the images, for the error; without them, their numbers in the batch.

        Raises:
            DataError: NaN or infinity; it names the images, or the weight that holds it.
        """
        wrong = ~self.log_probs[:, 0].isfinite() | self.log_probs.isnan().any(dim=1)
        if not wrong.any():
            return self
        if weight := broken_weight(captioner):
            raise DataError(
                f"The captioner's weight `{weight}` holds NaN or infinity: it is damaged or its training "
                "diverged; train it again, or copy it anew."
            )
        if images := broken_images(regions, ids):
            raise DataError(f"The features of image {some(images)} hold NaN or infinity; extract them again.")
        raise DataError(f"The captioner gives NaN or infinity for image {some(named(wrong, ids))}.")
