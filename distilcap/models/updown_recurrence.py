"""Up-Down's recurrence over packed captions, with its gradient written out.

Autograd would add a full-size gradient of every weight at every step; here the steps only carry the
gradients of states, and each weight's gradient is one product over all tokens after them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from distilcap.models.lstm import lstm_backward, lstm_forward
from distilcap.models.packing import Packing

__all__ = ["updown_recurrence"]

_CHUNK = 1 << 17
"""Elements of the attention's hidden layer that a CPU computes at a time, so that they stay in its cache."""


def updown_recurrence(
    gates: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    from_states: Tensor,
    query: Tensor,
    scorer: Tensor,
    language: Tensor,
    language_bias: Tensor,
    packing: Packing,
) -> tuple[Tensor, Tensor]:
    """Run both LSTMs and the attention over all steps of packed captions.

    Args:
        gates: (P, 4H) what words and mean region contribute to the attention LSTM's gates.
        keys: (B, R, A).
        values: (B, R, H).
        mask: (B, R), True where a region is real.
        from_states: (4H, 2H) weights of [h2, h1] in the attention LSTM.
        query: (A, H).
        scorer: (A,).
        language: (4H, 3H) weights of [attended, h1, h2] in the language LSTM.
        language_bias: (4H,).
        packing: of the captions.

    Returns:
        h1 and h2 after each token, each (P, H).
    """
    operands: tuple[Tensor, ...] = (gates, keys, values, from_states, query, scorer, language, language_bias)
    device = gates.device.type
    if torch.is_autocast_enabled(device):
        operands = tuple(operand.to(torch.get_autocast_dtype(device)) for operand in operands)
    with torch.autocast(device, enabled=False):
        h1, h2 = _Recurrence.apply(*operands, mask, packing)  # type: ignore[no-untyped-call]
    return h1, h2


