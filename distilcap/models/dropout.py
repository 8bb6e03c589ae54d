"""Dropout whose masks take 8 or 16 random bits an element: on a CPU many times as fast as Bernoulli draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor, nn

__all__ = ["Dropout"]

_ROUNDED = 0.02
"""By what share of them 8 bits may change the parts dropped and kept; else it takes 16."""


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014), as `nn.Dropout`.

    On a CPU the probability is rounded to a multiple of 1/256 if that changes it, and what it leaves, by at
    most 2 % (0.1 becomes 0.1016), else of 1/65,536. What is kept is scaled for the rounded one, so the
    expectation is exact.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        rarer = min(probability, 1 - probability)
        coarse = abs(round(probability * 256) / 256 - probability) <= _ROUNDED * rarer
        self.bits = 8 if coarse else 16
        self.dropped = round(probability * (1 << self.bits))

    def forward(self, values: Tensor) -> Tensor:
        """Drop elements while training; of any shape."""
        if values.device.type != "cpu" and self.training:
            return nn.functional.dropout(values, self.probability)
        mask = self.mask(tuple(values.shape), values)
        return values if mask is None else values * mask

    def mask(self, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
        """What to multiply elements with, of the type and on the device of `like`; None keeps everything."""
        if not self.training or not self.dropped:
            return None
        mask = like.new_empty(shape, requires_grad=False)
        if like.device.type != "cpu":
            return nn.functional.dropout(mask.fill_(1), self.probability)
        draws = _draws(mask.numel(), self.bits).view(shape)
        torch.ge(draws, self.dropped - (1 << self.bits - 1), out=mask)
        return mask.mul_(1 / (1 - self.rounded))

    @property
    def rounded(self) -> float:
        """The probability with which a CPU drops."""
        return self.dropped / (1 << self.bits)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"{self.probability}"


class _Seed(ISeedSequence):
    """Seeds a NumPy generator with PyTorch's random numbers as they are: to hash them, as NumPy's own seed
    sequences do, takes as long as to draw the bits of a small mask."""

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> Any:
        """(n_words,) random unsigned 64-bit numbers, which is all that is ever asked for."""
        assert dtype == np.uint64
        return torch.randint(-(2**63), 2**63 - 1, (n_words,)).numpy().view(dtype)


def _draws(count: int, bits: int) -> Tensor:
    """(count,) random int8 or int16, cut from 64-bit numbers of a fast generator that PyTorch's own seeds."""
    generator = np.random.Generator(np.random.SFC64(_Seed()))  # type: ignore[arg-type]
    drawn = generator.integers(2**64, size=-(-count * bits // 64), dtype=np.uint64)
    return torch.from_numpy(drawn.view(np.int8 if bits == 8 else np.int16)[:count])
