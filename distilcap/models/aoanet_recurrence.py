"""AoANet's recurrence over packed captions, with its gradient written out (why: `updown_recurrence`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from distilcap.models.lstm import exact_type, lstm_backward, lstm_forward
from distilcap.models.packing import Packing
from distilcap.models.products import PackedMatrix

__all__ = ["DropoutMasks", "aoanet_recurrence"]

_glu_backward = torch.ops.aten.glu_backward.grad_input


@dataclass(frozen=True)
class DropoutMasks:
    """What dropout multiplies, drawn for all steps at once; None keeps everything.

    Attributes:
        context: (P, H) of the context that the LSTM reads.
        weights: (P, heads, R) of attention weights.
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
            norm_weight, norm_bias, *operands, mask, heads, dropout, packing
        )
    return contexts


class _Attention:
    """Multi-head attention of packed captions, which meet their image's regions in a padded batch."""

    def __init__(self, keys: Tensor, values: Tensor, mask: Tensor, heads: int, packing: Packing) -> None:
        images, captions, _ = packing.shape
        self.rows, self.heads = packing.rows, heads
        # Otherwise every product would copy them first.
        self.keys, self.values = (_split(one, heads).contiguous() for one in (keys, values))
        self.padded = keys.new_zeros(images, captions, heads, keys.shape[-1] // heads)
        hidden = ~mask[:, None, None]
        self.hidden = hidden if keys.device.type != "cpu" or hidden.any() else None
        self.scale = 1 / math.sqrt(self.padded.shape[-1])

    def _pad(self, rows: Tensor) -> Tensor:
        """(n, heads x S) to (B, heads, K, S)."""
        images, captions = self.padded.shape[:2]
        padded = rows.new_zeros(images * captions, rows.shape[1])
        padded[self.rows[: len(rows)]] = rows
        return padded.view(images, captions, self.heads, -1).transpose(1, 2)

    def _rows(self, padded: Tensor, count: int) -> Tensor:
        """(B, heads, K, S) to (n, heads x S)."""
        return padded.transpose(1, 2).flatten(2).flatten(0, 1)[self.rows[:count]]

    def forward(self, query: Tensor, dropped: Tensor | None, weights: Tensor, attended: Tensor) -> None:
        """From queries (n, H), fill weights (n, heads x R), before dropout, and attended values (n, H)."""
        scores = (self._pad(query) * self.scale) @ self.keys.transpose(-1, -2)
        if self.hidden is not None:
            scores.masked_fill_(self.hidden, -torch.inf)
        weights.copy_(self._rows(scores.softmax(dim=-1), len(query)))
        used = weights if dropped is None else weights * dropped
        attended.copy_(self._rows(self._pad(used) @ self.values, len(query)))

    def backward(
        self, weights: Tensor, dropped: Tensor | None, d_attended: Tensor, d_scores: Tensor
    ) -> Tensor:
        """From the gradient of attended values (n, H), give that of queries (n, H).

        Fill that of the scaled scores (n, heads x R).
        """
        count = len(weights)
        d_weights = self._rows(self._pad(d_attended) @ self.values.transpose(-1, -2), count)
        if dropped is not None:
            d_weights = d_weights * dropped
        products = (weights * d_weights).view(count, self.heads, -1)
        sums = products.sum(dim=-1, keepdim=True).expand_as(products).flatten(1)
        torch.mul(weights, d_weights - sums, out=d_scores).mul_(self.scale)
        return self._rows(self._pad(d_scores) @ self.keys, count)


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
    ) -> Tensor:
        total, width = len(gates), len(norm_weight)
        attention = _Attention(keys, values, mask, heads, packing)
        advance, ask, pair_up = (PackedMatrix(matrix) for matrix in (from_states, query, aoa))
        # A row is [attended, h, context before, h before]: attention on attention reads the first two parts,
        # the LSTM the last two.
        states = gates.new_zeros(total, 4 * width)
        exact = exact_type(gates.dtype)
        activations, cells = torch.empty_like(gates, dtype=exact), gates.new_empty(total, width, dtype=exact)
        normed, asked = gates.new_empty(total, width), gates.new_empty(total, width)
        weights = gates.new_empty(total, heads * values.shape[1])
        paired, contexts = gates.new_empty(total, 2 * width), gates.new_empty(total, width)
        means, deviations = gates.new_empty(total, 1, dtype=exact), gates.new_empty(total, 1, dtype=exact)
        before: tuple[Tensor, ...] = ()
        steps = packing.steps(
            gates, states, activations, cells, normed, asked, weights, paired, contexts, means, deviations
        )
        masks = _masks(dropout, packing)
        for number, (given, row, acts, c, norm, asks, weight, pair, context, mean, deviation) in enumerate(
            steps
        ):
            attended, h, context_before, h_before = row.chunk(4, dim=1)
            if before:
                last_context, last_h = before[0][: len(row)], before[1][: len(row)]
                mask_now = masks[number][0]
                context_before.copy_(last_context if mask_now is None else last_context * mask_now)
                h_before.copy_(last_h)
                torch.add(given, advance(row[:, 2 * width :]), out=acts)
            else:
                acts.copy_(given)
            lstm_forward(acts, before[2][: len(row)] if before else None, c, h)
            found = torch.native_layer_norm(h.to(exact), [width], norm_weight, norm_bias, 1e-5)
            for kept, value in zip((norm, mean, deviation), found, strict=True):
                kept.copy_(value)
            asks.copy_(ask(norm, query_bias))
            attention.forward(asks, masks[number][1], weight, attended)
            pair.copy_(pair_up(row[:, : 2 * width], aoa_bias))
            torch.mul(pair[:, :width], pair[:, width:].sigmoid(), out=context)
            before = (context, h, c)
        ctx.save_for_backward(
            keys, values, from_states, norm_weight, norm_bias, query, aoa, mask,
            states, activations, cells, normed, asked, weights, paired, means, deviations,
        )  # fmt: skip
        ctx.packing, ctx.dropout, ctx.heads = packing, dropout, heads
        return contexts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_contexts: Tensor) -> tuple[Tensor | None, ...]:
        keys, values, from_states, norm_weight, norm_bias, query, aoa, mask, *kept = ctx.saved_tensors
        states, activations, cells, normed, asked, weights, paired, means, deviations = kept
        packing: Packing = ctx.packing
        attention = _Attention(keys, values, mask, ctx.heads, packing)
        width, exact = d_contexts.shape[1], activations.dtype
        hidden = states[:, width : 2 * width]
        d_gates, d_paired = torch.empty_like(activations), torch.empty_like(paired)
        d_attended, d_asked, d_normed = (torch.empty_like(d_contexts) for _ in range(3))
        d_scores = torch.empty_like(weights)
        # Gradients by the next step, of context, state and cell; captions that are shorter have none.
        later_context, later_h, d_cell = (cells.new_zeros(len(packing.rows), width) for _ in range(3))
        given = (activations, cells, hidden, weights, paired, means, deviations, d_contexts)
        views = packing.steps(*given, d_gates, d_paired, d_attended, d_asked, d_normed, d_scores)
        masks = _masks(ctx.dropout, packing)
        for number in reversed(range(len(views))):
            (
                acts,
                c,
                h,
                weight,
                pair,
                mean,
                deviation,
                d_context,
                d_act,
                d_pair,
                d_att,
                d_ask,
                d_norm,
                d_score,
            ) = views[number]
            count = len(acts)
            _glu_backward((d_context + later_context[:count]).to(pair.dtype), pair, 1, grad_input=d_pair)
            d_row = d_pair @ aoa
            d_att.copy_(d_row[:, :width])
            d_ask.copy_(attention.backward(weight, masks[number][1], d_att, d_score))
            torch.mm(d_ask, query, out=d_norm)
            d_h, _, _ = torch.ops.aten.native_layer_norm_backward(
                d_norm.to(exact),
                h.to(exact),
                [width],
                mean,
                deviation,
                norm_weight,
                norm_bias,
                [True, False, False],
            )
            d_h = later_h[:count] + d_row[:, width:] + d_h
            was = views[number - 1][1][:count] if number else None
            lstm_backward(acts, was, c, d_h, d_cell[:count], d_act)
            if number:
                d_before = d_act.to(from_states.dtype) @ from_states
                later_h[:count] = d_before[:, width:]
                mask_now = masks[number][0]
                d_last = d_before[:, :width]
                later_context[:count] = d_last if mask_now is None else d_last * mask_now
        start = packing.counts[0]  # at the first step the states are zeros
        d_gates = d_gates.to(states.dtype)
        _, d_norm_weight, d_norm_bias = torch.ops.aten.native_layer_norm_backward(
            d_normed.to(exact),
            hidden.to(exact),
            [width],
            means,
            deviations,
            norm_weight,
            norm_bias,
            [False, True, True],
        )
        used = weights if ctx.dropout.weights is None else weights * ctx.dropout.weights.flatten(1)
        return (
            d_norm_weight,
            d_norm_bias,
            d_gates,
            _outer_sum(d_scores, asked, ctx.heads, packing),
            _outer_sum(used, d_attended, ctx.heads, packing),
            d_gates[start:].t() @ states[start:, 2 * width :],
            d_asked.t() @ normed,
            d_asked.sum(dim=0),
            d_paired.t() @ states[:, : 2 * width],
            d_paired.sum(dim=0),
            None,
            None,
            None,
            None,
        )


def _masks(dropout: DropoutMasks, packing: Packing) -> list[tuple[Tensor | None, Tensor | None]]:
    """Masks of context and of attention weights (n, heads x R), step by step."""
    nothing = [None] * len(packing.counts)
    weights = None if dropout.weights is None else dropout.weights.flatten(1)
    parts = [
        nothing if one is None else [*torch.split(one, [*packing.counts])]
        for one in (dropout.context, weights)
    ]
    return list(zip(*parts, strict=True))


def _split(tensor: Tensor, heads: int) -> Tensor:
    """(B, L, heads x S) to (B, heads, L, S)."""
    return tensor.view(*tensor.shape[:2], heads, -1).transpose(1, 2)


def _outer_sum(weights: Tensor, vectors: Tensor, heads: int, packing: Packing) -> Tensor:
    """Sum over an image's tokens, head by head, of weights (P, heads x R) times vectors (P, H): (B, R, H)."""
    weights, vectors = (_split(packing.unpack(one).flatten(1, 2), heads) for one in (weights, vectors))
    return (weights.transpose(-1, -2) @ vectors).transpose(1, 2).flatten(2)
