"""Labels drawn from a teacher instead of searched for."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from distilcap.data.captions import Caption, CaptionSet
from distilcap.decode.captions import RegionSource
from distilcap.decode.sample import sample
from distilcap.models.captioner import Captioner
from distilcap.progress import SILENT, Progress
from distilcap.text.vocabulary import Vocabulary

__all__ = ["draw_captions"]


@torch.no_grad()
def draw_captions(
    captioner: Captioner,
    vocabulary: Vocabulary,
    source: RegionSource,
    ids: Sequence[str],
    *,
    captions: int = 5,
    max_words: int = 20,
    temperature: float = 1.0,
    seed: int = 0,
    batch_images: int = 64,
    progress: Progress = SILENT,
) -> CaptionSet:
    """Draw `captions` captions of each image, likeliest first; below temperature 1 they are less daring.

    The captioner must be in evaluation mode.
    """
    device = next(captioner.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    drawn: dict[str, tuple[Caption, ...]] = {}
    batches = [ids[start : start + batch_images] for start in range(0, len(ids), batch_images)]
    for batch in progress.track(batches, "Drawing captions", len(batches)):
        hypotheses = sample(
            captioner,
            source.regions_of(batch).to(device),
            captions,
            max_words,
            temperature,
            allow_unk=False,
            generator=generator,
            ids=batch,
        )
        texts, log_probs = hypotheses.texts(vocabulary), hypotheses.log_probs.tolist()
        for image_id, written, scores in zip(batch, texts, log_probs, strict=True):
            pairs = sorted(zip(written, scores, strict=True), key=lambda pair: -pair[1])
            drawn[image_id] = tuple(Caption(text, log_prob) for text, log_prob in pairs)
    return CaptionSet(drawn)
