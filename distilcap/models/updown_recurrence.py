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

from distilcap.models.lstm import exact_type, lstm_backward, lstm_forward
from distilcap.models.packing import Packing
from distilcap.models.products import PackedMatrix

__all__ = ["updown_recurrence"]

_CHUNK = 1 << 18
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


class _Attention:
    """Additive attention of packed captions over their images' regions, in blocks that fit a cache."""

    def __init__(self, keys: Tensor, values: Tensor, scorer: Tensor, mask: Tensor, packing: Packing) -> None:
        images, captions, _ = packing.shape
        self.rows, self.values, self.scorer = packing.rows, values, scorer
        self.shape = (images, captions, -1)
        self.keys = keys[packing.rows // captions]  # (N, R, A)
        # Values are not repeated: captions meet their image's in a padded batch.
        self.padded_weights = values.new_zeros(images * captions, values.shape[1])
        self.padded_values = values.new_zeros(images * captions, values.shape[2])
        on_cpu = keys.device.type == "cpu"
        self.hidden = None if on_cpu and mask.all() else ~mask[packing.rows // captions]
        self.block = max(1, _CHUNK // keys[0].numel()) if on_cpu else len(self.keys)

    def _blocks(self, count: int) -> list[slice]:
        return [slice(first, min(first + self.block, count)) for first in range(0, count, self.block)]

    def forward(self, query: Tensor, weights: Tensor, attended: Tensor) -> None:
        """From queries (n, A), fill weights (n, R) and attended values (n, H)."""
        for block in self._blocks(len(query)):
            energies = torch.add(self.keys[block], query[block, None]).tanh_()
            torch.matmul(energies, self.scorer, out=weights[block])
        if self.hidden is not None:
            weights.masked_fill_(self.hidden[: len(query)], -torch.inf)
        weights.copy_(weights.softmax(dim=-1))
        rows = self.rows[: len(query)]
        self.padded_weights[rows] = weights
        attended.copy_(torch.bmm(self.padded_weights.view(self.shape), self.values).flatten(0, 1)[rows])

    def backward(
        self, query: Tensor, weights: Tensor, d_attended: Tensor, d_query: Tensor, sums: AttentionSums
    ) -> None:
        """From the gradient of the attended values (n, H), fill that of the queries (n, A).

        The energies are computed again: that is cheaper than to keep and fetch them.
        """
        count = len(query)
        rows = self.rows[:count]
        self.padded_values[rows] = d_attended
        products = torch.bmm(self.padded_values.view(self.shape), self.values.transpose(1, 2))
        d_weights = products.flatten(0, 1)[rows]
        d_scores = weights * (d_weights - (weights * d_weights).sum(dim=1, keepdim=True))
        sums.scores[:count] += d_scores
        for block in self._blocks(count):
            scores = d_scores[block]
            energies = torch.add(self.keys[block], query[block, None]).tanh_()
            sums.scorer.addmv_(energies.flatten(0, 1).t(), scores.flatten())
            squares = torch.mul(energies, energies, out=energies)
            # d tanh = 1 - tanh^2; gradients of scores sum to 0 (softmax), so for queries the 1 drops out.
            torch.bmm(scores[:, None], squares, out=d_query[block, None])
            sums.keys[block].addcmul_(squares, scores[..., None], value=-1)
        d_query.mul_(self.scorer).neg_()


class AttentionSums:
    """Gradients of the attention that add up over steps.

    Attributes:
        keys: (N, R, A) of the keys, but for `scores` and the factor `scorer`.
        scores: (N, R).
        scorer: (A,).
    """

    def __init__(self, attention: _Attention) -> None:
        self.keys = torch.zeros_like(attention.keys)
        self.scores = attention.keys.new_zeros(attention.keys.shape[:2])
        self.scorer = torch.zeros_like(attention.scorer)
        self._factor = attention.scorer

    def of_keys(self, packing: Packing) -> Tensor:
        """The gradient of the images' keys (B, R, A)."""
        images, captions, _ = packing.shape
        rows = self.keys.add_(self.scores[..., None])
        summed = rows.new_zeros(images, *rows.shape[1:]).index_add_(0, packing.rows // captions, rows)
        return summed.mul_(self._factor)


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
        advance, ask, write = (PackedMatrix(matrix) for matrix in (from_states, query, language))
        # A row is [attended, h1, h2 before, h1 before]: the language LSTM reads its first three parts, the
        # attention LSTM its last two.
        states = gates.new_zeros(total, 4 * width)
        exact = exact_type(gates.dtype)
        first, second = (torch.empty_like(gates, dtype=exact) for _ in range(2))  # activations of both LSTMs
        cells1, cells2 = (gates.new_empty(total, width, dtype=exact) for _ in range(2))
        written = gates.new_empty(total, width)
        weights = gates.new_empty(total, values.shape[1])
        queries = gates.new_empty(total, query.shape[0])
        before: tuple[Tensor, ...] = ()
        steps = (gates, states, first, second, cells1, cells2, written, weights, queries)
        for given, row, act1, act2, c1, c2, h2, weight, asked in packing.steps(*steps):
            attended, h1, h2_before, h1_before = row.chunk(4, dim=1)
            was_c1, was_c2 = (None, None) if not before else (one[: len(row)] for one in before[:2])
            if before:
                h1_before.copy_(before[2][: len(row)])
                h2_before.copy_(before[3][: len(row)])
                torch.add(given, advance(row[:, 2 * width :]), out=act1)
            else:
                act1.copy_(given)
            lstm_forward(act1, was_c1, c1, h1)
            asked.copy_(ask(h1))
            attention.forward(asked, weight, attended)
            act2.copy_(write(row[:, : 3 * width], language_bias))
            lstm_forward(act2, was_c2, c2, h2)
            before = (c1, c2, h1, h2)
        ctx.save_for_backward(
            keys, values, from_states, query, scorer, language, mask,
            states, first, second, cells1, cells2, weights, queries,
        )  # fmt: skip
        ctx.packing = packing
        return states[:, width : 2 * width].clone(), written

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h1: Tensor, d_h2: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, from_states, query, scorer, language, mask, *kept = ctx.saved_tensors
        states, first, second, cells1, cells2, weights, queries = kept
        packing: Packing = ctx.packing
        attention = _Attention(keys, values, scorer, mask, packing)
        sums = AttentionSums(attention)
        width = language.shape[0] // 4
        d_first, d_second = torch.empty_like(first), torch.empty_like(second)
        d_attended, d_queries = torch.empty_like(d_h1), torch.empty_like(queries)
        # Gradients by the next step, of states and cells; captions that are shorter have none.
        later_h1, later_h2, d_cell1, d_cell2 = (cells1.new_zeros(len(packing.rows), width) for _ in range(4))
        given = (first, second, cells1, cells2, weights, queries, d_h1, d_h2)
        views = packing.steps(*given, d_first, d_second, d_attended, d_queries)
        for number in reversed(range(len(views))):
            act1, act2, c1, c2, weight, asked, d_1, d_2, d_act1, d_act2, d_att, d_asked = views[number]
            count = len(act1)
            was_c1, was_c2 = (one[:count] if number else None for one in views[number - 1][2:4])
            read = 3 * width if number else 2 * width
            lstm_backward(act2, was_c2, c2, d_2 + later_h2[:count], d_cell2[:count], d_act2)
            d_row = d_act2.to(language.dtype) @ language[:, :read]
            d_att.copy_(d_row[:, :width])
            attention.backward(asked, weight, d_att, d_asked, sums)
            d_hidden = d_row[:, width : 2 * width].addmm(d_asked, query)
            d_hidden = later_h1[:count] + d_1 + d_hidden
            lstm_backward(act1, was_c1, c1, d_hidden, d_cell1[:count], d_act1)
            if number:
                d_before = d_act1.to(from_states.dtype) @ from_states
                torch.add(d_row[:, 2 * width :], d_before[:, :width], out=later_h2[:count])
                later_h1[:count] = d_before[:, width:]
        start = packing.counts[0]  # at the first step the states are zeros
        d_first, d_second = d_first.to(states.dtype), d_second.to(states.dtype)
        return (
            d_first,
            sums.of_keys(packing),
            _outer_sum(weights, d_attended, packing),
            d_first[start:].t() @ states[start:, 2 * width :],
            d_queries.t() @ states[:, width : 2 * width],
            sums.scorer,
            d_second.t() @ states[:, : 3 * width],
            d_second.sum(dim=0),
            None,
            None,
        )


def _outer_sum(weights: Tensor, vectors: Tensor, packing: Packing) -> Tensor:
    """Sum over an image's tokens of weights (P, R) times vectors (P, H): (B, R, H)."""
    padded = packing.unpack(weights).flatten(1, 2)
    return padded.transpose(1, 2) @ packing.unpack(vectors).flatten(1, 2)
