"""What decoders ask of logits, with few passes over the words: at small sizes these passes are the time."""

from __future__ import annotations

import torch
from torch import Tensor

from distilcap.text.vocabulary import BOS, PAD, UNK

__all__ = ["best_words", "draw_words", "forbidden_tokens", "log_total"]

_BLOCK = 1 << 18
"""Logits whose exponentials a CPU sums at a time, so that they stay in its cache."""

_PARTS = 16
"""Words are compared in so many parts before the best are looked for."""


def forbidden_tokens(allow_unk: bool, device: torch.device) -> Tensor:
    """Ids that no caption may contain: pad, begin and, unless allowed, `<unk>`."""
    return torch.tensor([PAD, BOS] if allow_unk else [PAD, BOS, UNK], device=device)


def log_total(logits: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials: (n, V) to (n, 1)."""
    if logits.device.type != "cpu":
        return logits.logsumexp(dim=1, keepdim=True)
    found = []
    for rows in torch.split(logits, max(1, _BLOCK // logits.shape[1])):
        highest = rows.amax(dim=1, keepdim=True)
        found.append((rows - highest).exp_().sum(dim=1, keepdim=True).log_().add_(highest))
    return torch.cat(found)


def best_words(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The highest logits of each row (n, V), best first, and their words, each (n, count).

    A word among the best is the best of its group, or follows such words of its group: so the groups with the
    best heads hold all of them, and only these are ordered.
    """
    size = logits.shape[1] // _PARTS
    if logits.device.type != "cpu" or size < _PARTS * count:
        return logits.topk(count, dim=1)
    whole = size * _PARTS
    heads = logits[:, :whole].view(-1, _PARTS, size).amax(dim=1)  # of the words that are equal modulo `size`
    groups = heads.topk(count, dim=1).indices
    words = (groups[:, None] + size * torch.arange(_PARTS)[:, None]).flatten(1)
    rest = torch.arange(whole, logits.shape[1]).expand(len(words), -1)
    words = torch.cat([words, rest], dim=1)
    best, places = logits.gather(1, words).topk(count, dim=1)
    return best, words.gather(1, places)


def draw_words(
    logits: Tensor, generator: torch.Generator | None, likeliest: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one word from each row of logits (n, V): words (n,) and their log-probabilities (n,).

    By the inverse of the cumulative distribution: one random number a row, not one a word. The rows numbered
    in `likeliest` get their likeliest word instead. The logits are overwritten.
    """
    odds = logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
    cumulated = odds.cumsum(dim=1)
    total = cumulated[:, -1:]
    level = total * torch.rand(total.shape, generator=generator, device=total.device, dtype=total.dtype)
    # Rounding could lift the level to the total, beyond the last word.
    level = torch.minimum(level, total.nextafter(torch.zeros_like(total)))
    words = torch.searchsorted(cumulated, level, right=True)
    if likeliest is not None:
        words[likeliest] = odds[likeliest].argmax(dim=1, keepdim=True)
    chosen = (odds.gather(1, words) / total).log_()
    return words[:, 0], chosen[:, 0]
