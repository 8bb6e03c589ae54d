"""Up-Down's recurrence over packed captions, with its gradient written out.

A weight W that is read at every step, z_t = W x_t, has the gradient sum_t dz_t x_t^T. Autograd would add up
full-size matrices, one a step; with all dz and x kept it is one product over all tokens, dZ^T X, after the
steps back, which only carry the gradients of states. Those of attention, with e_i = tanh(k_i + q), scores
s_i = w_a . e_i and weights a = softmax(s): from d = d attended, da_i = d . v_i, ds = a (da - sum a da),
dq = sum_i ds_i w_a (1 - e_i^2) = -w_a sum_i ds_i e_i^2, for the ds of a softmax sum to 0, and
dk_i = sum ds_i w_a (1 - e_i^2) over an image's tokens. Must equal autograd's gradients of `UpDown.step`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from distilcap.models.fast.lstm import LstmGradient, LstmStates, fill_hidden, kept_of
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.products import PackedMatrix, across

__all__ = ["updown_recurrence"]

_CHUNK = 1 << 19
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
    recorded: tuple[Tensor, ...] = (),
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
        recorded: what steps gave already: attended values (P, H), queries (P, A), attention weights (P, R)
            and each LSTM's `LstmStates.kept`. Then nothing is run; `gates` are not read.

    Returns:
        h1 and h2 after each token, each (P, H).
    """
    operands: tuple[Tensor, ...] = (gates, keys, values, from_states, query, scorer, language, language_bias)
    device = gates.device.type
    if torch.is_autocast_enabled(device):
        operands = tuple(operand.to(torch.get_autocast_dtype(device)) for operand in operands)
    with torch.autocast(device, enabled=False):
        h1, h2 = _Recurrence.apply(*operands, mask, packing, recorded)  # type: ignore[no-untyped-call]
    return h1, h2


class _ByImage:
    """Products of packed captions' rows with a matrix of their image, (B, M, N).

    Matrices are not repeated: captions meet their image's in a padded batch. Captions that have ended keep
    what they left there, which nobody reads.
    """

    def __init__(self, matrices: Tensor, packing: Packing) -> None:
        images, captions, _ = packing.shape
        self._matrices = matrices
        self._rows = packing.heads(packing.rows)
        self._given = matrices.new_zeros(images * captions, matrices.shape[1])
        self._product = matrices.new_empty(images * captions, matrices.shape[2])
        self._by_image = [tensor.view(images, captions, -1) for tensor in (self._given, self._product)]

    def __call__(self, step: int, vectors: Tensor, out: Tensor | None = None) -> Tensor:
        """Rows (n, M) to (n, N)."""
        given, product = self._by_image
        self._given.index_copy_(0, self._rows[step], vectors)
        torch.bmm(given, self._matrices, out=product)
        return torch.index_select(self._product, 0, self._rows[step], out=out)


