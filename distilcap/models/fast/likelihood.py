"""Negative log-likelihood of words straight from hidden states.

With logits z = W h + b, e = exp(z), S = sum e and target y, the loss is log S - z_y and its gradient by z is
e / S - [y]. What is kept is e - S [y], the same before it is divided by S: that factor and the gradient of
the loss go to the narrow side of the two products that read it, so no pass over all words follows in the
backward half. The usual subtraction of the highest logit cancels in e / S; it is left out where S shows that
nothing overflowed. Captions that were just drawn left their e behind (`Odds`): for them not even z is
computed. Must equal `cross_entropy(linear(h, W, b), y)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

__all__ = ["Odds", "negative_log_likelihood", "well_scaled"]

_BLOCK = (1 << 23) - 64
"""Logits computed at a time: just under 32 MB, the largest tensors whose memory glibc keeps."""

_CACHED = 1 << 18
"""Logits whose exponentials are taken at a time, so that they stay in a CPU's cache."""


_SAFE = 1e-12, 1e20
"""Between these a row's sum of exponentials, and what matters of its summands, is exact in float32."""


def well_scaled(total: Tensor) -> bool:
    """Whether sums of exponentials are so far from overflow that nothing had to be subtracted first."""
    return bool(((total > _SAFE[0]) & (total < _SAFE[1])).all())


