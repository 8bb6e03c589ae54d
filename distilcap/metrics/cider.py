"""CIDEr-D (Vedantam et al. 2015): what the official COCO toolkit calls CIDEr.

Sigma 6, times 10, clipped. "Length" is the number of bigrams, as in the toolkit. `WeightedReferences` takes
counted n-grams, whatever their words are: strings here, token ids in `reward.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from distilcap.errors import ConfigError
from distilcap.metrics.base import FloatArray, MeanMetric, Words
from distilcap.metrics.frequencies import END_WORD, DocumentFrequencies
from distilcap.metrics.ngrams import ORDERS, Counts, IntArray, NgramIndex, References, find, split_words

__all__ = ["CiderD", "Entries", "WeightedReferences"]

_SIGMA = 6.0


@dataclass(frozen=True)
class Entries:
    """The distinct n-grams of each of C captions; E entries, sorted by caption, then n-gram.

    Attributes:
        caption: (E,) the caption's row.
        gram: (E,) the n-gram's id, 0 to G - 1; G is any n-gram that no reference has.
        count: (E,) how often it occurs.
        order: (E,) its number of words, less one.
        lengths: (C,) words of each caption.
    """

    caption: IntArray
    gram: IntArray
    count: IntArray
    order: IntArray
    lengths: IntArray

    @property
    def bigrams(self) -> IntArray:
        """(C,) how many each caption has."""
        return np.maximum(self.lengths - 1, 0)

    def norms(self, weights: FloatArray) -> FloatArray:
        """(C, ORDERS) Euclidean norms of the captions' vectors, given each entry's tf-idf weight."""
        cells = self.caption * ORDERS + self.order
        squares = _sums(cells, weights**2, len(self.lengths) * ORDERS)
        return np.sqrt(squares).reshape(-1, ORDERS)


@dataclass(frozen=True)
class WeightedReferences:
    """The n-grams of N images' references, at most K of each, and their weights.

    Memory: about 1 kB an image of 5 references, and 8 bytes a distinct n-gram.

    Attributes:
        idf: (G + 1,) of each n-gram; the last is that of any other.
        grams: (D,) the distinct n-grams of each image, sorted, image by image.
        starts: (N + 1,) where each image's begin.
        counts: (D, K) how often each reference has them.
        norms: (K, N, ORDERS) of the references' tf-idf vectors; 0 where an image has fewer than K.
        bigrams: (K, N) of each reference.
        per_image: (N,) references of each image.
    """

    idf: FloatArray
    grams: npt.NDArray[np.int32]
    starts: IntArray
    counts: npt.NDArray[np.integer]
    norms: FloatArray
    bigrams: IntArray
    per_image: IntArray

    @staticmethod
    def of(
        entries: Entries, per_image: IntArray, size: int, documents: int, frequency: FloatArray | None = None
    ) -> WeightedReferences:
        """Weigh the n-grams of all references in a row.

        Args:
            entries: of the references.
            per_image: (N,) references of each image.
            size: G, distinct n-grams.
            documents: how many images the document frequencies were counted in.
            frequency: (G,) in how many images each n-gram occurs; None counts these images.
        """
        image = np.repeat(np.arange(len(per_image)), per_image)
        column = np.arange(len(image)) - (np.cumsum(per_image) - per_image)[image]
        pairs, inverse = np.unique(image[entries.caption] * size + entries.gram, return_inverse=True)
        grams = pairs % max(size, 1)
        columns = int(per_image.max(initial=0))
        counts = np.zeros((len(pairs), columns), dtype=np.min_scalar_type(int(entries.count.max(initial=1))))
        counts[inverse, column[entries.caption]] = entries.count
        if frequency is None:
            frequency = np.bincount(grams, minlength=size).astype(np.float64)
        idf = np.log(max(documents, 1)) - np.log(np.maximum(np.append(frequency, 1.0), 1.0))
        norms = np.zeros((columns, len(per_image), ORDERS))
        norms[column, image] = entries.norms(entries.count * idf[entries.gram])
        bigrams = np.zeros((columns, len(per_image)), dtype=np.int64)
        bigrams[column, image] = entries.bigrams
        starts = np.searchsorted(pairs, np.arange(len(per_image) + 1) * size)
        return WeightedReferences(idf, grams.astype(np.int32), starts, counts, norms, bigrams, per_image)

    def score(self, images: IntArray, candidates: Entries, idf: FloatArray) -> FloatArray:
        """Score C candidates, equally many of each of B images (equations 1, 2 and 5 of the paper).

        Args:
            images: (B,) rows of the images.
            candidates: entries of the first image's candidates, then the second's and so on.
            idf: (E,) of each entry.

        Returns:
            (C,) scores from 0 to 10.
        """
        captions = len(candidates.lengths)
        each = captions // max(len(images), 1)
        # Where each n-gram of a candidate stands among its image's: B short tables, one after another.
        stride = len(self.idf)
        sizes = self.starts[images + 1] - self.starts[images]
        rows = np.repeat(self.starts[images] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        table = np.repeat(np.arange(len(images)) * stride, sizes) + self.grams[rows]
        places, found = find(table, candidates.caption // max(each, 1) * stride + candidates.gram)
        hits = np.flatnonzero(found)

        weights = candidates.count * idf
        in_references = self.counts[rows[places[hits]]] * idf[hits, None]
        products = np.minimum(weights[hits, None], in_references) * in_references
        columns = self.counts.shape[1]
        cells = (candidates.caption[hits] * ORDERS + candidates.order[hits])[:, None]
        cells = cells + np.arange(columns) * (captions * ORDERS)
        sums = _sums(cells.ravel(), products.ravel(), columns * captions * ORDERS)

        image = np.repeat(images, each)
        scale = candidates.norms(weights) * self.norms[:, image]
        sums = sums.reshape(scale.shape)
        similarity = np.divide(sums, scale, out=sums, where=scale != 0).mean(axis=2)
        similarity *= np.exp(-((candidates.bigrams - self.bigrams[:, image]) ** 2) / (2 * _SIGMA**2))
        return np.asarray(10 * similarity.sum(axis=0) / self.per_image[image])


def _sums(cells: IntArray, values: FloatArray, size: int) -> FloatArray:
    # A `bincount` of nothing gives integers.
    return np.bincount(cells, weights=values, minlength=size).astype(np.float64, copy=False)


@dataclass(frozen=True)
class _Prepared:
    """The references, and the index that numbers their n-grams."""

    index: NgramIndex
    references: WeightedReferences


class CiderD(MeanMetric[_Prepared]):
    """CIDEr-D.

    Args:
        frequencies: document frequencies of a corpus; None counts them in the references (the official way).
        end: append an end token to candidates and references, as the self-critical reward does.
    """

    name: ClassVar = "cider"
    keys: ClassVar = ("cider",)
    headings: ClassVar = {"cider": "CIDEr-D"}
    seconds: ClassVar = 4e-4
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
        return {"df": self.frequencies.label if self.frequencies else "test", "end": str(int(self.end))}

    def prepare(self, references: References) -> _Prepared:
        """Weigh the references' n-grams."""
        if self.end:
            references = References([[*words, END_WORD] for words in captions] for captions in references)
        index, counts = references.ngrams
        per_image = np.bincount(references.image, minlength=len(references))
        if self.frequencies is None:
            documents, frequency = len(references), None
        else:
            documents, frequency = self.frequencies.images, self._look_up(counts)
        entries = _entries(counts, index.size)
        return _Prepared(index, WeightedReferences.of(entries, per_image, index.size, documents, frequency))

    def _look_up(self, counts: Counts, first: int = 0) -> FloatArray:
        """Return the document frequencies of the n-grams from id `first` on."""
        assert self.frequencies is not None
        known = self.frequencies.counts
        return np.array(
            [known.get(counts.text(gram), 1) for gram in range(first, len(counts.order))], dtype=np.float64
        )

    def statistics(self, candidates: Sequence[Words], prepared: _Prepared) -> FloatArray:
        """Score each image."""
        if self.end:
            candidates = [[*words, END_WORD] for words in candidates]
        size, references = prepared.index.size, prepared.references
        counts = prepared.index.count(map(split_words, candidates))
        idf = np.append(references.idf[:-1], np.full(len(counts.order) - size, references.idf[-1]))
        if self.frequencies is not None:
            idf[size:] -= np.log(np.maximum(self._look_up(counts, size), 1.0))
        images = np.arange(len(candidates))
        return references.score(images, _entries(counts, size), idf[counts.gram]).reshape(-1, 1)


def _entries(counts: Counts, size: int) -> Entries:
    gram = np.minimum(counts.gram, size)
    return Entries(counts.caption, gram, counts.count, counts.order[counts.gram], counts.lengths)
