"""N-grams of many captions at once, as integers.

A caption's words become ids, an n-gram of order n the rank of (its first n - 1 words' rank, its last word).
Everything is exact for any number of distinct words, and vectorised over all captions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ORDERS", "Counts", "IntArray", "count_ngrams"]

ORDERS = 4
"""N-grams of 1 to 4 words: BLEU-4 and CIDEr."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """How often each n-gram occurs in each caption; E entries, sorted by caption, then n-gram.

    Attributes:
        caption: (E,) the caption's row.
        gram: (E,) the n-gram's id, dense over all orders.
        count: (E,) how often it occurs, at least 1.
        order: (G,) the number of words, less one, of each of the G n-grams.
        lengths: (C,) words of each caption.
    """

    caption: IntArray
    gram: IntArray
    count: IntArray
    order: IntArray
    lengths: IntArray


def _flatten(captions: Iterable[Sequence[str]]) -> tuple[IntArray, IntArray]:
    """Return the word ids of all captions in a row, and each caption's number of words."""
    ids: dict[str, int] = {}
    words: list[int] = []
    lengths: list[int] = []
    for caption in captions:
        words += [ids.setdefault(word, len(ids)) for word in caption]
        lengths.append(len(caption))
    return np.array(words, dtype=np.int64), np.array(lengths, dtype=np.int64)


def count_ngrams(captions: Iterable[Sequence[str]]) -> Counts:
    """Count the n-grams of 1 to `ORDERS` words of each caption; of any iterable of C captions."""
    words, lengths = _flatten(captions)
    caption = np.repeat(np.arange(len(lengths)), lengths)
    # How many words follow each place within its caption: an n-gram of order n starts where n - 1 do.
    following = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words)) - 1
    starts = np.arange(len(words))
    ranks = np.zeros(len(words), dtype=np.int64)
    vocabulary = int(words.max(initial=0)) + 1
    captions_of, grams_of, orders = [], [], []
    total = 0
    for order in range(ORDERS):
        kept = following[starts] >= order
        starts, ranks = starts[kept], ranks[kept]
        distinct, ranks = np.unique(ranks * vocabulary + words[starts + order], return_inverse=True)
        captions_of.append(caption[starts])
        grams_of.append(ranks + total)
        orders.append(np.full(len(distinct), order))
        total += len(distinct)
    keys, counts = np.unique(
        np.concatenate(captions_of) * max(total, 1) + np.concatenate(grams_of), return_counts=True
    )
    return Counts(
        caption=keys // max(total, 1),
        gram=keys % max(total, 1),
        count=counts.astype(np.int64),
        order=np.concatenate(orders),
        lengths=lengths,
    )
