"""Attention over regions: additive (Up-Down), multi-head dot product and attention on attention (AoANet)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn.functional import glu, scaled_dot_product_attention

from distilcap.models.dropout import Dropout
from distilcap.models.products import Linear

__all__ = ["AttentionOnAttention", "additive_attention", "masked_mean", "multi_head_attention", "split_heads"]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: (B, R, H) and (B, R) to (B, H)."""
    weights = mask.to(values.dtype)
    return torch.einsum("brh,br->bh", values, weights) / weights.sum(dim=1, keepdim=True)


def additive_attention(
    query: Tensor, keys: Tensor, values: Tensor, scorer: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend by a one-layer perceptron (Bahdanau et al. 2015; Anderson et al. 2018, equations 3 to 5).

    Args:
        query: (B, K, A).
        keys: (B, R, A), already projected.
        values: (B, R, H).
        scorer: (A,) the vector w_a.
        mask: (B, R), True where a region is real.

    Returns:
        The attended value (B, K, H) and the weights (B, K, R).
    """
    scores = (keys[:, None] + query[:, :, None]).tanh_() @ scorer
    weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
    return weights @ values, weights


def multi_head_attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, heads: int, dropout: Dropout
) -> Tensor:
    """Scaled dot-product attention of several heads (Vaswani et al. 2017, equation 1), no output projection.

    Args:
        query: (B, K, H).
        keys: (B, R, H).
        values: (B, R, H).
        mask: (B, R), True where a region is real.
        heads: the number of heads; divides H.
        dropout: of attention weights.

    Returns:
        (B, K, H), the heads side by side.
    """

    query, keys, values = (split_heads(one, heads) for one in (query, keys, values))
    on_cpu = query.device.type == "cpu" and not is_exporting()
    hidden = None if on_cpu and mask.all() else ~mask[:, None, None]
    if on_cpu and not (dropout.training and dropout.dropped):
        # Without copies of keys and values; written out for dropout, and for exported graphs.
        seen = None if hidden is None else ~hidden
        fused: Tensor = scaled_dot_product_attention(query, keys, values, seen)
        return fused.transpose(1, 2).flatten(-2)
    scores = (query / math.sqrt(query.shape[-1])) @ keys.transpose(-1, -2)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = dropout(scores.softmax(dim=-1))
    attended: Tensor = (weights @ values).transpose(1, 2).flatten(-2)
    return attended


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """A view of (B, L, heads x S) as (B, heads, L, S)."""
    return tensor.view(*tensor.shape[:-1], heads, -1).transpose(1, 2)


class AttentionOnAttention(nn.Module):
    """AoA (Huang et al. 2019, equations 3 to 5): information gated by its own relevance to a query.

    i = W_q^i q + W_v^i v + b^i;  g = sigmoid(W_q^g q + W_v^g v + b^g);  output = g * i,
    which is one linear layer on [v; q] followed by a gated linear unit.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = Linear(2 * width, 2 * width)

    def forward(self, attended: Tensor, query: Tensor) -> Tensor:
        """Combine the attended value and the query, each (…, H), to (…, H)."""
        return glu(self.linear(self.dropout(torch.cat([attended, query], dim=-1))), dim=-1)
