"""Negative log-likelihood of words straight from hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["negative_log_likelihood"]


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
        with torch.autocast(hidden.device.type, enabled=False):
            logits = torch.addmm(bias, hidden, matrix.t())
            if logits.dtype in (torch.bfloat16, torch.float16):
                logits = logits.float()
            log_probs = logits.log_softmax(dim=-1)
            losses = -log_probs.gather(1, targets[:, None])[:, 0]
            if smoothing:
                losses = losses.mul_(1 - smoothing).sub_(log_probs.mean(dim=-1), alpha=smoothing)
        ctx.save_for_backward(hidden, matrix, targets, log_probs)
        ctx.smoothing = smoothing
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, matrix, targets, log_probs = ctx.saved_tensors
        logits = log_probs.exp().mul_(gradient[:, None])
        if ctx.smoothing:
            logits.sub_(gradient[:, None], alpha=ctx.smoothing / logits.shape[1])
        logits.scatter_add_(1, targets[:, None], (ctx.smoothing - 1) * gradient[:, None])
        logits = logits.to(hidden.dtype)
        return logits @ matrix, logits.t() @ hidden, logits.sum(dim=0), None, None
