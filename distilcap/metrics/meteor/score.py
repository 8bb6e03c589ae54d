"""METEOR's score from its 23 statistics (Denkowski & Lavie 2011, section 2; parameters: 2014, table 1)."""

from __future__ import annotations

from typing import Final

import numpy as np

from distilcap.metrics.base import FloatArray

__all__ = ["CHUNKS", "LENGTHS", "MATCHED", "STAGES", "STATISTICS", "forgive_whole", "pool_meteor"]

# English, tuned on rankings by people.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Of exact, stem, synonym and paraphrase matches."""

STATISTICS: Final = 23
LENGTHS: Final = 0
"""Columns 0 to 3: words of the candidate and of the reference; function words of both."""
STAGES: Final = 4
"""4 to 19: by each matcher, matched content words of candidate and reference, then function words of both."""
CHUNKS: Final = 20
MATCHED: Final = 21
"""21 and 22: matched words of the candidate and of the reference."""


def forgive_whole(rows: FloatArray) -> FloatArray:
    """Count no chunk where a single chunk covers candidate and reference wholly: it is no fragmentation.

    The papers do not say so; the official program does it, in each image's row of statistics.
    """
    whole = (rows[:, CHUNKS] == 1) & np.all(rows[:, MATCHED:] == rows[:, LENGTHS : LENGTHS + 2], axis=1)
    forgiven = rows.copy()
    forgiven[whole, CHUNKS] = 0
    return forgiven


def pool_meteor(totals: FloatArray) -> FloatArray:
    """METEOR (…, 1) of summed statistics (…, 23).

    F = P R / (alpha P + (1 - alpha) R), penalty = gamma (chunks / matches) ** beta, score = (1 - penalty) F,
    content words weighted delta, function words 1 - delta.
    """
    lengths, stages = (
        totals[..., LENGTHS:STAGES],
        totals[..., STAGES:CHUNKS].reshape(*totals.shape[:-1], 4, 4),
    )

    def ratio(side: int) -> FloatArray:
        words, function = lengths[..., side], lengths[..., 2 + side]
        matched = DELTA * stages[..., side] + (1 - DELTA) * stages[..., 2 + side]
        full = DELTA * (words - function) + (1 - DELTA) * function
        share: FloatArray = np.divide(matched @ WEIGHTS, full, out=np.zeros_like(full), where=full > 0)
        return share

    precision, recall = ratio(0), ratio(1)
    below = ALPHA * precision + (1 - ALPHA) * recall
    f_mean = np.divide(precision * recall, below, out=np.zeros_like(below), where=below > 0)
    chunks, matches = totals[..., CHUNKS], totals[..., MATCHED:].mean(axis=-1)
    fragments = np.divide(chunks, matches, out=np.zeros_like(chunks), where=matches > 0)
    return np.asarray(((1 - GAMMA * fragments**BETA) * f_mean)[..., None], dtype=np.float64)
