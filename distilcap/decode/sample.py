"""Multinomial sampling: captions drawn from the model's own distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from distilcap.decode.hypotheses import Hypotheses
from distilcap.decode.words import draw_words, forbidden_tokens
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory, take_images
from distilcap.models.likelihood import Odds
from distilcap.models.lstm import exact_type
from distilcap.models.products import steps_share_weights
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["sample", "sample_memory"]

_REGROUP = 0.8
"""Captions are regrouped when fewer than this share of the rows computed are still written."""


@torch.no_grad()
def sample(
    captioner: Captioner,
    regions: Regions,
    captions: int,
    max_words: int = 20,
    temperature: float = 1.0,
    allow_unk: bool = True,
    generator: torch.Generator | None = None,
    ids: Sequence[str] = (),
) -> Hypotheses:
    """Draw `captions` captions (K) of each image, keeping no graph.

    The log-probabilities are those of the distribution drawn from: at temperature 1 with `<unk>` allowed,
    the model's own but for pad and begin tokens, which are never drawn.

    Raises:
        DataError: features, weights or log-probabilities are NaN or infinite; it names images by `ids`.
    """
    memory = captioner.encode(regions)
    hypotheses = sample_memory(captioner, memory, captions, max_words, temperature, allow_unk, generator)
    return hypotheses.or_error(captioner, regions, ids)


@torch.no_grad()
@steps_share_weights()
def sample_memory(
    captioner: Captioner,
    memory: Memory,
    captions: int,
    max_words: int = 20,
    temperature: float = 1.0,
    allow_unk: bool = True,
    generator: torch.Generator | None = None,
    with_best: bool = False,
    odds: Odds | None = None,
) -> Hypotheses:
    """`sample`, from images that are encoded already.

    With `with_best` each image has one caption more, the last: its likeliest word at every step. It costs
    less than a search of its own, for all captions read the weights together. `odds` keeps those of the
    words drawn (at temperature 1; those of the likeliest words excepted).
    """
    if captions < 1:
        raise ConfigError(f"`captions` must be at least 1, but is {captions}.")
    if temperature <= 0:
        raise ConfigError(f"`temperature` must be above 0, but is {temperature}.")
    images, device = len(memory[0]), memory[0].device
    drawn, captions = captions, captions + with_best
    forbidden = forbidden_tokens(allow_unk, device)
    tokens = torch.full((images * captions, max_words), PAD, device=device)
    log_probs = torch.zeros(images * captions, device=device)
    state = captioner.initial_state(memory, captions)
    rows = torch.arange(images * captions, device=device)  # captions still written, (B, K) at first
    last = torch.full((images, captions), BOS, device=device)
    for length in range(max_words):
        logits, state = captioner.step(last, state, memory)
        logits = logits.flatten(0, 1)
        logits = logits.to(exact_type(logits.dtype))
        best = (rows % captions == captions - 1).nonzero()[:, 0] if with_best else None
        if temperature != 1:
            logits.div_(temperature)
        words, chosen = draw_words(logits, generator, best, forbidden)
        finished = ((last == EOS) | (last == PAD)).flatten()
        last = words.masked_fill(finished, PAD).view_as(last)
        tokens[rows, length] = last.flatten()
        log_probs[rows] += chosen.masked_fill(finished, 0.0)
        if odds is not None:
            kept = (~finished & (rows % captions < drawn)).nonzero()[:, 0]
            own = rows[kept]
            odds.keep(logits, kept, (own // captions * drawn + own % captions) * max_words + length)
        going = ((last != EOS) & (last != PAD)).flatten()
        left = int(going.sum())
        if not left:
            break
        # To regroup costs a copy of the memory, so it waits until enough captions have ended.
        if left < _REGROUP * len(rows):
            image = going.nonzero()[:, 0] // last.shape[1]
            rows, last = rows[going], last.flatten()[going][:, None]
            state = tuple(tensor.flatten(0, 1)[going][:, None] for tensor in state)
            memory = take_images(memory, image)
    return Hypotheses(tokens.view(images, captions, -1), log_probs.view(images, captions))
