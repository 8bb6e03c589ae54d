"""Beam search over a whole batch at once: no loop over images or hypotheses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distilcap.decode.hypotheses import Hypotheses, forbidden_tokens
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory, take_captions, take_images
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["BeamSearch", "beam_search"]


@dataclass(frozen=True)
class BeamSearch:
    """How to search.

    Attributes:
        width: hypotheses kept per image (K); 1 is greedy decoding.
        max_words: captions stop there, with or without an end token.
        length_penalty: finished captions are ranked by log-probability / length ** length_penalty, the end
            token counted (Wu et al. 2016 use a similar form); 0 ranks by log-probability alone.
        allow_unk: whether `<unk>` may be written.
    """

    width: int = 5
    max_words: int = 20
    length_penalty: float = 0.0
    allow_unk: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"`beam_size` must be at least 1, but is {self.width}.")
        if self.max_words < 1:
            raise ConfigError(f"`max_words` must be at least 1, but is {self.max_words}.")


@torch.inference_mode()
def beam_search(captioner: Captioner, regions: Regions, options: BeamSearch) -> Hypotheses:
    """Find the K likeliest captions of each image, best first.

    A hypothesis that wrote its end token stays in the beam with its score frozen, so that the K best
    finished and unfinished ones compete by log-probability. An image whose K hypotheses have all ended
    leaves the batch: longer ones could only score lower. Where `K` reaches the number of all captions, the
    search is exhaustive.
    """
    return search_memory(captioner, captioner.encode(regions), options)


def search_memory(captioner: Captioner, memory: Memory, options: BeamSearch) -> Hypotheses:
    """`beam_search`, from images that are encoded already."""
    images, width, size = len(memory[0]), options.width, captioner.vocabulary_size
    device = memory[0].device
    penalty = forbidden_tokens(size, options.allow_unk, device)
    tokens = torch.full((images, width, options.max_words), PAD, device=device)
    log_probs = torch.full((images, width), -torch.inf, device=device)
    log_probs[:, 0] = 0.0  # one empty hypothesis; its K best first words fill the beam
    active = torch.arange(images, device=device)  # images still searched, as rows of `tokens`
    state = captioner.initial_state(memory, width)
    last = torch.full((images, width), BOS, device=device)
    for length in range(options.max_words):
        logits, state = captioner.step(last, state, memory)
        scores, places, words = _extend(logits, penalty, log_probs[active], last)
        state = take_captions(state, places)
        history = tokens[active].gather(1, places[..., None].expand(-1, -1, options.max_words))
        history[:, :, length] = words
        tokens[active], log_probs[active] = history, scores
        going = ~((words == EOS) | (words == PAD)).all(dim=1)
        last = words
        if not going.all():
            active, last = active[going], last[going]
            state, memory = take_images(state, going), take_images(memory, going)
            if not len(active):
                break
    return _ranked(tokens, log_probs, options.length_penalty)


def _extend(
    logits: Tensor, penalty: Tensor, log_probs: Tensor, last: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the K best continuations of K hypotheses.

    Args:
        logits: (B, K, V) of the next word.
        penalty: (V,) of forbidden words.
        log_probs: (B, K) of the hypotheses.
        last: (B, K) their last words.

    Returns:
        Scores, places in the old beam, and words, each (B, K).
    """
    width = logits.shape[1]
    # The K best of K x V continuations are among each hypothesis's own K best (all V, where V < K).
    own = min(width, logits.shape[2])
    best, words = (logits + penalty).topk(own, dim=-1)
    scores = log_probs[..., None] + best - logits.logsumexp(dim=-1, keepdim=True)
    # A finished hypothesis continues with one pad, at no cost.
    finished = ((last == EOS) | (last == PAD))[..., None]
    only_first = torch.full((own,), -torch.inf, device=logits.device)
    only_first[0] = 0.0
    scores = torch.where(finished, log_probs[..., None] + only_first, scores)
    words = words.masked_fill(finished, PAD)
    scores, chosen = scores.flatten(1).topk(width, dim=-1)
    return scores, chosen // own, words.flatten(1).gather(1, chosen)


def _ranked(tokens: Tensor, log_probs: Tensor, length_penalty: float) -> Hypotheses:
    if length_penalty:
        lengths = (tokens != PAD).sum(dim=-1).clamp(min=1)
        order = (log_probs / lengths**length_penalty).argsort(dim=-1, descending=True, stable=True)
        tokens = tokens.gather(1, order[..., None].expand_as(tokens))
        log_probs = log_probs.gather(1, order)
    return Hypotheses(tokens, log_probs)
