"""Dropout whose masks take 16 random bits an element: on a CPU several times as fast as Bernoulli draws."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014), as `nn.Dropout`.

    The probability is rounded to a multiple of 1/65,536, and what is kept is scaled for the rounded one, so
    the expectation is exact.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.dropped = round(probability * _LEVELS)

    def forward(self, values: Tensor) -> Tensor:
        """Drop elements while training; of any shape."""
        if not self.training or not self.dropped:
            return values
        if values.device.type != "cpu":
            return nn.functional.dropout(values, self.probability)
        # Four draws to a 64-bit number of the global generator.
        bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = bits.view(torch.int16)[: values.numel()].view(values.shape)
        kept = (draws >= self.dropped - _LEVELS // 2).to(values.dtype)
        return values * kept.mul_(_LEVELS / (_LEVELS - self.dropped))

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"{self.probability}"
