"""AoANet's recurrence over packed captions, with its gradient written out.

Why, and how weights get theirs: `updown_recurrence`. A step back goes from the context's gradient through the
gated linear unit, the attention (`head_attention`), the layer norm and the LSTM (`lstm`) to the context and
hidden state before it. The layer norm's own weight and bias see every token once, after the steps. Dropout's
masks are drawn for all steps at once, which is the same distribution. Must equal autograd's gradients of
`AoANet.step`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import layer_norm

from distilcap.models.fast.head_attention import HeadAttention, HeadAttentionGradient
from distilcap.models.fast.lstm import LstmGradient, LstmStates, copy_before, fill_hidden, kept_of
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.products import PackedMatrix

__all__ = ["DropoutMasks", "aoanet_recurrence"]

_glu_backward = torch.ops.aten.glu_backward.grad_input
_layer_norm_backward = torch.ops.aten.native_layer_norm_backward
_EPSILON = 1e-5
"""Of the layer norm before the query, PyTorch's default."""


@dataclass(frozen=True)
class DropoutMasks:
    """What dropout multiplies, drawn for all steps at once; None keeps everything.

    Attributes:
        context: (P, H) of the context that the LSTM reads.
        weights: (T, B x heads, K, R) of attention weights, T the steps of the longest caption.
    """

    context: Tensor | None = None
    weights: Tensor | None = None


def aoanet_recurrence(
    gates: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    from_context: Tensor,
    from_state: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    query: Tensor,
    query_bias: Tensor,
    aoa: Tensor,
    aoa_bias: Tensor,
    heads: int,
    dropout: DropoutMasks,
    packing: Packing,
    recorded: tuple[Tensor, ...] = (),
) -> Tensor:
    """Run LSTM, multi-head attention and attention on attention over all steps of packed captions.

    Args:
        gates: (P, 4H) what words and mean region contribute to the LSTM's gates.
        keys: (B, R, H).
        values: (B, R, H).
        mask: (B, R), True where a region is real.
        from_context: (4H, H) weights of the last context in the LSTM.
        from_state: (4H, H) weights of its last hidden state.
        norm_weight, norm_bias: (H,) of the layer norm before the query.
        query: (H, H), with its bias (H,).
        aoa: (2H, 2H) weights of [attended, h] in attention on attention, with its bias (2H,).
        heads: attention heads.
        dropout: masks of the pass.
        packing: of the captions.
        recorded: what steps gave already, without dropout: attended values (P, H), queries (P, H), what the
            gated linear unit reads (P, 2H) and `LstmStates.kept`. Then nothing is run; `gates` are not read.

    Returns:
        The context after each token (P, H).
    """
    from_states = torch.cat([from_context, from_state], dim=1)
    operands: tuple[Tensor, ...] = (gates, keys, values, from_states, query, query_bias, aoa, aoa_bias)
    device = gates.device.type
    if torch.is_autocast_enabled(device):
        operands = tuple(operand.to(torch.get_autocast_dtype(device)) for operand in operands)
    with torch.autocast(device, enabled=False):
        contexts: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
            norm_weight, norm_bias, *operands, mask, heads, dropout, packing, recorded
        )
    return contexts


def _run(
    gates: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    from_states: Tensor,
    query: Tensor,
    query_bias: Tensor,
    aoa: Tensor,
    aoa_bias: Tensor,
    attention: HeadAttention,
    dropped: Tensor | None,
    states: Tensor,
    paired: Tensor,
    contexts: Tensor,
    packing: Packing,
) -> tuple[Tensor, ...]:
    """Fill states (P, 4H), pairs (P, 2H) and contexts (P, H); give what the LSTM keeps."""
    width = len(norm_weight)
    advance, ask, pair_up = (PackedMatrix(matrix) for matrix in (from_states, query, aoa))
    lstm = LstmStates(packing, width, gates)
    attended, hidden, context_before, hidden_before = states.chunk(4, dim=1)
    steps = packing.steps(gates, attended, hidden, states[:, : 2 * width], paired, contexts)
    before = packing.steps(context_before, hidden_before, states[:, 2 * width :])[1:]
    last = list(zip(packing.before(contexts), packing.before(hidden), strict=True))
    masks = None if dropped is None else torch.split(dropped, [*packing.counts])
    for step, (given, attended_now, h, read, pair, context) in enumerate(steps):
        if step:
            now, h_before, states_before = before[step - 1]
            context_was, h_was = last[step - 1]
            if masks is None:
                now.copy_(context_was)
            else:
                torch.mul(context_was, masks[step], out=now)
            h_before.copy_(h_was)
            torch.add(given, advance(states_before), out=lstm.inputs[step])
        else:
            lstm.inputs[step].copy_(given)
        lstm.advance(step, h)
        normed = layer_norm(h.to(norm_weight.dtype), [width], norm_weight, norm_bias, _EPSILON)
        attention.forward(step, ask(normed.to(h.dtype), query_bias), attended_now)
        torch.add(aoa_bias, pair_up(read), out=pair)
        torch.mul(pair[:, :width], pair[:, width:].sigmoid(), out=context)
    return lstm.kept


