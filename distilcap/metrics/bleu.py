"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as the official COCO toolkit computes them.

The effective reference length is the closest one, the shorter of two; there is no smoothing but the
toolkit's tiny constants, which keep 0 / 0 finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from distilcap.metrics.base import FloatArray, Metric, Words
from distilcap.metrics.ngrams import ORDERS, IntArray, NgramIndex, References, find, split_words

__all__ = ["Bleu"]

_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class _Prepared:
    """Sorted keys image * index.size + n-gram, the most that one reference has of it, all lengths (N, R)."""

    index: NgramIndex
    keys: IntArray
    most: IntArray
    lengths: FloatArray


class Bleu(Metric[_Prepared]):
    """BLEU; statistics (N, 10): candidate length, closest reference length, 4 n-gram totals, 4 matches."""

    name: ClassVar = "bleu"
    keys: ClassVar = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
    tabled: ClassVar = ("bleu_4",)
    seconds: ClassVar = 3e-4
    label: ClassVar = "bleu"

    def settings(self) -> dict[str, str]:
        """How the reference length is chosen."""
        return {"len": "closest"}

    def prepare(self, references: References) -> _Prepared:
        """Find how often each n-gram occurs in the reference that has most of it."""
        index, counts = references.ngrams
        keys = references.image[counts.caption] * index.size + counts.gram
        order = np.lexsort((counts.count, keys))
        keys, most = keys[order], counts.count[order]
        last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        per_image = np.bincount(references.image, minlength=len(references))
        rank = np.arange(len(references.image)) - np.repeat(np.cumsum(per_image) - per_image, per_image)
        lengths = np.full((len(references), int(per_image.max(initial=1))), np.inf)
        lengths[references.image, rank] = counts.lengths
        return _Prepared(index, keys[last], most[last], lengths)

    def statistics(self, candidates: Sequence[Words], prepared: _Prepared) -> FloatArray:
        """Count n-grams, and those that a reference has as often."""
        counts = prepared.index.count(map(split_words, candidates))
        known = counts.gram < prepared.index.size
        image, gram, count = counts.caption[known], counts.gram[known], counts.count[known]
        keys = image * prepared.index.size + gram
        index, present = find(prepared.keys, keys)
        matches = np.minimum(count[present], prepared.most[index[present]])
        correct = np.bincount(
            image[present] * ORDERS + counts.order[gram[present]],
            weights=matches,
            minlength=len(candidates) * ORDERS,
        ).reshape(len(candidates), ORDERS)
        lengths = counts.lengths[:, None].astype(np.float64)
        # Of equally close references the shorter counts: sorting by length first makes argmin take it.
        ordered = np.sort(prepared.lengths, axis=1)
        closest = np.abs(ordered - lengths).argmin(axis=1)
        guesses = np.maximum(lengths - np.arange(ORDERS), 0)
        return np.hstack([lengths, np.take_along_axis(ordered, closest[:, None], axis=1), guesses, correct])

    def pool(self, totals: FloatArray, images: int) -> FloatArray:
        """Geometric mean of the precisions, times the brevity penalty; one formula for image and corpus."""
        length, reference = totals[..., 0:1], totals[..., 1:2]
        guesses, correct = totals[..., 2:6], totals[..., 6:10]
        precisions = np.cumprod((correct + _TINY) / (guesses + _SMALL), axis=-1)
        ratio = (length + _TINY) / (reference + _SMALL)
        brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
        return precisions ** (1 / np.arange(1, ORDERS + 1)) * brevity
