"""How varied captions are: distillation narrows them, and no score of quality shows it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from distilcap.data.captions import CaptionSet
from distilcap.text.tokenizers import PTB, tokenizer_of

__all__ = ["Diversity", "measure_diversity"]


@dataclass(frozen=True)
class Diversity:
    """Of the first caption of each image.

    Attributes:
        mean_length: words a caption.
        distinct_1: different words by all words (Li et al. 2016); it falls as captions grow in number.
        distinct_2: the same of word pairs.
        vocabulary: different words.
        distinct_captions: different captions by all captions.
        novel: share of captions that are not in the training set; None without a training set.
    """

    mean_length: float
    distinct_1: float
    distinct_2: float
    vocabulary: int
    distinct_captions: float
    novel: float | None


def measure_diversity(
    candidates: CaptionSet, training: CaptionSet | None = None, tokenizer: str = PTB
) -> Diversity:
    """Measure the captions' length and variety.

    Args:
        candidates: at least one image.
        training: the captions that the model was trained on.
        tokenizer: of the captions; see `text.tokenizers`.
    """
    tokenize = tokenizer_of(tokenizer).words
    captions = [tuple(tokenize(beam[0].text)) for beam in candidates.values()]
    words = [word for caption in captions for word in caption]
    pairs = [pair for caption in captions for pair in pairwise(caption)]
    novel = None
    if training is not None:
        known = {tuple(tokenize(text)) for image_id in training for text in training.texts(image_id)}
        novel = sum(caption not in known for caption in captions) / len(captions)
    return Diversity(
        mean_length=len(words) / len(captions),
        distinct_1=len(set(words)) / max(len(words), 1),
        distinct_2=len(set(pairs)) / max(len(pairs), 1),
        vocabulary=len(set(words)),
        distinct_captions=len(set(captions)) / len(captions),
        novel=novel,
    )
