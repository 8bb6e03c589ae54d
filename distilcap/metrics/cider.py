"""CIDEr-D (Vedantam et al. 2015): what the official COCO toolkit calls CIDEr.

Sigma 6, times 10, clipped. "Length" is the number of bigrams, as in the toolkit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from distilcap.errors import ConfigError
from distilcap.metrics.base import FloatArray, MeanMetric, Words
from distilcap.metrics.frequencies import END_WORD, DocumentFrequencies
from distilcap.metrics.ngrams import ORDERS, Counts, IntArray, NgramIndex, References, find, split_words

__all__ = ["SIGMA", "CiderD"]

SIGMA = 6.0


@dataclass(frozen=True)
class _Prepared:
    """The references' weights.

    Attributes:
        index: numbers the references' n-grams, and all of the document frequencies' if these were given.
        references: their counts; E entries.
        image: (R,) the image of each reference.
        weights: (E,) tf-idf weight of each entry.
        norms: (R, ORDERS).
        idf: (G,) of each known n-gram.
        unknown_idf: of any other.
        per_image: (N,) references of each image.
    """

    index: NgramIndex
    references: Counts
    image: IntArray
    weights: FloatArray
    norms: FloatArray
    idf: FloatArray
    unknown_idf: float
    per_image: IntArray


class CiderD(MeanMetric[_Prepared]):
    """CIDEr-D.

    Args:
        frequencies: document frequencies of a corpus; None counts them in the references (the official way).
        end: append an end token to candidates and references, as the self-critical reward does.
    """

    name: ClassVar = "cider"
    keys: ClassVar = ("cider",)
    label: ClassVar = "cider-d"

    def __init__(self, frequencies: DocumentFrequencies | None = None, end: bool = False) -> None:
        if frequencies and frequencies.end != end:
            raise ConfigError(
                f"`end` is {end}, but the document frequencies {frequencies.name!r} were counted with "
                f"`end` {frequencies.end}: count them again with the same."
            )
        self.frequencies = frequencies
        self.end = end

    def settings(self) -> dict[str, str]:
        """Where document frequencies come from, and whether the end token counts."""
        return {"df": self.frequencies.name if self.frequencies else "test", "end": str(int(self.end))}

    def prepare(self, references: References) -> _Prepared:
        """Weigh the references' n-grams."""
        if self.end:
            references = References([[*words, END_WORD] for words in captions] for captions in references)
        index, counts = references.ngrams
        image = references.image
        if self.frequencies is None:
            documents = float(len(references))
            pairs = np.unique(image[counts.caption] * index.size + counts.gram)
            frequency = np.bincount(pairs % max(index.size, 1), minlength=index.size).astype(np.float64)
        else:
            documents = float(self.frequencies.images)
            frequency = self._look_up(counts)
        idf = np.log(max(documents, 1.0)) - np.log(np.maximum(frequency, 1.0))
        weights = counts.count * idf[counts.gram]
        return _Prepared(
            index=index,
            references=counts,
            image=image,
            weights=weights,
            norms=_norms(counts, weights),
            idf=idf,
            unknown_idf=float(np.log(max(documents, 1.0))),
            per_image=np.bincount(image, minlength=len(references)),
        )

    def _look_up(self, counts: Counts, first: int = 0) -> FloatArray:
        """Return the document frequencies of the n-grams from id `first` on."""
        assert self.frequencies is not None
        known = self.frequencies.counts
        return np.array(
            [known.get(counts.text(gram), 1) for gram in range(first, len(counts.order))], dtype=np.float64
        )

    def statistics(self, candidates: Sequence[Words], prepared: _Prepared) -> FloatArray:
        """Score each image (equations 1, 2 and 5 of the paper)."""
        if self.end:
            candidates = [[*words, END_WORD] for words in candidates]
        size = prepared.index.size
        counts = prepared.index.count(map(split_words, candidates))
        if self.frequencies is None:
            unknown = np.full(len(counts.order) - size, prepared.unknown_idf)
        else:
            unknown = prepared.unknown_idf - np.log(np.maximum(self._look_up(counts, size), 1.0))
        weights = counts.count * np.append(prepared.idf, unknown)[counts.gram]
        norms = _norms(counts, weights)
        known = counts.gram < size
        keys = counts.caption[known] * size + counts.gram[known]

        # For every n-gram of every reference, its weight in the candidate of the same image.
        references = prepared.references
        wanted = prepared.image[references.caption] * size + references.gram
        index, shared = find(keys, wanted)
        in_candidate, in_reference = weights[known][index[shared]], prepared.weights[shared]
        products = np.bincount(
            references.caption[shared] * ORDERS + references.order[references.gram[shared]],
            weights=np.minimum(in_candidate, in_reference) * in_reference,
            minlength=len(prepared.image) * ORDERS,
        ).reshape(-1, ORDERS)
        scale = norms[prepared.image] * prepared.norms
        # A `bincount` of nothing gives integers.
        products = products.astype(np.float64, copy=False)
        similarity = np.divide(products, scale, out=products, where=scale != 0).mean(axis=1)
        bigrams = np.maximum(counts.lengths[prepared.image] - 1, 0) - np.maximum(references.lengths - 1, 0)
        similarity *= np.exp(-(bigrams**2) / (2 * SIGMA**2))
        sums = np.bincount(prepared.image, weights=similarity, minlength=len(candidates))
        return (10 * sums / prepared.per_image).reshape(-1, 1)


def _norms(counts: Counts, weights: FloatArray) -> FloatArray:
    """Return (C, ORDERS) Euclidean norms of each caption's weights."""
    rows = counts.caption * ORDERS + counts.order[counts.gram]
    squares = np.bincount(rows, weights=weights**2, minlength=len(counts.lengths) * ORDERS)
    return np.sqrt(squares).reshape(-1, ORDERS)
