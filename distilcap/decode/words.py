"""What decoders ask of logits, with few passes over the words: at small sizes these passes are the time."""

from __future__ import annotations

import torch
from torch import Tensor

from distilcap.models.likelihood import well_scaled
from distilcap.text.vocabulary import BOS, PAD, UNK

__all__ = ["best_words", "draw_words", "forbidden_tokens", "log_total"]

_BLOCK = 1 << 18
"""Logits whose exponentials a CPU sums at a time, so that they stay in its cache."""

_GROUP = 96
"""Words that are drawn from together, once their group is drawn."""

_PARTS = 16
"""Words are compared in so many parts before the best are looked for."""


def forbidden_tokens(allow_unk: bool, device: torch.device) -> Tensor:
    """Ids that no caption may contain: pad, begin and, unless allowed, `<unk>`."""
    return torch.tensor([PAD, BOS] if allow_unk else [PAD, BOS, UNK], device=device)


def log_total(logits: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials: (n, V) to (n, 1)."""
    if logits.device.type != "cpu":
        return logits.logsumexp(dim=1, keepdim=True)
    parts = torch.split(logits, max(1, _BLOCK // logits.shape[1]))
    total = torch.cat([rows.exp().sum(dim=1, keepdim=True) for rows in parts])
    if well_scaled(total):
        return total.log_()
    found = []
    for rows in parts:
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


def _place(cumulated: Tensor, level: Tensor) -> Tensor:
    """Where cumulated odds (n, m) first exceed a level (n, 1)."""
    total = cumulated[:, -1:]
    # Rounding could lift the level to the total, beyond the last place.
    level = torch.minimum(level, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulated, level, right=True)


def _likeliest(odds: Tensor) -> Tensor:
    """The first of the highest of each row (n, V): (n,)."""
    if odds.device.type == "cpu":  # NumPy's compares several at a time
        return torch.from_numpy(odds.numpy().argmax(axis=1))
    return odds.argmax(dim=1)


def draw_words(
    logits: Tensor,
    generator: torch.Generator | None,
    likeliest: Tensor | None = None,
    forbidden: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one word from each row of logits (n, V): words (n,) and their log-probabilities (n,).

    By the inverse of the cumulative distribution: one random number a row, not one a word. The rows numbered
    in `likeliest` get their likeliest word instead; the words numbered in `forbidden` are not drawn. The
    logits become the odds of all words: the softmax before it is normalised.
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
    level = total * torch.rand(total.shape, generator=generator, device=total.device, dtype=total.dtype)
    group = _place(cumulated, level)
    level = level - torch.nn.functional.pad(cumulated, (1, 0)).gather(1, group)
    members = group * size + torch.arange(size, device=group.device)
    known = members < odds.shape[1]
    members = members.clamp_(max=odds.shape[1] - 1)
    place = _place((odds.gather(1, members) * known).cumsum_(dim=1), level)
    words = members.gather(1, place.clamp_(max=size - 1))  # NaN is found beyond the last, and stays NaN
    if likeliest is not None:
        words[likeliest] = _likeliest(odds.index_select(0, likeliest))[:, None]
    chosen = (odds.gather(1, words) / total).log_()
    if withheld is not None:
        odds[:, forbidden] = (withheld - highest).exp_()
    return words[:, 0], chosen[:, 0]
