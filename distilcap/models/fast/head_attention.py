"""Multi-head attention of packed captions step by step, and its gradient, without a graph.

Of one head, with dropout's mask m: s = Q K^T / sqrt(S), w = softmax(s), u = m w, output = u V. Backwards,
from d = d output: dV = u^T d, du = d V^T, dw = m du, ds = w (dw - sum w dw), dQ = ds K / sqrt(S) and
dK = ds^T Q / sqrt(S). A step computes what the step before it waits for, dQ; dK and dV are sums over all
captions and steps of an image, so each is one product after the last step.

Captions meet their image's regions in a padded batch, so that these are not repeated. Its rows are captions
first, then images and heads, so that rows go to it as they are; captions that have ended leave zeros, which
add nothing to the sums.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from distilcap.models.fast.dropout import Dropout
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.products import across
from distilcap.models.layers import split_heads

__all__ = ["HeadAttention", "HeadAttentionGradient", "multi_head_attention"]


def multi_head_attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, heads: int, dropout: Dropout
) -> Tensor:
    """See `models.aoanet.multi_head_attention`; on the CPU, no copies where nothing is dropped."""
    query, keys, values = (split_heads(tensor, heads) for tensor in (query, keys, values))
    on_cpu = query.device.type == "cpu"
    hidden = None if on_cpu and mask.all() else ~mask[:, None, None]
    if on_cpu and not (dropout.training and dropout.dropped):
        seen = None if hidden is None else ~hidden
        fused: Tensor = scaled_dot_product_attention(query, keys, values, seen)
        return fused.transpose(1, 2).flatten(-2)
    scores = (query / math.sqrt(query.shape[-1])) @ keys.transpose(-1, -2)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = dropout(scores.softmax(dim=-1))
    attended: Tensor = (weights @ values).transpose(1, 2).flatten(-2)
    return attended


class _PaddedRows:
    """Where rows of packed captions are in the padded batch.

    Attributes:
        rows: for each step, the rows (n,) of its captions in K x B.
    """

    def __init__(self, like: Tensor, heads: int, packing: Packing) -> None:
        images, captions, _ = packing.shape
        self.images, self.heads = images, heads
        self.rows = packing.heads(packing.rows % captions * images + packing.rows // captions)
        self._padded = like.new_empty(captions * images, like.shape[-1])
        self._by_head = self.by_head(self._padded)
        self._product = torch.empty_like(self._by_head, memory_format=torch.contiguous_format)

    def by_head(self, padded: Tensor) -> Tensor:
        """A view of (…, K x B, H) as (…, B x heads, K, S)."""
        *leading, rows, width = padded.shape
        shape = (*leading, rows // self.images, self.images * self.heads, width // self.heads)
        return padded.view(shape).transpose(-3, -2)

    def product(self, step: int, weights: Tensor, vectors: Tensor, out: Tensor) -> None:
        """Fill `out` (n, H) with rows of weights (B x heads, K, R) times vectors (B x heads, R, S)."""
        self._by_head.copy_(torch.bmm(weights, vectors, out=self._product))
        torch.index_select(self._padded, 0, self.rows[step], out=out)

    def outer_sum(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """Weights (T, B x heads, K, R) times vectors (T, K x B, H), over all captions: (B, R, H)."""
        weights, vectors = (
            tensor.transpose(0, 1).flatten(1, 2) for tensor in (weights, self.by_head(vectors))
        )
        sums = torch.bmm(weights.transpose(1, 2), vectors)
        return sums.view(self.images, self.heads, *sums.shape[1:]).transpose(1, 2).flatten(2)


def _scale(width: int, heads: int) -> float:
    return 1 / math.sqrt(width // heads)


def _of_heads(regions: Tensor, heads: int) -> Tensor:
    """(B, R, H) to (B x heads, R, S), contiguous."""
    return split_heads(regions, heads).contiguous().flatten(0, 1)


class HeadAttention:
    """Attends at one step after another.

    Args:
        keys: (B, R, H).
        values: (B, R, H).
        mask: (B, R), True where a region is real.
        heads: attention heads.
        dropped: (T, B x heads, K, R) what multiplies the weights; None keeps them.
        packing: of the captions.

    Attributes:
        queries: (T, K x B, H) of all steps.
        weights: (T, B x heads, K, R), before dropout.
    """

    def __init__(
        self, keys: Tensor, values: Tensor, mask: Tensor, heads: int, dropped: Tensor | None, packing: Packing
    ) -> None:
        images, captions, _ = packing.shape
        steps, regions, width = len(packing.counts), keys.shape[1], keys.shape[2]
        self._rows = _PaddedRows(keys, heads, packing)
        self._keys_across = across(_of_heads(keys * _scale(width, heads), heads))
        self._values = _of_heads(values, heads)
        self._dropped = None if dropped is None else dropped.unbind()
        hidden = ~mask.repeat_interleave(heads, dim=0)[:, None]
        self._hidden = hidden if keys.device.type != "cpu" or hidden.any() else None
        self.queries = keys.new_zeros(steps, captions * images, width)
        self.weights = keys.new_empty(steps, images * heads, captions, regions)
        self._scores = torch.empty_like(self.weights[0])
        by_head = self._rows.by_head(self.queries)
        self._steps = list(zip(self.queries, by_head, self.weights, strict=True))

    def weigh(self, step: int, query: Tensor) -> Tensor:
        """From queries (n, H), fill and give the weights of a step."""
        queries, by_head, weights = self._steps[step]
        queries.index_copy_(0, self._rows.rows[step], query)
        scores = torch.bmm(by_head, self._keys_across, out=self._scores)
        if self._hidden is not None:
            scores.masked_fill_(self._hidden, -torch.inf)
        return torch.softmax(scores, dim=-1, out=weights)

    def forward(self, step: int, query: Tensor, attended: Tensor) -> None:
        """From queries (n, H), fill attended values (n, H)."""
        used = self.weigh(step, query)
        if self._dropped is not None:
            used = torch.mul(used, self._dropped[step], out=self._scores)
        self._rows.product(step, used, self._values, attended)


class HeadAttentionGradient:
    """The gradient of `HeadAttention`, given its arguments and attributes."""

    def __init__(
        self,
        keys: Tensor,
        values: Tensor,
        heads: int,
        dropped: Tensor | None,
        packing: Packing,
        queries: Tensor,
        weights: Tensor,
    ) -> None:
        self._rows = _PaddedRows(keys, heads, packing)
        self._scale = _scale(keys.shape[2], heads)
        self._keys = _of_heads(keys * self._scale, heads)
        self._values_across = across(_of_heads(values, heads))
        self._dropped, self._queries, self._weights = dropped, queries, weights
        self._scores, self._attended = torch.empty_like(weights), torch.zeros_like(queries)
        self._d_weights = torch.empty_like(weights[0])
        by_head = self._rows.by_head(self._attended)
        self._steps = list(zip(self._attended, by_head, weights, self._scores, strict=True))

    def retreat(self, step: int, d_attended: Tensor, d_query: Tensor) -> None:
        """From the gradient of the attended values (n, H), fill that of the queries (n, H)."""
        attended, by_head, weights, d_scores = self._steps[step]
        attended.index_copy_(0, self._rows.rows[step], d_attended)
        d_weights = torch.bmm(by_head, self._values_across, out=self._d_weights)
        if self._dropped is not None:
            d_weights.mul_(self._dropped[step])
        torch._softmax_backward_data(d_weights, weights, -1, weights.dtype, grad_input=d_scores)
        self._rows.product(step, d_scores, self._keys, d_query)

    def keys_values(self) -> tuple[Tensor, Tensor]:
        """The gradients of the images' keys and values, each (B, R, H)."""
        used = self._weights if self._dropped is None else self._weights * self._dropped
        d_keys = self._rows.outer_sum(self._scores, self._queries).mul_(self._scale)
        return d_keys, self._rows.outer_sum(used, self._attended)
