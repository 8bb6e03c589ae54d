"""Up-Down's recurrence over packed captions, with its gradient written out.

A weight W that is read at every step, z_t = W x_t, has the gradient sum_t dz_t x_t^T. Autograd would add up
full-size matrices, one a step; with all dz and x kept it is one product over all tokens, dZ^T X, after the
steps back, which only carry the gradients of states. Attention's: `additive_attention`.
Must equal autograd's gradients of `UpDown.step`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from distilcap.models.fast.additive_attention import AdditiveAttention, AdditiveAttentionGradient
from distilcap.models.fast.lstm import LstmGradient, LstmStates, fill_hidden, kept_of
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.products import PackedMatrix

__all__ = ["updown_recurrence"]


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
    attention = AdditiveAttention(keys, values, scorer, mask, packing)
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
        attention = AdditiveAttentionGradient(keys, values, scorer, packing, queries, weights)
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