def _exact(dtype: torch.dtype) -> torch.dtype:
    """The type of gates and cells where products are computed in `dtype`."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def _addmm(base: Tensor, rows: Tensor, matrix: Tensor, out: Tensor) -> None:
    if out.dtype == rows.dtype:
        torch.addmm(base, rows, matrix, out=out)
    else:
        out.copy_(torch.addmm(base, rows, matrix))


class _Attention:
    """Additive attention of packed captions over their images' regions, in blocks that fit a cache."""

    def __init__(self, keys: Tensor, values: Tensor, scorer: Tensor, mask: Tensor, packing: Packing) -> None:
        images, captions, _ = packing.shape
        self.rows = packing.rows
        self.values, self.scorer = values, scorer
        self.keys = keys[packing.rows // captions]  # (N, R, A)
        self.padded = torch.zeros(images * captions, values.shape[1], dtype=keys.dtype, device=keys.device)
        self.padded_values = torch.zeros(
            images * captions, values.shape[2], dtype=keys.dtype, device=keys.device
        )
        self.shape = (images, captions, -1)
        hidden = ~mask
        self.hidden = (
            hidden[packing.rows // captions] if hidden.device.type != "cpu" or hidden.any() else None
        )
        self.block = max(1, _CHUNK // keys[0].numel()) if keys.device.type == "cpu" else len(self.keys)

    def _energies(self, query: Tensor, first: int, last: int) -> Tensor:
        return (self.keys[first:last] + query[first:last, None]).tanh_()

    def forward(self, query: Tensor, weights: Tensor, attended: Tensor) -> None:
        """From queries (n, A), fill weights (n, R) and attended values (n, H)."""
        count = len(query)
        for first in range(0, count, self.block):
            last = min(first + self.block, count)
            torch.matmul(self._energies(query, first, last), self.scorer, out=weights[first:last])
        if self.hidden is not None:
            weights.masked_fill_(self.hidden[:count], -torch.inf)
        weights.copy_(weights.softmax(dim=-1))
        rows = self.rows[:count]
        self.padded[rows] = weights
        attended.copy_(torch.bmm(self.padded.view(self.shape), self.values).flatten(0, 1)[rows])

    def backward(
        self, query: Tensor, weights: Tensor, d_attended: Tensor, d_keys: Tensor, d_scorer: Tensor
    ) -> Tensor:
        """From the gradient of the attended values (n, H), give that of the queries (n, A).

        That of keys (N, R, A) lacks the factor `scorer`, and like that of the scorer (A,) is added up.
        The energies are computed again: that is cheaper than to keep and fetch them.
        """
        count = len(query)
        rows = self.rows[:count]
        self.padded_values[rows] = d_attended
        products = torch.bmm(self.padded_values.view(self.shape), self.values.transpose(1, 2))
        d_weights = products.flatten(0, 1)[rows]
        d_scores = weights * (d_weights - (weights * d_weights).sum(dim=1, keepdim=True))
        d_query = torch.empty_like(query)
        for first in range(0, count, self.block):
            last = min(first + self.block, count)
            scores = d_scores[first:last]
            energies = self._energies(query, first, last)
            d_scorer.addmv_(energies.flatten(0, 1).t(), scores.flatten())
            # d tanh = 1 - tanh^2
            slopes = torch.mul(energies, energies, out=energies).neg_().add_(1)
            slopes.mul_(scores[..., None])
            torch.sum(slopes, dim=1, out=d_query[first:last])
            d_keys[first:last] += slopes
        return d_query.mul_(self.scorer)


class _Recurrence(Function):
    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        keys: Tensor,
        values: Tensor,
        from_states: Tensor,
        query: Tensor,
        scorer: Tensor,
        language: Tensor,
        language_bias: Tensor,
        mask: Tensor,
        packing: Packing,
    ) -> tuple[Tensor, Tensor]:
        total, width = gates.shape[0], language.shape[0] // 4
        attention = _Attention(keys, values, scorer, mask, packing)
        # A row is [attended, h1, h2 before, h1 before]: the language LSTM reads its first three parts, the
        # attention LSTM its last two.
        states = gates.new_zeros(total, 4 * width)
        exact = _exact(gates.dtype)
        first, second = (torch.empty_like(gates, dtype=exact) for _ in range(2))  # activations of both LSTMs
        cells1, cells2 = (gates.new_empty(total, width, dtype=exact) for _ in range(2))
        h2 = gates.new_empty(total, width)
        weights = gates.new_empty(total, values.shape[1])
        queries = gates.new_empty(total, query.shape[0])
        before = (0, 0)
        for begin, end in packing.bounds:
            now, count = slice(begin, end), end - begin
            row, then = states[now], slice(before[0], before[0] + count)
            if begin:
                row[:, 2 * width : 3 * width] = h2[then]
                row[:, 3 * width :] = states[then, width : 2 * width]
                _addmm(gates[now], row[:, 2 * width :], from_states.t(), first[now])
            else:
                first[now] = gates[now]
            lstm_forward(first[now], cells1[then] if begin else None, cells1[now], row[:, width : 2 * width])
            torch.mm(row[:, width : 2 * width], query.t(), out=queries[now])
            attention.forward(queries[now], weights[now], row[:, :width])
            read = 3 * width if begin else 2 * width
            _addmm(language_bias, row[:, :read], language[:, :read].t(), second[now])
            lstm_forward(second[now], cells2[then] if begin else None, cells2[now], h2[now])
            before = (begin, end)
        ctx.save_for_backward(
            keys, values, from_states, query, scorer, language, mask,
            states, first, second, cells1, cells2, weights, queries,
        )  # fmt: skip
        ctx.packing = packing
        return states[:, width : 2 * width].clone(), h2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h1: Tensor, d_h2: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, from_states, query, scorer, language, mask, *kept = ctx.saved_tensors
        states, first, second, cells1, cells2, weights, queries = kept
        packing: Packing = ctx.packing
        attention = _Attention(keys, values, scorer, mask, packing)
        width = language.shape[0] // 4
        d_first, d_second = torch.empty_like(first), torch.empty_like(second)
        d_attended = torch.empty_like(d_h1)
        d_queries = torch.empty_like(queries)
        d_keys, d_scorer = torch.zeros_like(attention.keys), torch.zeros_like(scorer)
        # Gradients by the next step, of states and cells; captions that are shorter have none.
        later_h1, later_h2, d_cell1, d_cell2 = (cells1.new_zeros(len(packing.rows), width) for _ in range(4))
        bounds = packing.bounds
        for number in reversed(range(len(bounds))):
            begin, end = bounds[number]
            now, count = slice(begin, end), end - begin
            then = slice(bounds[number - 1][0], bounds[number - 1][0] + count)
            read = 3 * width if begin else 2 * width
            lstm_backward(
                second[now], cells2[then] if begin else None, cells2[now],
                d_h2[now] + later_h2[:count], d_cell2[:count], d_second[now],
            )  # fmt: skip
            d_row = d_second[now].to(language.dtype) @ language[:, :read]
            d_attended[now] = d_row[:, :width]
            d_queries[now] = attention.backward(queries[now], weights[now], d_attended[now], d_keys, d_scorer)
            d_hidden = d_row[:, width : 2 * width].addmm(d_queries[now], query)
            d_hidden = later_h1[:count] + d_h1[now] + d_hidden
            lstm_backward(
                first[now], cells1[then] if begin else None, cells1[now],
                d_hidden, d_cell1[:count], d_first[now],
            )  # fmt: skip
            if begin:
                d_before = d_first[now].to(from_states.dtype) @ from_states
                torch.add(d_row[:, 2 * width :], d_before[:, :width], out=later_h2[:count])
                later_h1[:count] = d_before[:, width:]
        start = bounds[0][1]  # at the first step the states are zeros
        d_first, d_second = d_first.to(states.dtype), d_second.to(states.dtype)
        return (
            d_first,
            _sum_captions(d_keys, packing).mul_(scorer),
            _outer_sum(weights, d_attended, packing),
            d_first[start:].t() @ states[start:, 2 * width :],
            d_queries.t() @ states[:, width : 2 * width],
            d_scorer,
            d_second.t() @ states[:, : 3 * width],
            d_second.sum(dim=0),
            None,
            None,
        )


def _sum_captions(rows: Tensor, packing: Packing) -> Tensor:
    """Add up each image's captions: (N, …) to (B, …)."""
    images, captions, _ = packing.shape
    return rows.new_zeros(images, *rows.shape[1:]).index_add_(0, packing.rows // captions, rows)


def _outer_sum(weights: Tensor, vectors: Tensor, packing: Packing) -> Tensor:
    """Sum over an image's tokens of weights (P, R) times vectors (P, H): (B, R, H)."""
    padded = packing.unpack(weights).flatten(1, 2)
    return padded.transpose(1, 2) @ packing.unpack(vectors).flatten(1, 2)