class _Energies:
    """tanh(key + query) of packed captions and their images' regions, in blocks that fit a cache.

    Attributes:
        keys: (N, R, A).
    """

    def __init__(self, keys: Tensor, packing: Packing) -> None:
        self.keys = keys[packing.rows // packing.shape[1]]
        count = len(self.keys)
        block = max(1, _CHUNK // max(1, keys[0].numel())) if keys.device.type == "cpu" else count
        self._block = max(1, min(block, count))
        energies = self.keys.new_empty(self._block, *self.keys.shape[1:])
        self._views = {some: energies[:some] for count in packing.counts for some in self._sizes(count)}

    def _sizes(self, count: int) -> set[int]:
        return {min(self._block, count - first) for first in range(0, count, self._block)}

    def blocks(self, *rows: Tensor) -> Iterable[tuple[Tensor, ...]]:
        """Rows (n, …) of tensors, block by block."""
        if len(rows[0]) <= self._block:
            return (rows,)
        return zip(*(torch.split(tensor, self._block) for tensor in rows), strict=True)

    def __call__(self, keys: Tensor, query: Tensor) -> Tensor:
        """Of a block: (m, R, A). They are overwritten by the next block's."""
        return torch.add(keys, query[:, None], out=self._views[len(query)]).tanh_()


class _Attention:
    """Additive attention of packed captions over their images' regions."""

    def __init__(self, keys: Tensor, values: Tensor, scorer: Tensor, mask: Tensor, packing: Packing) -> None:
        self._energies, self._scorer = _Energies(keys, packing), scorer
        self._attend = _ByImage(values, packing)
        shown = keys.device.type == "cpu" and mask.all()
        self._hidden = None if shown else packing.heads(~mask[packing.rows // packing.shape[1]])
        scores = values.new_empty(len(packing.rows), values.shape[1])
        self._steps = list(zip(packing.heads(self._energies.keys), packing.heads(scores), strict=True))

    def forward(self, step: int, query: Tensor, weights: Tensor, attended: Tensor) -> None:
        """From queries (n, A), fill weights (n, R) and attended values (n, H)."""
        keys, scores = self._steps[step]
        for key, asked, score in self._energies.blocks(keys, query, scores):
            torch.mv(self._energies(key, asked).flatten(0, 1), self._scorer, out=score.view(-1))
        if self._hidden is not None:
            scores.masked_fill_(self._hidden[step], -torch.inf)
        torch.softmax(scores, dim=-1, out=weights)
        self._attend(step, weights, out=attended)


class _AttentionGradient:
    """The gradient of `_Attention`.

    Attributes:
        scores: (P, R) gradient of the scores.
        queries: (P, A).
        scorer: (A,).
    """

    def __init__(
        self, keys: Tensor, values: Tensor, scorer: Tensor, packing: Packing, queries: Tensor, weights: Tensor
    ) -> None:
        self._energies, self._packing = _Energies(keys, packing), packing
        self._by_weights = _ByImage(across(values), packing)
        self.scores, self.queries = torch.empty_like(weights), torch.empty_like(queries)
        self.scorer = torch.zeros_like(scorer)
        # But for the scores' sum and the factor `scorer`, what of d tanh = 1 - tanh^2 goes to keys (N, R, A).
        self._keys = torch.zeros_like(self._energies.keys)
        self._factor = -scorer
        self._steps = packing.steps(queries, weights, self.scores, self.queries)
        self._rows = list(zip(packing.heads(self._energies.keys), packing.heads(self._keys), strict=True))

    def retreat(self, step: int, d_attended: Tensor) -> Tensor:
        """From the gradient of the attended values (n, H), give that of the queries (n, A).

        The energies are computed again: that is cheaper than to keep and fetch them.
        """
        query, weights, d_scores, d_query = self._steps[step]
        d_weights = self._by_weights(step, d_attended)
        torch._softmax_backward_data(d_weights, weights, -1, weights.dtype, grad_input=d_scores)
        of_rows = (*self._rows[step], query, d_scores, d_query)
        for keys, d_keys, asked, some, d_asked in self._energies.blocks(*of_rows):
            energies = self._energies(keys, asked)
            self.scorer.addmv_(energies.flatten(0, 1).t(), some.view(-1))
            squares = energies.square_()
            # Gradients of scores sum to 0 (softmax), so for queries the 1 of 1 - tanh^2 drops out.
            torch.bmm(some[:, None], squares, out=d_asked[:, None])
            d_keys.addcmul_(squares, some[..., None], value=-1)
        return d_query.mul_(self._factor)

    def keys(self) -> Tensor:
        """The gradient of the images' keys (B, R, A)."""
        packing = self._packing
        images, captions, _ = packing.shape
        scores = packing.unpack(self.scores).sum(dim=(1, 2))  # (B, R)
        rows = self._keys
        summed = rows.new_zeros(images, *rows.shape[1:]).index_add_(0, packing.rows // captions, rows)
        return summed.add_(scores[..., None]).mul_(-self._factor)


def _run(
    gates: Tensor,
    keys: Tensor,
    values: Tensor,
    from_states: Tensor,
    query: Tensor,
    scorer: Tensor,
    language: Tensor,
    language_bias: Tensor,
    mask: Tensor,
    states: Tensor,
    written: Tensor,
    packing: Packing,
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Fill states (P, 4H) and h2 (P, H); give queries, weights and what the LSTMs keep."""
    width = written.shape[1]
    attention = _Attention(keys, values, scorer, mask, packing)
    advance, ask, write = (PackedMatrix(matrix) for matrix in (from_states, query, language))
    first, second = LstmStates(packing, width, gates), LstmStates(packing, width, gates)
    attended, hidden, written_before, hidden_before = states.chunk(4, dim=1)
    weights, queries = gates.new_empty(len(gates), values.shape[1]), []
    steps = packing.steps(gates, attended, hidden, states[:, : 3 * width], written, weights)
    before = packing.steps(written_before, hidden_before, states[:, 2 * width :])[1:]
    last = list(zip(packing.before(written), packing.before(hidden), strict=True))
    for step, (given, attended_now, h1, read, h2, weight) in enumerate(steps):
        if step:
            h2_before, h1_before, states_before = before[step - 1]
            h2_before.copy_(last[step - 1][0])
            h1_before.copy_(last[step - 1][1])
            torch.add(given, advance(states_before), out=first.inputs[step])
        else:
            first.inputs[step].copy_(given)
        first.advance(step, h1)
        queries.append(ask(h1))
        attention.forward(step, queries[-1], weight, attended_now)
        torch.add(language_bias, write(read), out=second.inputs[step])
        second.advance(step, h2)
    return torch.cat(queries), weights, (*first.kept, *second.kept)


def _recalled(
    recorded: tuple[Tensor, ...], states: Tensor, written: Tensor, packing: Packing
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """`_run`, from what steps gave."""
    given, queries, weights = (tensor.to(states.dtype) for tensor in recorded[:3])
    first, second = kept_of(recorded[3:7]), kept_of(recorded[7:])
    attended, hidden, written_before, hidden_before = states.chunk(4, dim=1)
    attended.copy_(given)
    fill_hidden(first, hidden, hidden_before, packing)
    fill_hidden(second, written, written_before, packing)
    return queries, weights, (*first, *second)


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
        recorded: tuple[Tensor, ...],
    ) -> tuple[Tensor, Tensor]:
        total, width = len(gates), language.shape[0] // 4
        # A row is [attended, h1, h2 before, h1 before]: the language LSTM reads its first three parts, the
        # attention LSTM its last two.
        states, written = gates.new_empty(total, 4 * width), gates.new_empty(total, width)
        states[: len(packing.rows), 2 * width :] = 0
        weights_of = from_states, query, scorer, language
        if recorded:
            queries, weights, kept = _recalled(recorded, states, written, packing)
        else:
            queries, weights, kept = _run(
                gates, keys, values, *weights_of, language_bias, mask, states, written, packing
            )
        ctx.save_for_backward(keys, values, *weights_of, states, queries, weights, *kept)
        ctx.packing = packing
        return states[:, width : 2 * width].clone(), written

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h1: Tensor, d_h2: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, from_states, query, scorer, language, states, queries, weights, *kept = (
            ctx.saved_tensors
        )
        packing: Packing = ctx.packing
        width = language.shape[0] // 4
        attention = _AttentionGradient(keys, values, scorer, packing, queries, weights)
        first, second = LstmGradient(packing, *kept[:4]), LstmGradient(packing, *kept[4:])
        d_rows = states.new_empty(len(states), 3 * width)  # of [attended, h1, h2 before]
        d_attended, d_read, d_written_before = d_rows.chunk(3, dim=1)
        # What reaches states: of the loss, and then of the next step.
        d_states = torch.cat([d_h2, d_h1], dim=1).to(kept[0].dtype)
        d_written, d_hidden = d_states.chunk(2, dim=1)
        steps = packing.steps(d_written, d_hidden, d_rows, d_attended, d_read, d_written_before)
        before = list(zip(packing.before(d_written), packing.before(d_states), strict=True))
        for step in reversed(range(len(steps))):
            d_2, d_1, d_row, d_attended_now, d_1_read, d_2_before = steps[step]
            second.retreat(step, d_2)
            torch.mm(second.inputs[step].to(language.dtype), language, out=d_row)
            d_1_read.addmm_(attention.retreat(step, d_attended_now), query)
            first.retreat(step, d_1.add_(d_1_read))
            if step:
                d_last_2, d_last = before[step - 1]
                d_last.add_(first.inputs[step].to(from_states.dtype) @ from_states)
                d_last_2.add_(d_2_before)
        start = len(packing.rows)  # at the first step the states are zeros
        d_first, d_second = first.gates.to(states.dtype), second.gates.to(states.dtype)
        return (
            d_first,
            attention.keys(),
            _outer_sum(weights, d_attended, packing),
            d_first[start:].t() @ states[start:, 2 * width :],
            attention.queries.t() @ states[:, width : 2 * width],
            attention.scorer,
            d_second.t() @ states[:, : 3 * width],
            d_second.sum(dim=0),
            None,
            None,
            None,
        )


def _outer_sum(weights: Tensor, vectors: Tensor, packing: Packing) -> Tensor:
    """Sum over an image's tokens of weights (P, R) times vectors (P, H): (B, R, H)."""
    padded = packing.unpack(weights).flatten(1, 2)
    return padded.transpose(1, 2) @ packing.unpack(vectors).flatten(1, 2)
