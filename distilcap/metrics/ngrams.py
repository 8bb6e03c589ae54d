"""N-grams of many captions at once, as integers.

A word becomes an id; an n-gram becomes the rank of (the rank of its first n - 1 words, its last word). So
everything is exact for any number of distinct words, and vectorised over all captions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__all__ = ["ORDERS", "Counts", "IntArray", "NgramIndex", "References", "find", "split_words"]

ORDERS = 4
"""N-grams of 1 to 4 words: BLEU-4 and CIDEr."""

IntArray = npt.NDArray[np.int64]

_WORD_BITS = 31


@dataclass(frozen=True)
class Counts:
    """How often each n-gram occurs in each of C captions; E entries, sorted by caption, then n-gram.

    Attributes:
        caption: (E,) the caption's row.
        gram: (E,) the n-gram's id; below the index's `size` if the index knows it.
        count: (E,) how often it occurs, at least 1.
        order: (G,) the number of words, less one, of the n-gram of each id.
        lengths: (C,) words of each caption.
        words: all captions' words in a row.
        start: (G,) where in `words` the n-gram of each id can be read; 0 if only the index knows it.
    """

    caption: IntArray
    gram: IntArray
    count: IntArray
    order: IntArray
    lengths: IntArray
    words: list[str]
    start: IntArray

    def text(self, gram: int) -> str:
        """The words of an n-gram that occurs in these captions, joined with spaces."""
        start = int(self.start[gram])
        return " ".join(self.words[start : start + int(self.order[gram]) + 1])


@dataclass(frozen=True)
class NgramIndex:
    """The n-grams of some captions (the references), numbered.

    Attributes:
        words: each word's id.
        tables: for each order, the sorted keys of its n-grams; a key's index is the n-gram's rank.
    """

    words: dict[str, int]
    tables: tuple[IntArray, ...]

    @property
    def size(self) -> int:
        """How many n-grams it knows."""
        return sum(map(len, self.tables))

    @staticmethod
    def build(captions: Iterable[Sequence[str]]) -> tuple[NgramIndex, Counts]:
        """Number the n-grams of these captions, and count them."""
        nothing = NgramIndex({}, (np.zeros(0, dtype=np.int64),) * ORDERS)
        ids: dict[str, int] = {}
        counts, tables = nothing._count(captions, ids)
        return NgramIndex(ids, tables), counts

    def count(self, captions: Iterable[Sequence[str]]) -> Counts:
        """Count the n-grams of other captions; those that the index does not know get ids from `size` on."""
        return self._count(captions, {})[0]

    def _count(
        self, captions: Iterable[Sequence[str]], new_ids: dict[str, int]
    ) -> tuple[Counts, tuple[IntArray, ...]]:
        """Count, and return for each order the sorted keys that the index does not know."""
        rows = list(captions)
        all_words = list(chain.from_iterable(rows))
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        known, base = self.words, len(self.words)
        words = np.array(
            [
                known[word] if word in known else new_ids.setdefault(word, base + len(new_ids))
                for word in all_words
            ],
            dtype=np.int64,
        )
        caption = np.repeat(np.arange(len(lengths)), lengths)
        # How many words follow each position within its caption: an n-gram of n words starts where n - 1 do.
        following = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words)) - 1
        starts, ranks = np.arange(len(words)), np.zeros(len(words), dtype=np.int64)
        offset, size = 0, self.size
        captions_of, grams_of, unknown_tables = [], [], []
        orders = [np.repeat(np.arange(ORDERS), [len(table) for table in self.tables])]
        first = [np.zeros(size, dtype=np.int64)]
        for order, table in enumerate(self.tables):
            kept = following[starts] >= order
            starts, ranks = starts[kept], ranks[kept]
            keys = (ranks << _WORD_BITS) | words[starts + order]
            index_in_table, known_here = find(table, keys)
            distinct, index, inverse = np.unique(keys[~known_here], return_index=True, return_inverse=True)
            ranks = index_in_table
            ranks[~known_here] = len(table) + inverse
            grams = index_in_table + offset
            grams[~known_here] = size + inverse
            captions_of.append(caption[starts])
            grams_of.append(grams)
            orders.append(np.full(len(distinct), order))
            first.append(starts[~known_here][index])
            unknown_tables.append(distinct)
            offset, size = offset + len(table), size + len(distinct)
        keys, counts = np.unique(
            np.concatenate(captions_of) * max(size, 1) + np.concatenate(grams_of), return_counts=True
        )
        gram = keys % max(size, 1)
        return (
            Counts(
                caption=keys // max(size, 1),
                gram=gram,
                count=counts.astype(np.int64),
                order=np.concatenate(orders),
                lengths=lengths,
                words=all_words,
                start=np.concatenate(first),
            ),
            tuple(unknown_tables),
        )


class References(Sequence[Sequence[Sequence[str]]]):
    """The references' words, by image; n-grams are counted once, when a metric first asks."""

    def __init__(self, images: Iterable[Sequence[Sequence[str]]]) -> None:
        self._images = tuple(images)

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, at: int) -> Sequence[Sequence[str]]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Sequence[Sequence[str]]]: ...
    def __getitem__(self, at: int | slice) -> Sequence[Any]:
        return self._images[at]

    @cached_property
    def image(self) -> IntArray:
        """The image of each reference, for all references in a row."""
        return np.repeat(np.arange(len(self)), [len(captions) for captions in self._images])

    @cached_property
    def ngrams(self) -> tuple[NgramIndex, Counts]:
        """The index and counts of all references in a row."""
        return NgramIndex.build(split_words(words) for captions in self._images for words in captions)


def find(table: npt.NDArray[Any], keys: npt.NDArray[Any]) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return each key's index in a sorted table, and whether it is there; the index is 0 where it is not."""
    if not len(table):
        return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.bool_)
    index = np.searchsorted(table, keys)
    index[index == len(table)] = 0
    return index, table[index] == keys


def split_words(words: Sequence[str]) -> list[str]:
    """Split again at any Unicode space, as the official BLEU and CIDEr do (ROUGE-L does not).

    The tokenizer keeps a no-break space inside a fraction such as "1 1/2".
    """
    return " ".join(words).split()
