"""Dropout whose masks take 8 or 16 random bits an element: on a CPU many times as fast as Bernoulli draws.

An element is kept where a random integer of 8 (or 16) bits is at least d, which has probability 1 - d / 256
(or / 65,536), and is divided by that: the mean of what dropout gives is what it was given. PyTorch draws 32
bits or more an element, from a slower generator. Equal to `nn.Dropout` in distribution, not in the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from torch import Tensor, nn

__all__ = ["Dropout"]

_ROUNDED = 0.02
"""By what share of them 8 bits may change the parts dropped and kept; else it takes 16."""


class Dropout(nn.Dropout):
    """Inverted dropout (Srivastava et al. 2014).

    On a CPU the probability is rounded to a multiple of 1/256 if that changes it, and what it leaves, by at
    most 2 % (0.1 becomes 0.1016), else of 1/65,536. What is kept is scaled for the rounded rate, so the
    expectation is exact.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Drop elements while training; of any shape."""
        if values.device.type != "cpu" and self.training:
            return nn.functional.dropout(values, self.p)
        mask = self.mask(tuple(values.shape), values)
        return values if mask is None else values * mask

    def mask(self, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
        """What to multiply elements with, of the type and on the device of `like`; None keeps everything."""
        if not self.training or not self.dropped:
            return None
        mask = like.new_empty(shape, requires_grad=False)
        if like.device.type != "cpu":
            return nn.functional.dropout(mask.fill_(1), self.p)
        draws = _draws(mask.numel(), self.bits).view(shape)
        torch.ge(draws, self.dropped - (1 << self.bits - 1), out=mask)
        return mask.mul_(1 / (1 - self.rounded))

    @property
    def bits(self) -> int:
        """Random bits an element."""
        rarer = min(self.p, 1 - self.p)
        return 8 if abs(round(self.p * 256) / 256 - self.p) <= _ROUNDED * rarer else 16

    @property
    def dropped(self) -> int:
        """Of all numbers of so many bits, how many drop an element."""
        return round(self.p * (1 << self.bits))

    @property
    def rounded(self) -> float:
        """The probability with which a CPU drops."""
        return self.dropped / (1 << self.bits)


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
