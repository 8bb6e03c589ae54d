"""METEOR 1.5 in Python (Banerjee & Lavie 2005; Denkowski & Lavie 2011, 2014): the COCO scorer's fifth column.

Written from the papers and measured against the official program. Words, stems, synonyms and paraphrases
of all captions are numbers, and all alignments of some thousand pairs grow at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distilcap.errors import MissingError
from distilcap.metrics.base import FloatArray, Metric, Words
from distilcap.metrics.meteor.alignment import align
from distilcap.metrics.meteor.lexicon import Lexicon, Texts
from distilcap.metrics.meteor.matching import Spans, find_matches
from distilcap.metrics.meteor.phrases import ParaphraseTable, load_paraphrases
from distilcap.metrics.meteor.resources import find_data, find_stemmer, load_word_lists
from distilcap.metrics.meteor.score import (
    CHUNKS,
    LENGTHS,
    MATCHED,
    STAGES,
    STATISTICS,
    forgive_whole,
    pool_meteor,
)
from distilcap.metrics.ngrams import IntArray

__all__ = ["Meteor", "PreparedMeteor"]

_IMAGES_AT_ONCE = 500
"""Bounds the memory; more are no faster."""


@dataclass(frozen=True)
class PreparedMeteor:
    """What depends on the references of N images only.

    Attributes:
        lexicon: has numbered their words.
        texts: all references in a row.
        image: (R,) the image of each reference.
        spans: the paraphrase table's phrases in them.
        table: all paraphrases.
    """

    lexicon: Lexicon
    texts: Texts
    image: IntArray
    spans: Spans
    table: ParaphraseTable


class Meteor(Metric[PreparedMeteor]):
    """METEOR 1.5 of English; an image's score is that of its best reference.

    Args:
        home: the folder of the compact table of paraphrases; None takes the user's cache folder.
    """

    name = "meteor"
    keys = ("meteor",)
    seconds = 4e-3
    label = "meteor-1.5"
    english_only = True

    def __init__(self, home: Path | None = None) -> None:
        self._home = home

    def settings(self) -> dict[str, str]:
        """The language, METEOR's own normalisation, and whose program."""
        return {"lang": "en", "norm": "1", "by": "python"}

    def unavailable(self) -> str | None:
        """Why not: its data or its stemmer are not installed."""
        try:
            find_data()
            find_stemmer()
        except MissingError as error:
            return str(error)
        return None

    def prepare(self, references: Sequence[Sequence[Words]]) -> PreparedMeteor:
        """Number the references' words and find their phrases."""
        archive, paraphrases = find_data()
        lexicon = Lexicon(load_word_lists(archive), find_stemmer())
        table = load_paraphrases(paraphrases, self._home)
        texts = lexicon.number(words for captions in references for words in captions)
        image = np.repeat(np.arange(len(references)), [len(captions) for captions in references])
        return PreparedMeteor(lexicon, texts, image, Spans.find(texts, lexicon, table), table)

    def statistics(self, candidates: Sequence[Words], prepared: PreparedMeteor) -> FloatArray:
        """Return the 23 statistics of each image's best reference."""
        lexicon, known = prepared.lexicon, prepared.spans
        texts = lexicon.number(candidates)
        spans = Spans.find(texts, lexicon, prepared.table)
        table, phrases = prepared.table.within(np.concatenate([spans.phrase, known.phrase]))
        spans, known = (
            replace(side, phrase=part)
            for side, part in zip((spans, known), np.split(phrases, [len(spans.phrase)]), strict=True)
        )
        best = [np.zeros((0, STATISTICS))]
        for first in range(0, len(candidates), _IMAGES_AT_ONCE):
            last = min(first + _IMAGES_AT_ONCE, len(candidates))
            start, end = np.searchsorted(prepared.image, [first, last])
            image = prepared.image[start:end] - first
            ours, theirs = texts.part(first, last), prepared.texts.part(start, end)
            parts = spans.part(first, last), known.part(start, end)
            rows = _pair_statistics(ours, theirs, image, lexicon, parts, table)
            order = np.lexsort((-pool_meteor(rows)[:, 0], image))
            best.append(rows[order[np.searchsorted(image, np.arange(last - first))]])
        return np.concatenate(best)

    def pool(self, totals: FloatArray, images: int) -> FloatArray:
        """See `pool_meteor`."""
        return pool_meteor(totals)


def _pair_statistics(
    candidates: Texts,
    references: Texts,
    image: IntArray,
    lexicon: Lexicon,
    spans: tuple[Spans, Spans],
    table: ParaphraseTable,
) -> FloatArray:
    """Align each of P references with the candidate of its image and count: (P, 23)."""
    lengths = candidates.lengths[image], references.lengths
    matches = find_matches(candidates, references, image, lexicon, spans, table)
    aligned = align(matches, *lengths)
    matches = aligned.matches
    rows = np.zeros((len(image), STATISTICS))
    sides = (
        (candidates.starts[image], candidates, matches.candidate, matches.candidate_words),
        (references.starts[:-1], references, matches.reference, matches.reference_words),
    )
    for side, (starts, texts, start, words) in enumerate(sides):
        function = np.concatenate([[0], np.cumsum(lexicon.function[texts.words])])
        begin = starts[matches.pair] + start
        functions = function[begin + words] - function[begin]
        rows[:, LENGTHS + side] = lengths[side]
        rows[:, LENGTHS + 2 + side] = function[starts + lengths[side]] - function[starts]
        columns = STAGES + 4 * matches.stage + side
        np.add.at(rows, (matches.pair, columns), words - functions)
        np.add.at(rows, (matches.pair, columns + 2), functions)
        rows[:, MATCHED + side] = np.bincount(matches.pair, words, len(rows))
    rows[:, CHUNKS] = aligned.chunks
    return forgive_whole(rows)
