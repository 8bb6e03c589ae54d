"""CIDEr-D of token ids: the reward of self-critical training (Rennie et al. 2017).

The references are turned into arrays once; a call makes no Python object per n-gram, and nothing grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from distilcap.errors import ConfigError, DataError
from distilcap.metrics.base import FloatArray
from distilcap.metrics.cider import SIGMA
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.metrics.ngrams import ORDERS, IntArray, find
from distilcap.text.vocabulary import EOS, PAD

__all__ = ["CiderReward"]

_BITS = 16
_LARGEST = 2**_BITS - 2
_NOTHING = np.uint64(2**64 - 1)
_CHUNK = 2000
_Keys = npt.NDArray[np.uint64]


class CiderReward:
    """CIDEr-D of sampled captions against cached references.

    With `end`, an end token closes every reference and counts as a word. It counts in a sample that has it:
    a sample that was cut before its end is worth less, as it should be. Without the end token, truncated
    captions are rewarded (by up to 4 points).

    Memory: about 1 kB an image of 5 references, and 16 bytes a distinct n-gram.

    Args:
        references: token ids of each image's references, without begin and end tokens.
        frequencies: document frequencies of token ids; None counts them in `references`.
        end: whether the end token counts.

    Raises:
        ConfigError: a token above 65,533, or frequencies that were counted with another `end`.
        DataError: an image without references, or no image.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[Sequence[int]]],
        frequencies: DocumentFrequencies | None = None,
        end: bool = True,
    ) -> None:
        if not references:
            raise DataError("the references are empty: there is nothing to reward.")
        for image_id, captions in references.items():
            if not captions:
                raise DataError(f"image {image_id!r} has no references.")
        if frequencies and frequencies.end != end:
            raise ConfigError(
                f"`end` is {end}, but the document frequencies {frequencies.name!r} were counted with "
                f"`end` {frequencies.end}: count them again with the same."
            )
        self._end = end
        self._rows = {image_id: row for row, image_id in enumerate(references)}
        self._per_image = np.array([len(captions) for captions in references.values()], dtype=np.int64)

        # Each image's distinct n-grams, and how often each of its references has them.
        image, position, keys, count, lengths = self._count_references(references)
        given = _keys_of(frequencies) if frequencies else {}
        self._table = np.union1d(keys, np.array(list(given), dtype=np.uint64))
        gram = np.searchsorted(self._table, keys)
        size = len(self._table)
        distinct, inverse = np.unique(image * size + gram, return_inverse=True)
        shape = (len(references), int(self._per_image.max()))
        self._grams = (distinct % size).astype(np.int32)
        self._starts = np.searchsorted(distinct, np.arange(len(references) + 1) * size)
        self._counts = np.zeros(
            (len(distinct), shape[1]), dtype=np.min_scalar_type(int(count.max(initial=1)))
        )
        self._counts[inverse, position] = count

        if frequencies:
            self._documents = float(frequencies.images)
            index, found = find(self._table, np.array(list(given), dtype=np.uint64))
            frequency = np.ones(size)
            frequency[index[found]] = np.array(list(given.values()), dtype=np.float64)[found]
        else:
            self._documents = float(len(references))
            frequency = np.bincount(self._grams, minlength=size).astype(np.float64)
        self._idf = np.log(self._documents) - np.log(np.maximum(frequency, 1.0))

        self._lengths = np.zeros(shape)
        rows, columns = self._positions()
        self._lengths[rows, columns] = lengths
        norms = np.zeros((*shape, ORDERS))
        np.add.at(norms, (image, position, _order_of(keys)), (count * self._idf[gram]) ** 2)
        self._norms = np.sqrt(norms)

    def _positions(self) -> tuple[IntArray, IntArray]:
        """Return image, and position within it, of all references in a row."""
        image = np.repeat(np.arange(len(self._per_image)), self._per_image)
        firsts = np.repeat(np.cumsum(self._per_image) - self._per_image, self._per_image)
        return image, np.arange(len(image)) - firsts

    def _count_references(
        self, references: Mapping[str, Sequence[Sequence[int]]]
    ) -> tuple[IntArray, IntArray, _Keys, IntArray, IntArray]:
        """Image, position, n-gram and count of every distinct n-gram of every reference, and lengths."""
        ending = [EOS] if self._end else []
        captions = [
            [*caption, *ending] for image_captions in references.values() for caption in image_captions
        ]
        image, position = self._positions()
        counted = []
        for start in range(0, len(captions), _CHUNK):
            chunk = captions[start : start + _CHUNK]
            lengths = np.array([len(caption) for caption in chunk])
            tokens = np.zeros((len(chunk), int(lengths.max(initial=1))), dtype=np.int64)
            tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = [
                id for caption in chunk for id in caption
            ]
            if tokens.max(initial=0) > _LARGEST - 1 or tokens.min(initial=0) < 0:
                raise ConfigError(f"token ids must be 0 to {_LARGEST - 1} for the reward.")
            row, keys, count = _count(_ngram_keys(tokens, lengths))
            counted.append((row + start, keys, count))
        row = np.concatenate([rows for rows, _, _ in counted])
        return (
            image[row],
            position[row],
            np.concatenate([keys for _, keys, _ in counted]),
            np.concatenate([count for _, _, count in counted]),
            np.array([max(len(caption) - 1, 0) for caption in captions]),
        )

    def __call__(self, image_ids: Sequence[str], samples: npt.NDArray[np.integer]) -> FloatArray:
        """Score K samples of each of B images.

        Args:
            image_ids: B ids.
            samples: (B, K, T) token ids; what follows the first end or pad token is not looked at.

        Returns:
            (B, K) rewards from 0 to 10.

        Raises:
            DataError: an image has no references.
        """
        images, samples_each, width = samples.shape
        assert len(image_ids) == images, (len(image_ids), samples.shape)
        try:
            rows = np.array([self._rows[image_id] for image_id in image_ids], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"image {error.args[0]!r} has no references for the reward.") from None
        tokens = samples.reshape(images * samples_each, width).astype(np.int64)
        lengths = self._lengths_of(tokens)
        caption, keys, count = _count(_ngram_keys(tokens, lengths))
        order = _order_of(keys)
        index, known = find(self._table, keys)
        weights = count * np.where(known, self._idf[index], np.log(self._documents))
        norms = np.sqrt(_sums(caption * ORDERS + order, weights**2, len(tokens) * ORDERS))
        norms = norms.reshape(-1, 1, ORDERS)

        # Where each n-gram of a sample stands among its image's: B short tables, one after another.
        size = len(self._table)
        counts = self._starts[rows + 1] - self._starts[rows]
        wanted = np.repeat(self._starts[rows] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        table = np.repeat(np.arange(images) * size, counts) + self._grams[wanted]
        image = caption // samples_each
        at, found = find(table, image * size + index)
        hits = np.flatnonzero(found & known)
        idf = self._idf[index[hits], None]
        in_references = self._counts[wanted[at[hits]]] * idf
        products = np.minimum(weights[hits, None], in_references) * in_references

        references = self._counts.shape[1]
        cells = (caption[hits] * ORDERS + order[hits])[:, None] + np.arange(references) * len(norms) * ORDERS
        sums = _sums(cells.ravel(), products.ravel(), references * len(norms) * ORDERS)
        similarity = sums.reshape(references, len(norms), ORDERS).transpose(1, 0, 2)
        image_row = np.repeat(rows, samples_each)
        scale = norms * self._norms[image_row]
        similarity = np.divide(similarity, scale, out=np.zeros_like(scale), where=scale != 0).mean(axis=2)
        bigrams = np.maximum(lengths - 1, 0)[:, None] - self._lengths[image_row]
        similarity *= np.exp(-(bigrams**2) / (2 * SIGMA**2))
        rewards = 10 * similarity.sum(axis=1) / self._per_image[image_row]
        return np.asarray(rewards.reshape(images, samples_each), dtype=np.float64)

    def _lengths_of(self, tokens: IntArray) -> IntArray:
        """Return how many tokens of each row count; the end token is one of them if `end`."""
        stops = (tokens == EOS) | (tokens == PAD)
        stopped = stops.any(axis=1)
        first: IntArray = np.where(stopped, stops.argmax(axis=1), tokens.shape[1])
        if not self._end:
            return first
        ended = stopped & (tokens[np.arange(len(tokens)), np.minimum(first, tokens.shape[1] - 1)] == EOS)
        return np.asarray(first + ended, dtype=np.int64)


def _sums(cells: IntArray, values: FloatArray, size: int) -> FloatArray:
    return np.bincount(cells, weights=values, minlength=size).astype(np.float64, copy=False)


def _ngram_keys(tokens: IntArray, lengths: IntArray) -> _Keys:
    """Pack the n-grams of (C, T) tokens into sorted rows of integers; `_NOTHING` fills up.

    Four ids of 16 bits, plus one so that 0 is no token, the first token lowest. So an n-gram of more words
    has a greater key.
    """
    captions, width = tokens.shape
    ids = (tokens + 1).astype(np.uint64)
    packed, parts = ids, []
    for order in range(min(ORDERS, width)):
        if order:
            packed = packed[:, :-1] | ids[:, order:] << np.uint64(order * _BITS)
        inside = np.arange(width - order) < (lengths - order)[:, None]
        parts.append(np.where(inside, packed, _NOTHING))
    keys = np.concatenate(parts, axis=1) if parts else np.zeros((captions, 0), dtype=np.uint64)
    keys.sort(axis=1)
    return keys


def _order_of(keys: _Keys) -> IntArray:
    """Return the number of words, less one, of packed n-grams."""
    orders = np.zeros(len(keys), dtype=np.int64)
    for order in range(1, ORDERS):
        orders += keys >= np.uint64(1 << order * _BITS)
    return orders


def _count(keys: _Keys) -> tuple[IntArray, _Keys, IntArray]:
    """Return row, n-gram and count of each distinct n-gram of sorted rows of keys."""
    real = keys != _NOTHING
    first = real.copy()
    first[:, 1:] &= keys[:, 1:] != keys[:, :-1]
    row, column = np.nonzero(first)
    # A run ends where the next of the same row begins, or with the row.
    ends = np.count_nonzero(real, axis=1)[row]
    same = row[1:] == row[:-1]
    ends[:-1][same] = column[1:][same]
    return row, keys[row, column], ends - column


def _keys_of(frequencies: DocumentFrequencies) -> dict[int, int]:
    """Pack the n-grams of token ids of document frequencies."""
    return dict(_packed(frequencies))


def _packed(frequencies: DocumentFrequencies) -> Iterator[tuple[int, int]]:
    for ngram, count in frequencies.counts.items():
        try:
            yield sum(int(id) + 1 << order * _BITS for order, id in enumerate(ngram.split())), count
        except ValueError:
            raise ConfigError(
                f"the document frequencies {frequencies.name!r} are of words ({ngram!r}), but the reward "
                "needs those of token ids: `distilcap metrics df … --vocabulary …` counts them."
            ) from None
