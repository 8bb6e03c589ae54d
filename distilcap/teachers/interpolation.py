"""Sequence-level interpolation: of a teacher's n-best captions, the closest to the references.

Kim & Rush 2016, section 3.3: the student learns what the teacher finds likely and people nearly wrote.
"""

from __future__ import annotations

import numpy as np

from distilcap.data.captions import Caption, CaptionSet
from distilcap.errors import ConfigError
from distilcap.metrics import evaluate
from distilcap.metrics.base import FloatArray
from distilcap.metrics.evaluation import OFFICIAL

__all__ = ["MEASURES", "closest_to_references"]

MEASURES = ("bleu", "cider")


def closest_to_references(
    hypotheses: CaptionSet, references: CaptionSet, measure: str, tokenizer: str = OFFICIAL
) -> CaptionSet:
    """Keep the caption of each image that is nearest to its references; of equally near, the likeliest.

    Args:
        hypotheses: the n-best captions of each image, best first.
        references: of the same images; an image without any keeps its first hypothesis.
        measure: "bleu" is sentence BLEU-4 with one added to matches and totals of bigrams and longer (Lin &
            Och 2004), as sentences seldom share four words; "cider" is CIDEr-D, its document frequencies
            counted in `references`.
        tokenizer: see `metrics.evaluate`.

    Raises:
        ConfigError: an unknown measure.
    """
    if measure not in MEASURES:
        raise ConfigError(f"`measure` must be one of {', '.join(MEASURES)}, but is {measure!r}.")
    known = [image_id for image_id in hypotheses if references.get(image_id)]
    if not known:
        return hypotheses.top(1)
    own = references.only(known)
    ranks = max(len(hypotheses[image_id]) for image_id in known)
    nearness = np.stack(
        [_nearness(_of_rank(hypotheses, known, rank), own, measure, tokenizer) for rank in range(ranks)]
    )
    best = dict(zip(known, nearness.argmax(axis=0).tolist(), strict=True))
    chosen: dict[str, tuple[Caption, ...]] = {}
    for image_id, captions in hypotheses.items():
        # A rank beyond an image's last caption repeats it, which never wins over the caption itself.
        chosen[image_id] = (captions[min(best.get(image_id, 0), len(captions) - 1)],)
    return CaptionSet(chosen)


def _of_rank(hypotheses: CaptionSet, ids: list[str], rank: int) -> CaptionSet:
    return CaptionSet({id: (hypotheses[id][min(rank, len(hypotheses[id]) - 1)],) for id in ids})


def _nearness(candidates: CaptionSet, references: CaptionSet, measure: str, tokenizer: str) -> FloatArray:
    """One number an image, in the references' order."""
    scores = evaluate(candidates, references, [measure], tokenizer, reasons=False)
    score = scores["bleu_4" if measure == "bleu" else measure]
    assert score.statistics is not None
    if measure == "cider":
        return score.statistics[:, 0]
    length, closest = score.statistics[:, 0], score.statistics[:, 1]
    guesses, matches = score.statistics[:, 2:6], score.statistics[:, 6:10]
    added = np.array([0.0, 1.0, 1.0, 1.0])
    precisions = (matches + added) / np.maximum(guesses + added, 1e-9)
    brevity = np.minimum(0.0, 1 - closest / np.maximum(length, 1e-9))
    return np.asarray(np.exp(brevity + np.log(np.maximum(precisions, 1e-9)).mean(axis=1)))
