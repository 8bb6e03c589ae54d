"""CIDEr-D of token ids: the reward of self-critical training (Rennie et al. 2017).

The references are counted and weighed once; a call makes no Python object per n-gram, and nothing grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from distilcap.errors import ConfigError, DataError
from distilcap.metrics.base import FloatArray
from distilcap.metrics.cider import Entries, WeightedReferences
from distilcap.metrics.ngrams import ORDERS, IntArray, find
from distilcap.text.vocabulary import EOS, PAD

__all__ = ["CiderReward"]

_BITS = 16
_LARGEST = 2**_BITS - 2
_NOTHING = np.uint64(2**64 - 1)
_CHUNK = 2000
_Keys = npt.NDArray[np.uint64]


class CiderReward:
    """CIDEr-D of sampled captions against cached references, whose document frequencies it takes.

    An end token closes every reference and counts as a word. It counts in a sample that has one: a sample
    that was cut before its end is worth less, as it should be. Without the end token, truncated captions
    would be rewarded (by up to 4 points).

    Args:
        references: token ids of each image's references, without begin and end tokens.

    Raises:
        ConfigError: a token above 65,533.
        DataError: an image without references, or no image.
    """

    def __init__(self, references: Mapping[str, Sequence[Sequence[int]]]) -> None:
        if not references:
            raise DataError("the references are empty: there is nothing to reward.")
        for image_id, captions in references.items():
            if not captions:
                raise DataError(f"image {image_id!r} has no references.")
        self._rows = {image_id: row for row, image_id in enumerate(references)}
        per_image = np.array([len(captions) for captions in references.values()], dtype=np.int64)
        ended = [[*caption, EOS] for captions in references.values() for caption in captions]
        lengths = np.array([len(words) for words in ended])
        caption, keys, count = _count_all(ended)
        order = _order_of(keys)
        self._table, gram = np.unique(keys, return_inverse=True)
        del keys, ended  # of COCO's 566,000 captions 23 million, and as many words
        entries = Entries(caption, gram, count, order, lengths)
        self._references = WeightedReferences.of(entries, per_image, len(self._table), len(references))

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
        images, each, width = samples.shape
        assert len(image_ids) == images, (len(image_ids), samples.shape)
        try:
            rows = np.array([self._rows[image_id] for image_id in image_ids], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"image {error.args[0]!r} has no references for the reward.") from None
        tokens = samples.reshape(images * each, width).astype(np.int64)
        lengths = _lengths_of(tokens)
        caption, keys, count = _count(_ngram_keys(tokens, lengths))
        places, known = find(self._table, keys)
        gram = np.where(known, places, len(self._table))
        entries = Entries(caption, gram, count, _order_of(keys), lengths)
        return self._references.score(rows, entries, self._references.idf[gram]).reshape(images, each)


def _lengths_of(tokens: IntArray) -> IntArray:
    """Return how many tokens of each row count; the end token is one of them."""
    stops = (tokens == EOS) | (tokens == PAD)
    stopped = stops.any(axis=1)
    first: IntArray = np.where(stopped, stops.argmax(axis=1), tokens.shape[1])
    ended = stopped & (tokens[np.arange(len(tokens)), np.minimum(first, tokens.shape[1] - 1)] == EOS)
    return np.asarray(first + ended, dtype=np.int64)


def _count_all(captions: Sequence[Sequence[int]]) -> tuple[IntArray, _Keys, IntArray]:
    """Return what `_count_captions` does, part by part; the parts are gone afterwards."""
    starts = range(0, len(captions), _CHUNK)
    counted = [_count_captions(captions[start : start + _CHUNK], start) for start in starts]
    caption, keys, count = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    return caption, keys, count


def _count_captions(captions: Sequence[Sequence[int]], first: int) -> tuple[IntArray, _Keys, IntArray]:
    """Return row (from `first` on), n-gram and count of each distinct n-gram of each caption."""
    lengths = np.array([len(caption) for caption in captions])
    tokens = np.zeros((len(captions), int(lengths.max())), dtype=np.int64)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = [id for caption in captions for id in caption]
    if tokens.max() > _LARGEST - 1 or tokens.min() < 0:
        raise ConfigError(f"token ids must be 0 to {_LARGEST - 1} for the reward.")
    row, keys, count = _count(_ngram_keys(tokens, lengths))
    return row + first, keys, count


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
