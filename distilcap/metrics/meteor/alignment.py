"""Which words of a candidate are matched with which of a reference: a beam search over many pairs at once.

The published criteria (Denkowski & Lavie 2011, section 2.1) are, in this order: each word is in at most one
match; as many words as possible are matched; in as few chunks as possible; with the smallest sum of distances
between the starts of matches. "Alignment resolution is conducted as a beam search." What the papers leave
open was measured with the official program on made-up captions (`tests/metrics/meteor`):

* Matches that share no word with another are fixed. All others are considered from left to right over the
  reference, and the 40 best partial alignments are kept at each position.
* A matched word of an exact match counts 1; of another match of n words, these count floor(n / 2) together.
* A chunk counts once it has ended, which orders partial alignments.
* The distance of a possible match is charged to the alternatives considered after it (another match at
  the same position, or none), not to the match itself.
* Of equals, the first considered stays first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from distilcap.metrics.meteor.lexicon import spread
from distilcap.metrics.ngrams import IntArray

__all__ = ["BEAM", "Alignments", "Matches", "align"]

BEAM: Final = 40
"""Partial alignments kept, the official program's default."""

_BITS: Final = 63


@dataclass(frozen=True)
class Matches:
    """M possible matches of P pairs of a candidate and a reference.

    Sorted by pair, start in the reference, and the order in which they are considered there.

    Attributes:
        pair: (M,) the pair's number.
        reference: (M,) start in the reference.
        reference_words: (M,) how many words of it are matched.
        candidate: (M,) start in the candidate.
        candidate_words: (M,) how many words of it are matched.
        stage: (M,) 0 exact, 1 stem, 2 synonym, 3 paraphrase.
    """

    pair: IntArray
    reference: IntArray
    reference_words: IntArray
    candidate: IntArray
    candidate_words: IntArray
    stage: IntArray

    def __getitem__(self, rows: npt.NDArray[Any]) -> Matches:
        return Matches(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def worth(self) -> IntArray:
        """(M,) what each adds to the words matched."""
        halves = self.reference_words // 2 + self.candidate_words // 2
        return np.where(self.stage == 0, 2, halves)


@dataclass(frozen=True)
class Alignments:
    """The best alignment of each of P pairs: which matches it takes, and its chunks, (P,)."""

    matches: Matches
    chunks: IntArray


@dataclass
class _Paths:
    """Partial alignments, sorted by pair and then best first.

    Attributes:
        pair: the pair's number.
        worth: words matched.
        chunks: chunks that have ended.
        distance: of the alternatives passed over.
        used: bits of the candidate's words that are matched.
        reference_end: end of the last match in the reference.
        candidate_end: end of the last match in the candidate while its chunk may go on, else -1.
    """

    pair: IntArray
    worth: IntArray
    chunks: IntArray
    distance: IntArray
    used: npt.NDArray[Any]
    reference_end: IntArray
    candidate_end: IntArray

    @staticmethod
    def begin(pairs: int, bits: npt.DTypeLike) -> _Paths:
        zero = np.zeros(pairs, np.int64)
        return _Paths(np.arange(pairs), zero, zero, zero, zero.astype(bits), zero, zero - 1)

    def __getitem__(self, rows: npt.NDArray[Any]) -> _Paths:
        return _Paths(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def align(matches: Matches, candidate_lengths: IntArray, reference_lengths: IntArray) -> Alignments:
    """Align P pairs whose captions have these many words, (P,) each."""
    pairs = len(reference_lengths)
    # Python's own integers hold the bits of longer candidates: slower, but of any size.
    bits = np.int64 if candidate_lengths.max(initial=0) <= _BITS else object
    search = _Search(matches, candidate_lengths, reference_lengths, bits)
    paths = _Paths.begin(pairs, bits)
    history: list[tuple[IntArray, IntArray]] = []
    for position in range(int(reference_lengths.max(initial=0)) + 1):
        paths, parent, taken = search.step(paths, position)
        history.append((parent, taken))
    assert len(paths.pair) == pairs
    rows, chosen = np.arange(pairs), [np.zeros(0, np.int64)]
    for parent, taken in reversed(history):
        chosen.append(taken[rows])
        rows = parent[rows]
    kept = np.concatenate(chosen)
    return Alignments(matches[np.sort(kept[kept >= 0])], paths.chunks)


class _Search:
    """What stays the same from position to position."""

    def __init__(
        self,
        matches: Matches,
        candidate_lengths: IntArray,
        reference_lengths: IntArray,
        bits: npt.DTypeLike,
    ) -> None:
        self.matches = matches
        self.lengths = reference_lengths
        self.worth = matches.worth
        self.distance = np.abs(matches.reference - matches.candidate)
        widths = matches.candidate_words.astype(bits)
        self.mask = ((np.ones_like(widths) << widths) - 1) << matches.candidate.astype(bits)
        # One position beyond each reference's end, where the last chunk ends and nothing can be matched.
        self.offsets = np.cumsum(reference_lengths + 1) - (reference_lengths + 1)
        positions = self.offsets[matches.pair] + matches.reference
        self.counts = np.bincount(positions, minlength=int((reference_lengths + 1).sum()))
        self.firsts = np.cumsum(self.counts) - self.counts
        candidate_offsets = np.cumsum(candidate_lengths) - candidate_lengths
        fixed = _alone(positions, matches.reference_words) & _alone(
            candidate_offsets[matches.pair] + matches.candidate, matches.candidate_words
        )
        self.forced = np.zeros(len(self.counts), np.bool_)
        self.forced[positions[fixed]] = True

    def step(self, paths: _Paths, position: int) -> tuple[_Paths, IntArray, IntArray]:
        """Extend paths by each match at `position`, or none; return the best, their parents and matches."""
        within = position <= self.lengths[paths.pair]
        at = self.offsets[paths.pair] + np.where(within, position, 0)
        free = within & (paths.reference_end <= position)
        counts = np.where(free, self.counts[at], 0)
        parent = np.repeat(np.arange(len(counts)), counts + 1)
        slot = spread(counts + 1)
        none = slot == counts[parent]
        taken = np.where(none, -1, self.firsts[at][parent] + slot)
        # A path without a match here: it passes by, unless the only match is fixed.
        possible = none & ~(free & self.forced[at])[parent]
        some = np.flatnonzero(~none)
        clear = (paths.used[parent[some]] & self.mask[taken[some]]) == 0
        possible[some[clear.astype(np.bool_)]] = True
        charge = np.zeros(len(parent), np.int64)
        some = some[possible[some]]
        charge[some] = self.distance[taken[some]]
        before = np.cumsum(charge) - charge
        before -= before[np.flatnonzero(slot == 0)][parent]

        kept = np.flatnonzero(possible)
        parent, taken, before = parent[kept], taken[kept], before[kept]
        new = paths[parent]
        new.distance = new.distance + before
        row = np.flatnonzero(taken >= 0)
        match = taken[row]
        is_open = new.candidate_end >= 0
        ends = is_open & free[parent]
        ends[row] = is_open[row] & (new.candidate_end[row] != self.matches.candidate[match])
        new.chunks = new.chunks + ends
        new.candidate_end = np.where(free[parent], -1, new.candidate_end)
        new.candidate_end[row] = self.matches.candidate[match] + self.matches.candidate_words[match]
        new.reference_end[row] = position + self.matches.reference_words[match]
        new.worth[row] += self.worth[match]
        new.used[row] |= self.mask[match]
        order = self._best(new, position)
        return new[order], parent[order], taken[order]

    def _best(self, paths: _Paths, position: int) -> IntArray:
        """Sort within pairs, keeping the first of equals; keep `BEAM` of each, or 1 where all is matched."""
        order = np.lexsort((paths.distance, paths.chunks, -paths.worth, paths.pair))
        pair = paths.pair[order]
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        rank = np.arange(len(pair)) - np.repeat(first, np.diff(first, append=len(pair)))
        return order[rank < np.where(self.lengths[pair] <= position, 1, BEAM)]


def _alone(starts: IntArray, lengths: IntArray) -> npt.NDArray[np.bool_]:
    """Which spans of positions share none of them with another span."""
    positions = np.repeat(starts, lengths) + spread(lengths)
    covered = np.concatenate([[0], np.cumsum(np.bincount(positions))])
    alone: npt.NDArray[np.bool_] = covered[starts + lengths] - covered[starts] == lengths
    return alone
