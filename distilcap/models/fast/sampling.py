"""Captions drawn word by word, with few passes over the words and no steps for captions that have ended.

A word is drawn by the inverse of the cumulative distribution: the first word at which the sum of the odds
exceeds u times their total, for one uniform number u. The sum is first taken over groups of words and then
within the group where it exceeds that level, which is the same word. The odds, exp(z - highest), are the
softmax before it is normalised: kept (`likelihood.Odds`), they spare the gradient its logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distilcap.models.captioner import Captioner, Memory, take_images
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.kept import Kept
from distilcap.models.fast.lstm import exact_type
from distilcap.models.fast.products import steps_share_weights
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["Uniform", "by_chance", "draw", "draw_to_the_end", "draw_words"]

Uniform = Callable[[Tensor], Tensor]
"""Gives a random number in [0, 1) for each of the captions numbered in (n,), as (n,)."""

_GROUP = 96
"""Words that are drawn from together, once their group is drawn."""

_REGROUP = 0.8
"""Captions are regrouped when fewer than this share of the rows computed are still written."""


def _first_above(cumulated: Tensor, level: Tensor) -> Tensor:
    """Where cumulated odds (n, m) first exceed a level (n, 1)."""
    total = cumulated[:, -1:]
    # Rounding could lift the level to the total, beyond the last index.
    level = torch.minimum(level, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulated, level, right=True)


def _likeliest(odds: Tensor) -> Tensor:
    """The first of the highest of each row (n, V): (n,)."""
    if odds.device.type == "cpu":  # NumPy's compares many at a time
        return torch.from_numpy(odds.numpy().argmax(axis=1))
    return odds.argmax(dim=1)


def draw_words(
    logits: Tensor,
    numbers: Tensor,
    likeliest: Tensor | None = None,
    forbidden: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one word from each row of logits (n, V): words (n,) and their log-probabilities (n,).

    Args:
        logits: become the odds of all words: the softmax before it is normalised.
        numbers: (n,) uniform in [0, 1), which decide.
        likeliest: rows (m,) that get their likeliest word instead.
        forbidden: words that are not drawn.
    """
    withheld = None if forbidden is None else logits[:, forbidden]
    if forbidden is not None:
        logits.index_fill_(1, forbidden, -torch.inf)
    highest = logits.amax(dim=1, keepdim=True)
    odds = logits.sub_(highest).exp_()
    # First a group of words is drawn, then one of its words: to cumulate all words would be another pass.
    size, whole = _GROUP, odds.shape[1] // _GROUP * _GROUP
    groups = odds[:, :whole].view(len(odds), whole // size, size).sum(dim=2)
    cumulated = torch.cat([groups, odds[:, whole:].sum(dim=1, keepdim=True)], dim=1).cumsum_(dim=1)
    total = cumulated[:, -1:]
    level = total * numbers[:, None]
    group = _first_above(cumulated, level)
    level = level - torch.nn.functional.pad(cumulated, (1, 0)).gather(1, group)
    members = group * size + torch.arange(size, device=group.device)
    known = members < odds.shape[1]
    members = members.clamp_(max=odds.shape[1] - 1)
    index = _first_above((odds.gather(1, members) * known).cumsum_(dim=1), level)
    words = members.gather(1, index.clamp_(max=size - 1))  # NaN gives an index beyond the last, and stays NaN
    if likeliest is not None:
        words[likeliest] = _likeliest(odds.index_select(0, likeliest))[:, None]
    chosen = (odds.gather(1, words) / total).log_()
    if withheld is not None:
        odds[:, forbidden] = (withheld - highest).exp_()
    return words[:, 0], chosen[:, 0]


def by_chance(rows: Tensor) -> Tensor:
    """`Uniform` numbers of PyTorch's own generator."""
    return torch.rand(len(rows), device=rows.device)


def _for_each(tensors: tuple[Tensor, ...], captions: int) -> tuple[Tensor, ...]:
    """(B, 1, …) to (B, K, …)."""
    return tuple(tensor.repeat_interleave(captions, dim=1) for tensor in tensors)


@torch.no_grad()
@steps_share_weights()
def draw(
    captioner: Captioner,
    memory: Memory,
    captions: int,
    forbidden: Tensor,
    max_words: int = 20,
    temperature: float = 1.0,
    uniform: Uniform = by_chance,
    with_best: bool = False,
    kept: Kept | None = None,
) -> tuple[Tensor, Tensor]:
    """See `decode.sample.sample_memory`: tokens (B, K, T) and log-probabilities (B, K).

    With `with_best` each image has one caption more, the last: its likeliest word at every step. It costs
    less than a search of its own, for all captions read the weights together.

    Args:
        forbidden: ids of words that are not drawn.
        kept: keeps what the gradient reads of the words drawn (at temperature 1; not of the likeliest words).
    """
    images, device = len(memory[0]), memory[0].device
    drawn, captions = captions, captions + with_best
    tokens = torch.full((images * captions, max_words), PAD, device=device)
    log_probs = torch.zeros(images * captions, device=device)
    state = captioner.initial_state(memory, 1)
    rows = torch.arange(images * captions, device=device)  # captions computed, (B, K) at first
    going = rows  # of these, the numbers of those still written
    best = rows[captions - 1 :: captions] if with_best else None
    last = torch.full((images, 1), BOS, device=device)  # the first step is the same for all of an image
    for length in range(max_words):
        if kept is None:
            logits, state = captioner.step(last, state, memory)
        else:
            assert isinstance(captioner, FastCaptioner)
            logits, state, recorded = captioner.recorded_step(last, state, memory)
            if not length:
                recorded = _for_each(recorded, captions)
        if not length:
            (last, logits), state = _for_each((last, logits), captions), _for_each(state, captions)
        logits = logits.flatten(0, 1)
        logits = logits.to(exact_type(logits.dtype))
        if temperature != 1:
            logits.div_(temperature)
        words, chosen = draw_words(logits, uniform(rows), best, forbidden)
        finished = ((last == EOS) | (last == PAD)).flatten()
        last = words.masked_fill(finished, PAD).view_as(last)
        tokens[rows, length] = last.flatten()
        log_probs[rows] += chosen.masked_fill(finished, 0.0)
        if kept is not None:
            samples = going[rows[going] % captions < drawn] if with_best else going
            own = rows[samples]
            own = own // captions * drawn + own % captions
            kept.odds.keep(logits, samples, own * max_words + length)
            kept.keep(recorded, samples, own)
        going = ((last != EOS) & (last != PAD)).flatten().nonzero()[:, 0]
        if not len(going):
            break
        # To regroup costs a copy of the memory, so it waits until enough captions have ended.
        if len(going) < _REGROUP * len(rows):
            memory = take_images(memory, going // last.shape[1])
            rows, last = rows[going], last.flatten()[going][:, None]
            state = tuple(tensor.flatten(0, 1)[going][:, None] for tensor in state)
            going = torch.arange(len(rows), device=device)
            best = (rows % captions == captions - 1).nonzero()[:, 0] if with_best else None
    return tokens.view(images, captions, -1), log_probs.view(images, captions)


@torch.no_grad()
def draw_to_the_end(
    captioner: Captioner,
    memory: Memory,
    captions: int,
    forbidden: Tensor,
    max_words: int,
    uniform: Uniform = by_chance,
    with_best: bool = False,
) -> Tensor:
    """The tokens (B, K, T) of `draw`; captions that have ended are computed on, so that a GPU is never asked
    which have, and all steps have one shape."""
    captions += with_best
    images, device = len(memory[0]), memory[0].device
    rows = torch.arange(images * captions, device=device)
    best = rows[captions - 1 :: captions] if with_best else None
    state = captioner.initial_state(memory, captions)
    last, steps = torch.full((images, captions), BOS, device=device), []
    for _ in range(max_words):
        logits, state = captioner.step(last, state, memory)
        logits = logits.flatten(0, 1)
        words, _ = draw_words(logits.to(exact_type(logits.dtype)), uniform(rows), best, forbidden)
        finished = (last == EOS) | (last == PAD)
        last = words.view_as(last).masked_fill(finished, PAD)
        steps.append(last)
    return torch.stack(steps, dim=2)
