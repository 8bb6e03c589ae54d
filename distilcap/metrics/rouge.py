"""ROUGE-L (Lin 2004) as the official COCO toolkit computes it: beta 1.2, best precision and best recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from distilcap.metrics.base import FloatArray, MeanMetric, Words
from distilcap.metrics.ngrams import References

__all__ = ["RougeL", "longest_common_subsequence"]

_BETA_SQUARED = 1.2**2


def _positions(words: Words) -> dict[str, int]:
    """For each word, the bits of the positions where it stands."""
    bits: dict[str, int] = {}
    for position, word in enumerate(words):
        bits[word] = bits.get(word, 0) | 1 << position
    return bits


def longest_common_subsequence(positions: dict[str, int], length: int, other: Words) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): one addition for each word.

    `positions` gives the bits where each word stands in a caption of `length` words; `other` is the other.
    """
    full = (1 << length) - 1
    row = full
    for word in other:
        matches = positions.get(word)
        if matches:
            both = row & matches
            row = (row + both) | (row - both)
    return length - (row & full).bit_count()


class RougeL(MeanMetric[References]):
    """ROUGE-L's F-measure."""

    name: ClassVar = "rouge_l"
    keys: ClassVar = ("rouge_l",)
    seconds: ClassVar = 3e-4
    label: ClassVar = "rouge-l"

    def settings(self) -> dict[str, str]:
        """The weight of recall."""
        return {"beta": "1.2"}

    def prepare(self, references: References) -> References:
        """Nothing to compute."""
        return references

    def statistics(self, candidates: Sequence[Words], prepared: References) -> FloatArray:
        """Score each image."""
        scores = [self._score(words, captions) for words, captions in zip(candidates, prepared, strict=True)]
        return np.array(scores, dtype=np.float64).reshape(-1, 1)

    @staticmethod
    def _score(candidate: Words, references: Sequence[Words]) -> float:
        # The toolkit sees an empty caption as one empty word.
        candidate = candidate or ("",)
        positions, length = _positions(candidate), len(candidate)
        precision = recall = 0.0
        for reference in references:
            common = longest_common_subsequence(positions, length, reference or ("",))
            precision = max(precision, common / length)
            recall = max(recall, common / (len(reference) or 1))
        if not precision:
            return 0.0
        return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)
