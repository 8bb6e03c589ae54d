"""Which words and phrases of two captions could be matched: equal, of one stem, synonyms, paraphrases.

The matchers are those of Meteor 1.3 (Denkowski & Lavie 2011, section 2.1). A phrase of one caption that is
listed as a paraphrase of the other's makes a match; listed both ways, two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from distilcap.metrics.meteor.alignment import Matches
from distilcap.metrics.meteor.lexicon import Lexicon, Texts, spread
from distilcap.metrics.meteor.phrases import LONGEST, Indices, ParaphraseTable, hash_spans
from distilcap.metrics.ngrams import IntArray, find

__all__ = ["EXACT", "PARAPHRASE", "STEM", "SYNONYM", "Spans", "find_matches"]

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)

_LISTED_WITH_REFERENCE: Final = 3
_LISTED_WITH_CANDIDATE: Final = 4
"""Order of paraphrases at a position of the reference, after the other stages."""


@dataclass(frozen=True)
class Spans:
    """The table's phrases that occur in texts, sorted by text, start and number of words.

    Attributes:
        text: (S,) the text's row.
        start: (S,) the first word, counted within the text.
        words: (S,) how many words.
        phrase: (S,) index in the table's `phrases`.
    """

    text: IntArray
    start: IntArray
    words: IntArray
    phrase: IntArray

    @staticmethod
    def find(texts: Texts, lexicon: Lexicon, table: ParaphraseTable) -> Spans:
        """Find all phrases in all texts."""
        hashes, shifts = lexicon.hashes[texts.words], lexicon.shifts[texts.words]
        text = np.repeat(np.arange(len(texts.lengths)), texts.lengths)
        start = spread(texts.lengths)
        left = texts.lengths[text] - start
        parts: list[tuple[IntArray, IntArray, IntArray, IntArray]] = []
        for words in range(1, LONGEST + 1):
            at = np.flatnonzero(left >= words)
            distinct, inverse = np.unique(hash_spans(hashes, shifts, words)[at], return_inverse=True)
            index, known = find(table.phrases, distinct)
            at, phrase = at[known[inverse]], index[inverse][known[inverse]]
            parts.append((text[at], start[at], np.full(len(at), words), phrase))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.lexsort((columns[2], columns[1], columns[0]))
        return Spans(*(column[order] for column in columns))

    def part(self, first: int, last: int) -> Spans:
        """The spans of texts `first` to `last` - 1, counted from 0 on."""
        rows = slice(*np.searchsorted(self.text, [first, last]))
        return Spans(self.text[rows] - first, self.start[rows], self.words[rows], self.phrase[rows])


def find_matches(
    candidates: Texts,
    references: Texts,
    image: IntArray,
    lexicon: Lexicon,
    spans: tuple[Spans, Spans],
    table: ParaphraseTable,
) -> Matches:
    """Find all possible matches of each reference with the candidate of its image.

    Args:
        candidates: of N images.
        references: of P pairs.
        image: (P,) the image of each reference, ascending.
        lexicon: numbered their words.
        spans: the phrases of the candidates and of the references.
        table: with at least the pairs of phrases that occur.
    """
    parts = _word_matches(candidates, references, image, lexicon)
    forward = _Join(spans[0].phrase, spans[1].phrase, table.source, table.target, len(table.phrases))
    backward = _Join(spans[0].phrase, spans[1].phrase, table.target, table.source, len(table.phrases))
    parts.append(_phrase_matches(spans, image, backward, _LISTED_WITH_REFERENCE))
    parts.append(_phrase_matches(spans, image, forward, _LISTED_WITH_CANDIDATE))
    *columns, turn, key = (np.concatenate(column) for column in zip(*parts, strict=True))
    matches = Matches(*columns)
    order = np.lexsort((key, turn, matches.reference, matches.pair))
    return matches[order]


_Part = tuple[IntArray, ...]
"""The six columns of `Matches`; then two keys of the order in which those of a position are considered."""


def _word_matches(candidates: Texts, references: Texts, image: IntArray, lexicon: Lexicon) -> list[_Part]:
    """Compare each word of the candidate with each of the reference; equal words are exact matches only."""
    across, down = candidates.lengths[image], references.lengths
    pair = np.repeat(np.arange(len(across)), across * down)
    down_at, across_at = np.divmod(spread(across * down), np.maximum(across, 1)[pair])
    ours = candidates.words[candidates.starts[image][pair] + across_at]
    theirs = references.words[references.starts[:-1][pair] + down_at]
    equal = ours == theirs
    parts: list[_Part] = []
    for stage, same in (
        (EXACT, equal),
        (STEM, ~equal & (lexicon.stems[ours] == lexicon.stems[theirs])),
        (SYNONYM, ~equal & lexicon.synonyms(ours, theirs)),
    ):
        at = np.flatnonzero(same)
        single, stages = np.ones(len(at), np.int64), np.full(len(at), stage)
        parts.append((pair[at], down_at[at], single, across_at[at], single, stages, stages, across_at[at]))
    return parts


class _Join:
    """The pairs of the table between phrases of candidates and phrases of references, by the candidates'.

    Attributes:
        entry: (E,) the pair's index in the table.
        phrase: (E,) the reference's phrase.
        first: (phrases,) where in `entry` those of each of the candidates' phrases begin.
        count: (phrases,) how many they are.
    """

    def __init__(
        self,
        candidate_phrases: IntArray,
        reference_phrases: IntArray,
        candidate_side: Indices,
        reference_side: Indices,
        phrases: int,
    ) -> None:
        of_candidate, of_reference = np.zeros((2, phrases), np.bool_)
        of_candidate[candidate_phrases] = True
        of_reference[reference_phrases] = True
        entry = np.flatnonzero(of_candidate[candidate_side] & of_reference[reference_side])
        self.entry = entry[np.argsort(candidate_side[entry], kind="stable")]
        self.phrase: Indices = reference_side[self.entry]
        self.count = np.bincount(candidate_side[entry], minlength=phrases)
        self.first = np.cumsum(self.count) - self.count


def _phrase_matches(spans: tuple[Spans, Spans], image: IntArray, join: _Join, turn: int) -> _Part:
    candidate, reference = spans
    # Which phrases the references of each image have, so that few of the possible pairs are looked at.
    present, column = np.unique(reference.phrase, return_inverse=True)
    columns = np.full(len(join.count), -1)
    columns[present] = np.arange(len(present))
    images = int(image.max(initial=-1)) + 1
    has = np.zeros((max(images, int(candidate.text.max(initial=0)) + 1), max(len(present), 1)), np.bool_)
    has[image[reference.text], column] = True
    counts = join.count[candidate.phrase]
    span = np.repeat(np.arange(len(counts)), counts)
    row = join.first[candidate.phrase][span] + spread(counts)
    hit = np.flatnonzero(has[candidate.text[span], columns[join.phrase[row]]])
    span, row = span[hit], row[hit]
    # The references' spans by image and phrase, to find all positions of each hit.
    codes = image[reference.text] * has.shape[1] + column
    order = np.argsort(codes, kind="stable")
    wanted = candidate.text[span] * has.shape[1] + columns[join.phrase[row]]
    first = np.searchsorted(codes[order], wanted)
    counts = np.searchsorted(codes[order], wanted, side="right") - first
    theirs = order[np.repeat(first, counts) + spread(counts)]
    ours, entry = np.repeat(span, counts), join.entry[np.repeat(row, counts)]
    if turn == _LISTED_WITH_REFERENCE:
        key = reference.words[theirs] << 56 | entry << 28 | candidate.start[ours]
    else:
        key = candidate.start[ours] << 40 | candidate.words[ours] << 32 | entry
    return (
        reference.text[theirs],
        reference.start[theirs],
        reference.words[theirs],
        candidate.start[ours],
        candidate.words[ours],
        np.full(len(ours), PARAPHRASE),
        np.full(len(ours), turn),
        key,
    )
