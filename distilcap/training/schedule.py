"""What changes from step to step: the learning rate, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase

__all__ = ["move_average", "rate_factor"]


def rate_factor(phase: CrossEntropyPhase | SelfCriticalPhase, step: int, epoch: int, total: int) -> float:
    """The learning rate's factor: warm-up, then steps of 0.8 every 3 epochs or half a cosine to zero."""
    warmup = min(1.0, (step + 1) / phase.warmup_steps) if phase.warmup_steps else 1.0
    if phase.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * step / total))
    return warmup * float(0.8 ** (epoch // 3))


@torch.no_grad()
def move_average(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights towards the current weights, in place."""
    decay = min(decay, (1 + step) / (10 + step))  # early weights are forgotten soon
    for kept, new in zip(average.parameters(), current.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
