"""How good a captioner is meanwhile: CIDEr of the validation images."""

from __future__ import annotations

import torch
from torch import nn

from distilcap.data.captions import CaptionSet
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import RegionSource
from distilcap.metrics.evaluation import evaluate, scoring_tokenizer
from distilcap.models.captioner import Captioner
from distilcap.text.vocabulary import Vocabulary
from distilcap.training.options import EXTRA_WORDS, TrainingOptions
from distilcap.training.processes import Processes
from distilcap.training.shares import caption_together

__all__ = ["validate"]


def validate(
    captioner: Captioner,
    vocabulary: Vocabulary,
    source: RegionSource,
    references: CaptionSet,
    options: TrainingOptions,
    processes: Processes,
) -> tuple[float, list[float]]:
    """CIDEr, and that of each image; the first process scores, and all get the result.

    The random state stays as it is: a run that is validated less often is the same run.
    """
    ids = tuple(references)[: options.validation_images or None]
    state = torch.get_rng_state()
    search = BeamSearch(options.validation_beam, options.max_words + EXTRA_WORDS, precision=options.precision)
    if isinstance(source, nn.Module):
        source.eval()
    captions = caption_together(processes, captioner, vocabulary, source, ids, search)
    if isinstance(source, nn.Module):
        source.train()
    torch.set_rng_state(state)
    if not processes.first:
        return processes.agree((0.0, []))
    tokenizer = scoring_tokenizer(vocabulary.tokenizer)
    cider = evaluate(captions, references.only(ids), ["cider"], tokenizer, reasons=False)["cider"]
    return processes.agree((cider.value, list(cider.per_image.values())))
