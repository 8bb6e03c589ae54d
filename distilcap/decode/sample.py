"""Multinomial sampling: captions drawn from the model's own distribution."""

from __future__ import annotations

import torch

from distilcap.decode.hypotheses import Hypotheses, forbidden_tokens
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, take_images
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["sample"]


@torch.no_grad()
def sample(
    captioner: Captioner,
    regions: Regions,
    captions: int,
    max_words: int = 20,
    temperature: float = 1.0,
    allow_unk: bool = True,
    generator: torch.Generator | None = None,
) -> Hypotheses:
    """Draw `captions` captions (K) of each image, keeping no graph.

    The log-probabilities are those of the distribution drawn from: at temperature 1 with `<unk>` allowed,
    the model's own but for pad and begin tokens, which are never drawn.
    """
    if captions < 1:
        raise ConfigError(f"`captions` must be at least 1, but is {captions}.")
    if temperature <= 0:
        raise ConfigError(f"`temperature` must be above 0, but is {temperature}.")
    memory = captioner.encode(regions)
    state = captioner.initial_state(memory, captions)
    images, device = len(regions), regions.features.device
    penalty = forbidden_tokens(captioner.vocabulary_size, allow_unk, device)
    tokens = torch.full((images, captions, max_words), PAD, device=device)
    log_probs = torch.zeros(images, captions, device=device)
    active = torch.arange(images, device=device)
    last = torch.full((images, captions), BOS, device=device)
    for length in range(max_words):
        logits, state = captioner.step(last, state, memory)
        log_p = ((logits + penalty) / temperature).log_softmax(dim=-1)
        words = torch.multinomial(log_p.exp().flatten(0, 1), 1, generator=generator).view_as(last)
        chosen = log_p.gather(-1, words[..., None])[..., 0]
        finished = (last == EOS) | (last == PAD)
        last = words.masked_fill(finished, PAD)
        tokens[active, :, length] = last
        log_probs[active] += chosen.masked_fill(finished, 0.0)
        going = ~((last == EOS) | (last == PAD)).all(dim=1)
        if not going.all():
            active, last = active[going], last[going]
            state, memory = take_images(state, going), take_images(memory, going)
            if not len(active):
                break
    return Hypotheses(tokens, log_probs)
