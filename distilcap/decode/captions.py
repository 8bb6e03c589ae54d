"""Captions of many images: decoding a whole split into a `CaptionSet`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import torch

from distilcap.data.captions import Caption, CaptionSet
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.models.captioner import Captioner
from distilcap.models.fast.products import searches_share_weights
from distilcap.progress import SILENT, Progress
from distilcap.record_log import RecordLog
from distilcap.shapes import Regions
from distilcap.text.tokenizers import PTB, tokenizer_of
from distilcap.text.vocabulary import Vocabulary

__all__ = ["RegionSource", "caption_images", "rank_captions"]


class RegionSource(Protocol):
    """Where the regions of images come from: a `FeatureStore`, or an encoder that reads their files."""

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """The regions of the named images, in that order."""


@torch.no_grad()
@searches_share_weights()
def caption_images(
    captioner: Captioner,
    vocabulary: Vocabulary,
    source: RegionSource,
    ids: Sequence[str],
    options: BeamSearch,
    *,
    n_best: int = 1,
    batch_images: int = 64,
    progress: Progress = SILENT,
    description: str = "Captioning",
    log: Path | None = None,
) -> CaptionSet:
    """Caption images by beam search, each with its `n_best` captions (at most the beam's width), best first.

    Dropout is off meanwhile; the captioner's mode is restored.

    Args:
        log: keeps the captions of each batch, so that a killed job goes on after the last one; the caller
            deletes it when they are safe.

    Raises:
        DataError: features, weights or log-probabilities are NaN or infinite; it names images or the weight.
    """
    device = next(captioner.parameters()).device
    options = dataclasses.replace(options, keep=min(n_best, options.beam_size))
    was_training = captioner.training
    captioner.eval()
    batches = [ids[start : start + batch_images] for start in range(0, len(ids), batch_images)]
    header = {"job": "captions", "images": len(ids), "batch_images": batch_images}
    with nullcontext() if log is None else RecordLog(log, header, progress) as kept:
        found: list[dict[str, list[tuple[str, float]]]] = list(kept.records) if kept else []
        for batch in progress.track(batches[len(found) :], description, len(batches), len(found)):
            hypotheses = beam_search(captioner, source.regions_of(batch).to(device), options, batch)
            texts, log_probs = hypotheses.texts(vocabulary), hypotheses.log_probs.tolist()
            found.append(
                {
                    image_id: list(zip(*of_image, strict=True))
                    for image_id, *of_image in zip(batch, texts, log_probs, strict=True)
                }
            )
            if kept:
                kept.append(found[-1])
    captioner.train(was_training)
    return CaptionSet(
        {id: tuple(Caption(*pair) for pair in pairs) for batch in found for id, pairs in batch.items()}
    )


def rank_captions(
    captions: CaptionSet, length_penalty: float, max_words: int, tokenizer: str = PTB
) -> CaptionSet:
    """Order whole beams as a search with this length penalty would have: the same hypotheses, other ranks.

    Args:
        captions: all hypotheses of each image, with their log-probabilities.
        max_words: of the search; a caption of so many words has no end token.
        tokenizer: of the captioner that wrote them.
    """
    written_words = tokenizer_of(tokenizer).written_words

    def rank(caption: Caption) -> float:
        assert caption.log_prob is not None
        length = float(min(len(written_words(caption.text)) + 1, max_words))
        return caption.log_prob / math.pow(length, length_penalty)

    return CaptionSet({id: tuple(sorted(beam, key=rank, reverse=True)) for id, beam in captions.items()})
