"""Multinomial sampling: captions drawn from the model's own distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distilcap.decode.beam import forbidden_tokens
from distilcap.decode.hypotheses import Hypotheses
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory
from distilcap.models.fast.lstm import exact_type
from distilcap.models.fast.sampling import Uniform, by_chance, draw
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["sample", "sample_memory"]


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

    def uniform(rows: Tensor) -> Tensor:
        return torch.rand(len(rows), generator=generator, device=rows.device)

    memory = captioner.encode(regions)
    hypotheses = sample_memory(captioner, memory, captions, max_words, temperature, allow_unk, uniform)
    return hypotheses.or_error(captioner, regions, ids)


@torch.no_grad()
def sample_memory(
    captioner: Captioner,
    memory: Memory,
    captions: int,
    max_words: int = 20,
    temperature: float = 1.0,
    allow_unk: bool = True,
    uniform: Uniform = by_chance,
) -> Hypotheses:
    """`sample`, from images that are encoded already.

    Args:
        uniform: gives the random numbers that decide, for each caption at each word.
    """
    if captions < 1:
        raise ConfigError(f"`captions` must be at least 1, but is {captions}.")
    if temperature <= 0:
        raise ConfigError(f"`temperature` must be above 0, but is {temperature}.")
    images, device = len(memory[0]), memory[0].device
    forbidden = forbidden_tokens(allow_unk, device)
    if captioner.accelerated:
        return Hypotheses(*draw(captioner, memory, captions, forbidden, max_words, temperature, uniform))
    tokens = torch.full((images, captions, max_words), PAD, device=device)
    total = torch.zeros(images, captions, device=device)
    last = torch.full((images, captions), BOS, device=device)
    rows = torch.arange(images * captions, device=device)
    state = captioner.initial_state(memory, captions)
    for length in range(max_words):
        logits, state = captioner.step(last, state, memory)
        logits = logits.to(exact_type(logits.dtype))  # 8 bits are too few to add up thousands of words
        # p = softmax(logits / temperature), without the forbidden words
        log_probs = (logits / temperature).index_fill(2, forbidden, -torch.inf).log_softmax(dim=-1)
        words = _first_above(log_probs.exp().cumsum(dim=-1), uniform(rows).view_as(last))
        finished = (last == EOS) | (last == PAD)
        total += log_probs.gather(2, words[..., None])[..., 0].masked_fill(finished, 0.0)
        last = words.masked_fill(finished, PAD)
        tokens[..., length] = last
        if ((last == EOS) | (last == PAD)).all():
            break
    return Hypotheses(tokens, total)


def _first_above(cumulated: Tensor, share: Tensor) -> Tensor:
    """The first word whose cumulated probability (…, V) exceeds a share (…) of all: (…)."""
    whole = cumulated[..., -1]
    # Rounding could lift the level to the whole, beyond the last word.
    level = torch.minimum(whole * share, whole.nextafter(torch.zeros_like(whole)))
    index = torch.searchsorted(cumulated, level[..., None], right=True)[..., 0]
    return index.clamp_(max=cumulated.shape[-1] - 1)  # NaN gives an index beyond the last, and stays NaN
