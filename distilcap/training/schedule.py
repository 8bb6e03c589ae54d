"""What changes from step to step: the learning rate, the moving average of the weights, and whether these are
better than what training began from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from torch import nn

from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase

__all__ = ["better_on_the_whole", "move_average", "never_warm", "rate_factor"]


def rate_factor(phase: CrossEntropyPhase | SelfCriticalPhase, step: int, epoch: int, total: int) -> float:
    """The learning rate's factor: warm-up, times 0.8 for every 3 epochs or half a cosine to zero.

    Args:
        step, epoch: steps taken and epochs finished in the phase before this step; both from 0.
        total: steps of the whole phase, where the cosine ends.
    """
    warmup = min(1.0, (step + 1) / phase.warmup_steps) if phase.warmup_steps else 1.0
    if phase.schedule == "cosine":
        return warmup * 0.5 * (1 + math.cos(math.pi * step / total))
    return warmup * float(0.8 ** (epoch // 3))


def never_warm(phase: CrossEntropyPhase | SelfCriticalPhase, total: int) -> str:
    """What to tell of a phase of `total` steps that ends before its warm-up does; else empty."""
    if phase.warmup_steps <= total:
        return ""
    scst = "scst-" if isinstance(phase, SelfCriticalPhase) else ""
    reached = max(rate_factor(phase, step, 0, total) for step in range(total)) * phase.learning_rate
    return (
        f"The warm-up is longer ({phase.warmup_steps:,} steps) than the phase ({total:,}): the learning rate "
        f"reaches {reached:.2g} of {phase.learning_rate:g}. Next step: fewer `--{scst}warmup-steps`, or more "
        f"`--{scst}epochs`."
    )


@torch.no_grad()
def move_average(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights towards the current weights, in place."""
    decay = min(decay, (1 + step) / (10 + step))  # early weights are forgotten soon
    for kept, new in zip(average.parameters(), current.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def better_on_the_whole(scores: Sequence[float], start: float) -> bool:
    """Whether the second half of a phase's validations is above what training began from, on average.

    The best of many validations on 40 images is often above a captioner that it is below on other images; see
    docs/own-photos.md.
    """
    return statistics.fmean(scores[len(scores) // 2 :]) > start
