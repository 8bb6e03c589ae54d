"""Negative log-likelihood of words straight from hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["negative_log_likelihood"]

_BLOCK = 1 << 22
"""Logits computed at a time: tensors of at most 16 MB, whose memory glibc keeps for the next step."""


def negative_log_likelihood(
    hidden: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Equal to `cross_entropy(linear(hidden, matrix, bias), targets, reduction="none")`, with fewer passes.

    The gradient of the logits is the softmax less the target, computed once and given to two products.

    Args:
        hidden: (P, H).
        matrix: (V, H).
        bias: (V,).
        targets: (P,) ids.
        label_smoothing: share of the target's probability spread evenly over all words.

    Returns:
        (P,) in nats, float32 (or float64).
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, matrix, bias = hidden.to(dtype), matrix.to(dtype), bias.to(dtype)
    result: Tensor = _LinearLikelihood.apply(  # type: ignore[no-untyped-call]
        hidden, matrix, bias, targets, label_smoothing
    )
    return result


class _LinearLikelihood(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> Tensor:
        rows = max(1, _BLOCK // len(matrix))
        kept, losses = [], []
        with torch.autocast(hidden.device.type, enabled=False):
            for some, wanted in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True):
                logits = torch.addmm(bias, some, matrix.t())
                if logits.dtype in (torch.bfloat16, torch.float16):
                    logits = logits.float()
                log_probs = logits.log_softmax(dim=-1)
                loss = -log_probs.gather(1, wanted[:, None])[:, 0]
                if smoothing:
                    loss = loss.mul_(1 - smoothing).sub_(log_probs.mean(dim=-1), alpha=smoothing)
                kept.append(log_probs)
                losses.append(loss)
        ctx.save_for_backward(hidden, matrix, targets, *kept)
        ctx.smoothing, ctx.rows = smoothing, rows
        return torch.cat(losses) if losses else hidden.new_zeros(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, matrix, targets, *kept = ctx.saved_tensors
        d_hidden = torch.empty_like(hidden)
        d_matrix, d_bias = torch.zeros_like(matrix), matrix.new_zeros(len(matrix))
        parts = (torch.split(one, ctx.rows) for one in (hidden, targets, gradient[:, None], d_hidden))
        for log_probs, some, wanted, weights, d_some in zip(kept, *parts, strict=True):
            # In place: a second backward pass would be refused by autograd, not wrong.
            logits = log_probs.exp_().mul_(weights)
            if ctx.smoothing:
                logits.sub_(weights, alpha=ctx.smoothing / logits.shape[1])
            logits.scatter_add_(1, wanted[:, None], (ctx.smoothing - 1) * weights)
            logits = logits.to(hidden.dtype)
            torch.mm(logits, matrix, out=d_some)
            d_matrix.addmm_(logits.t(), some)
            d_bias.add_(logits.sum(dim=0))
        return d_hidden, d_matrix, d_bias, None, None