def _rows_of_block(words: int) -> int:
    return max(1, _BLOCK // words)


class Odds:
    """Softmaxes before they are normalised, kept while words are drawn: what these words' likelihood and its
    gradient read, so that the logits need not be computed again."""

    def __init__(self) -> None:
        self._positions: list[Tensor] = []
        self._blocks: list[Tensor] = []
        self._count = 0

    def __len__(self) -> int:
        """P, the number of words."""
        return self._count

    def clear(self) -> None:
        """Forget the odds but not their memory: to ask the system for tens of megabytes at each step takes
        up to a tenth of a small captioner's self-critical step."""
        self._positions.clear()
        self._count = 0

    def keep(self, odds: Tensor, rows: Tensor, positions: Tensor) -> None:
        """Keep `rows` (m,) of odds (n, V), of the words that go to `positions` (m,) of B x K x T captions."""
        size = _rows_of_block(odds.shape[1])
        if self._blocks and (
            self._blocks[0].shape[1] != odds.shape[1]
            or self._blocks[0].dtype != odds.dtype
            or self._blocks[0].device != odds.device
        ):
            self._blocks.clear()  # of another captioner
        self._positions.append(positions)
        while len(rows):
            number, used = divmod(self._count, size)
            if number == len(self._blocks):
                self._blocks.append(odds.new_empty(size, odds.shape[1]))
            some, rows = rows[: size - used], rows[size - used :]
            torch.index_select(odds, 0, some, out=self._blocks[number][used : used + len(some)])
            self._count += len(some)

    @property
    def positions(self) -> Tensor:
        """(P,) where the words are in B x K x T captions."""
        return torch.cat(self._positions)

    @property
    def blocks(self) -> list[Tensor]:
        """The odds (P, V), in blocks of rows."""
        size = len(self._blocks[0])
        used = self._blocks[: -(-self._count // size)]
        return [block[: self._count - number * size] for number, block in enumerate(used)]


def negative_log_likelihood(
    hidden: Tensor,
    matrix: Tensor,
    bias: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    odds: Odds | None = None,
) -> Tensor:
    """Equal to `cross_entropy(linear(hidden, matrix, bias), targets, reduction="none")`, with fewer passes.

    The gradient of the logits is the softmax less the target, times the gradient of the loss. What is kept is
    the softmax before it is normalised, less the target: both factors of a row go to the narrow side of the
    two products that read it, so nothing passes over all words again.

    Args:
        hidden: (P, H).
        matrix: (V, H).
        bias: (V,).
        targets: (P,) ids.
        label_smoothing: share of the target's probability spread evenly over all words.
        odds: of the same states, which are overwritten; then without smoothing.

    Returns:
        (P,) in nats, float32 (or float64).
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, matrix, bias = hidden.to(dtype), matrix.to(dtype), bias.to(dtype)
    result: Tensor = _LinearLikelihood.apply(  # type: ignore[no-untyped-call]
        hidden, matrix, bias, targets, label_smoothing, odds
    )
    return result


class _LinearLikelihood(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        matrix: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        odds: Odds | None,
    ) -> Tensor:
        rows, on_cpu = _rows_of_block(len(matrix)), hidden.device.type == "cpu"
        kept, sums, losses = [], [], []
        if odds:
            kept = odds.blocks
            for known, (wanted,) in zip(kept, _blocks(rows, targets[:, None]), strict=True):
                total = known.sum(dim=1, keepdim=True)
                losses.append((total / known.gather(1, wanted)).log_())
                known.scatter_add_(1, wanted, -total)
                sums.append(total)
            ctx.save_for_backward(hidden, matrix, torch.cat(sums), *kept)
            ctx.smoothing, ctx.rows = 0.0, rows
            return torch.cat(losses)[:, 0]
        with torch.autocast(hidden.device.type, enabled=False):
            for some, wanted in _blocks(rows, hidden, targets[:, None]):
                logits = _products(some, matrix)
                loss = logits.gather(1, wanted).add_(bias[wanted]).mul_(smoothing - 1)
                if smoothing:
                    loss = loss.sub_(logits.mean(dim=1, keepdim=True).add_(bias.mean()), alpha=smoothing)
                # To ask how large the sums are would make the processor wait for a GPU.
                summed = _exponentials(logits, bias) if on_cpu else None
                if summed is None:
                    logits = _products(some, matrix) if on_cpu else logits
                    summed, highest = _shifted_exponentials(logits, bias)
                    loss = loss.add_(highest)
                losses.append(loss.add_(summed.log()))
                logits.scatter_add_(1, wanted, summed * (smoothing - 1))
                kept.append(logits)
                sums.append(summed)
        ctx.save_for_backward(hidden, matrix, torch.cat(sums), *kept)
        ctx.smoothing, ctx.rows = smoothing, rows
        return torch.cat(losses)[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, matrix, sums, *kept = ctx.saved_tensors
        factors = gradient[:, None] / sums
        weighted = hidden * factors.to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        d_matrix, d_bias = torch.empty_like(matrix), gradient.new_zeros(len(matrix))
        for number, (less, (some, factor, d_some)) in enumerate(
            zip(kept, _blocks(ctx.rows, weighted, factors, d_hidden), strict=True)
        ):
            d_bias.addmv_(less.t(), factor[:, 0])
            less = less.to(hidden.dtype)
            torch.mm(less, matrix, out=d_some)
            torch.addmm(d_matrix, less.t(), some, beta=1 if number else 0, out=d_matrix)
        d_hidden.mul_(factors)
        if ctx.smoothing:
            # The share that is spread over all words.
            spread = gradient * (ctx.smoothing / len(matrix))
            d_hidden.sub_(torch.outer(spread, matrix.sum(dim=0).to(spread)))
            d_matrix.sub_(spread.to(hidden.dtype) @ hidden)
            d_bias.sub_(spread.sum())
        return d_hidden, d_matrix, d_bias.to(matrix.dtype), None, None, None


def _blocks(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)


def _pieces(logits: Tensor) -> int:
    return max(1, _CACHED // logits.shape[1] if logits.device.type == "cpu" else len(logits))


def _products(hidden: Tensor, matrix: Tensor) -> Tensor:
    products = torch.mm(hidden, matrix.t())
    return products.float() if products.dtype in (torch.bfloat16, torch.float16) else products


def _exponentials(logits: Tensor, bias: Tensor) -> Tensor | None:
    """Turn logits (n, V) without their bias into exponentials, and give the sum of each row (n, 1).

    None where a sum is not well within the range of float32, which logits of trained captioners are: then
    the highest of a row has to be subtracted first, for which two more passes over all words are needed.
    """
    total = logits.new_empty(len(logits), 1)
    for some, summed in _blocks(_pieces(logits), logits, total):
        torch.sum(some.add_(bias).exp_(), 1, keepdim=True, out=summed)
    return total if well_scaled(total) else None


def _shifted_exponentials(logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Turn logits (n, V) without their bias into exp(logits - highest); sums and highest of rows (n, 1)."""
    total, highest = (logits.new_empty(len(logits), 1) for _ in range(2))
    for some, summed, top in _blocks(_pieces(logits), logits, total, highest):
        torch.amax(some.add_(bias), 1, keepdim=True, out=top)
        torch.sum(some.sub_(top).exp_(), 1, keepdim=True, out=summed)
    return total, highest
