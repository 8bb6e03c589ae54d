"""The best continuations of a beam, with few passes over the words: at small sizes these passes are the time.

- log softmax(z) = z - log sum exp(z), so that only the words chosen are normalised. The sum is taken without
  subtracting the highest logit, unless it shows that this was needed (`likelihood`).
- The best K of K x V continuations are among the best K of each hypothesis.
- The best K of V words are among the groups whose highest logits are the best K of all groups'.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distilcap.models.fast.likelihood import well_scaled
from distilcap.text.vocabulary import PAD

__all__ = ["best_words", "extend", "log_total"]

_BLOCK = 1 << 18
"""Logits whose exponentials a CPU sums at a time, so that they stay in its cache."""

_PARTS = 16
"""Words are compared in so many parts before the best are looked for."""


def log_total(logits: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials: (n, V) to (n, 1)."""
    if logits.device.type != "cpu":
        return logits.logsumexp(dim=1, keepdim=True)
    parts = torch.split(logits, max(1, _BLOCK // logits.shape[1]))
    total = torch.cat([rows.exp().sum(dim=1, keepdim=True) for rows in parts])
    if well_scaled(total):
        return total.log_()
    log_sums = []
    for rows in parts:
        highest = rows.amax(dim=1, keepdim=True)
        log_sums.append((rows - highest).exp_().sum(dim=1, keepdim=True).log_().add_(highest))
    return torch.cat(log_sums)


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
    best, index = logits.gather(1, words).topk(count, dim=1)
    return best, words.gather(1, index)


def extend(
    logits: Tensor, forbidden: Tensor, log_probs: Tensor, finished: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `decode.beam.extend`; the logits are overwritten."""
    # All V, where V is less.
    shape, flat = logits.shape[:2], logits.flatten(0, 1)
    own = min(width, flat.shape[1])
    totals = log_total(flat)
    best, words = best_words(flat.index_fill_(1, forbidden, -torch.inf), own)
    scores = log_probs[..., None] + (best - totals).view(*shape, own)
    words = words.view(*shape, own)
    # A finished hypothesis continues with one pad, at no cost.
    finished = finished[..., None]
    only_first = torch.full((own,), -torch.inf, device=logits.device)
    only_first[0] = 0.0
    scores = torch.where(finished, log_probs[..., None] + only_first, scores).flatten(1)
    words = words.masked_fill(finished, PAD)
    scores, chosen = scores.topk(min(width, scores.shape[1]), dim=-1)
    return scores, chosen // own, words.flatten(1).gather(1, chosen)