def _recalled(
    recorded: tuple[Tensor, ...],
    attention: HeadAttention,
    states: Tensor,
    paired: Tensor,
    contexts: Tensor,
    packing: Packing,
) -> tuple[Tensor, ...]:
    """`_run`, from what steps gave."""
    given, queries, pairs, *of_lstm = recorded
    kept = kept_of(of_lstm)
    attended, hidden, context_before, hidden_before = states.chunk(4, dim=1)
    attended.copy_(given)
    paired.copy_(pairs)
    torch.ops.aten.glu.out(paired, 1, out=contexts)
    fill_hidden(kept, hidden, hidden_before, packing)
    copy_before(contexts, context_before, packing)
    for step, (asked,) in enumerate(packing.steps(queries.to(states.dtype))):
        attention.weigh(step, asked)
    return kept


class _Recurrence(Function):
    @staticmethod
    def forward(
        ctx: Any,
        norm_weight: Tensor,
        norm_bias: Tensor,
        gates: Tensor,
        keys: Tensor,
        values: Tensor,
        from_states: Tensor,
        query: Tensor,
        query_bias: Tensor,
        aoa: Tensor,
        aoa_bias: Tensor,
        mask: Tensor,
        heads: int,
        dropout: DropoutMasks,
        packing: Packing,
        recorded: tuple[Tensor, ...],
    ) -> Tensor:
        total, width = len(gates), len(norm_weight)
        attention = HeadAttention(keys, values, mask, heads, dropout.weights, packing)
        # A row is [attended, h, context before, h before]: attention on attention reads the first two parts,
        # the LSTM the last two.
        states, contexts = gates.new_empty(total, 4 * width), gates.new_empty(total, width)
        states[: len(packing.rows), 2 * width :] = 0
        paired = gates.new_empty(total, 2 * width)
        if recorded:
            kept = _recalled(recorded, attention, states, paired, contexts, packing)
        else:
            weights_of = norm_weight, norm_bias, from_states, query, query_bias, aoa, aoa_bias
            kept = _run(gates, *weights_of, attention, dropout.context, states, paired, contexts, packing)
        ctx.save_for_backward(
            keys, values, from_states, norm_weight, norm_bias, query, aoa,
            states, paired, attention.queries, attention.weights, *kept,
        )  # fmt: skip
        ctx.packing, ctx.dropout, ctx.heads = packing, dropout, heads
        return contexts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_contexts: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, from_states, norm_weight, norm_bias, query, aoa, *kept = ctx.saved_tensors
        states, paired, queries, weights, *of_lstm = kept
        packing: Packing = ctx.packing
        dropout: DropoutMasks = ctx.dropout
        attention = HeadAttentionGradient(keys, values, ctx.heads, dropout.weights, packing, queries, weights)
        lstm = LstmGradient(packing, *of_lstm)
        width, exact = d_contexts.shape[1], norm_weight.dtype
        hidden = states[:, width : 2 * width].to(exact, memory_format=torch.contiguous_format)
        normed, means, deviations = torch.native_layer_norm(hidden, [width], norm_weight, norm_bias, _EPSILON)
        # What reaches contexts and states: of the loss, and then of the next step.
        d_contexts = d_contexts.to(exact, copy=True)
        d_hidden = torch.zeros_like(hidden)
        d_paired, d_rows = torch.empty_like(paired), torch.empty_like(paired)  # rows: [attended, h]
        d_attended, d_read = d_rows.chunk(2, dim=1)
        d_queries, d_normed = torch.empty_like(d_rows[:, :width]), torch.empty_like(d_rows[:, :width])
        steps = packing.steps(
            *(d_contexts, d_hidden, paired, d_paired, d_rows, d_attended, d_read, d_queries, d_normed),
            *(hidden, means, deviations),
        )
        before = list(zip(packing.before(d_contexts), packing.before(d_hidden), strict=True))
        masks = None if dropout.context is None else torch.split(dropout.context, [*packing.counts])
        for step in reversed(range(len(steps))):
            d_context, d_h, pair, d_pair, d_row, d_attended_now, d_h_read, d_query, d_norm, *norm = steps[
                step
            ]
            _glu_backward(d_context.to(pair.dtype), pair, 1, grad_input=d_pair)
            torch.mm(d_pair, aoa, out=d_row)
            attention.retreat(step, d_attended_now, d_query)
            torch.mm(d_query, query, out=d_norm)
            h, mean, deviation = norm
            by_norm, _, _ = _layer_norm_backward(
                d_norm.to(exact), h, [width], mean, deviation, norm_weight, norm_bias, [True, False, False]
            )
            lstm.retreat(step, d_h.add_(d_h_read).add_(by_norm))
            if step:
                d_last = lstm.inputs[step].to(from_states.dtype) @ from_states
                d_context_was, d_h_was = before[step - 1]
                d_h_was.add_(d_last[:, width:])
                if masks is None:
                    d_context_was.add_(d_last[:, :width])
                else:
                    d_context_was.addcmul_(d_last[:, :width].to(exact), masks[step].to(exact))
        start = len(packing.rows)  # at the first step the states are zeros
        d_gates = lstm.gates.to(states.dtype)
        _, d_norm_weight, d_norm_bias = _layer_norm_backward(
            d_normed.to(exact),
            hidden,
            [width],
            means,
            deviations,
            norm_weight,
            norm_bias,
            [False, True, True],
        )
        return (
            d_norm_weight,
            d_norm_bias,
            d_gates,
            *attention.keys_values(),
            d_gates[start:].t() @ states[start:, 2 * width :],
            d_queries.t() @ normed.to(states.dtype),
            d_queries.sum(dim=0),
            d_paired.t() @ states[:, : 2 * width],
            d_paired.sum(dim=0),
            *([None] * 5),
        )
