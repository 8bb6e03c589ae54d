"""Words as numbers, with all that METEOR asks of a word: stem, function word, synonyms, hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distilcap.metrics.meteor.normalize import normalize
from distilcap.metrics.meteor.phrases import Hashes, hash_words
from distilcap.metrics.meteor.resources import WordLists
from distilcap.metrics.ngrams import IntArray, find

__all__ = ["Lexicon", "Texts", "spread"]


@dataclass(frozen=True)
class Texts:
    """C texts in a row, words as numbers.

    Attributes:
        words: (W,) the words' numbers.
        starts: (C + 1,) where each text begins; the last is W.
    """

    words: IntArray
    starts: IntArray

    @property
    def lengths(self) -> IntArray:
        """(C,) words of each text."""
        return np.diff(self.starts)

    def part(self, first: int, last: int) -> Texts:
        """Texts `first` to `last` - 1."""
        starts = self.starts[first : last + 1]
        return Texts(self.words[starts[0] : starts[-1]], starts - starts[0])


class Lexicon:
    """Numbers words as they come, and knows their stems, synonyms and hashes."""

    def __init__(self, lists: WordLists, stem: Callable[[str], str]) -> None:
        self._lists = lists
        self._stem = stem
        self._numbers: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        self._by_sense: dict[str, list[int]] = {}
        self._synonyms: set[tuple[int, int]] = set()
        self.stems = np.zeros(0, np.int64)
        self.function = np.zeros(0, np.bool_)
        self.hashes: Hashes = np.zeros(0, np.uint64)
        self.shifts: Hashes = np.zeros(0, np.uint64)
        self._pairs = np.zeros(0, np.int64)

    def number(self, captions: Iterable[Sequence[str]]) -> Texts:
        """Normalise captions and number their words."""
        rows = [normalize(" ".join(words), self._lists.abbreviations) for words in captions]
        known = self._numbers
        before = len(known)
        words = [known.setdefault(word, len(known)) for row in rows for word in row]
        self._learn(list(known)[before:], before)
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        return Texts(np.array(words, dtype=np.int64), starts)

    def synonyms(self, left: IntArray, right: IntArray) -> npt.NDArray[np.bool_]:
        """Whether the words share a sense, for pairs of different words."""
        return find(self._pairs, left << 32 | right)[1]

    def _learn(self, words: Sequence[str], first: int) -> None:
        if not words:
            return
        stems = [self._stems.setdefault(self._stem(word), len(self._stems)) for word in words]
        self.stems = np.append(self.stems, stems)
        self.function = np.append(self.function, [word in self._lists.function for word in words])
        hashes, shifts = hash_words(words)
        self.hashes, self.shifts = np.append(self.hashes, hashes), np.append(self.shifts, shifts)
        for number, word in enumerate(words, first):
            for sense in self._lists.senses(word):
                same = self._by_sense.setdefault(sense, [])
                self._synonyms.update((number, other) for other in same)
                same.append(number)
        pairs = np.array(list(self._synonyms), dtype=np.int64).reshape(-1, 2)
        self._pairs = np.sort(np.concatenate([pairs @ [1 << 32, 1], pairs @ [1, 1 << 32]]))


def spread(counts: IntArray) -> IntArray:
    """Count from 0 within each group: [2, 3] gives [0, 1, 0, 1, 2]."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
