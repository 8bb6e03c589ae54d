"""AoANet's refiner (Huang et al. 2019, section 3.2.1), with its gradient written out for the processor.

By autograd, heads are copied before and after every product and each dropout is three passes: at small widths
that takes longer than the products. The layer is y = x + m3 (i sigmoid(g)) with [i, g] = W m2 [u V, n] + b,
u = m1 w, w = softmax(Q K^T / sqrt(S)), [Q, K, V] = P n + p and n = LN(x), where the m are dropout's masks.
Its gradient is the chain rule from y to x: one product for each product above and one for each weight; of the
scores, from d = du, it is w (m1 d - sum w m1 d) = u d - w sum u d. Heads are copied once each way. Must equal
autograd's gradients of `RefinerLayer`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from distilcap.models.aoanet import RefinerLayer
from distilcap.models.fast.dropout import Dropout
from distilcap.models.fast.head_attention import multi_head_attention
from distilcap.models.fast.products import across

__all__ = ["FastRefinerLayer"]

_glu_backward = torch.ops.aten.glu_backward.grad_input


class FastRefinerLayer(RefinerLayer):
    """See `RefinerLayer`."""

    weight_dropout: Dropout
    dropout: Dropout

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Refine regions (B, R, H), real where mask (B, R) is True."""
        if (
            values.device.type == "cpu"
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and values.requires_grad
        ):
            return self._with_gradient(values, mask)
        normed = self.norm(values)
        query, keys, inner = self.query_key_value(normed).chunk(3, dim=-1)
        attended = multi_head_attention(query, keys, inner, mask, self.heads, self.weight_dropout)
        refined: Tensor = values + self.dropout(self.aoa(attended, normed))
        return refined

    def _with_gradient(self, values: Tensor, mask: Tensor) -> Tensor:
        images, regions, width = values.shape
        paired_dropout = self.aoa.dropout
        assert isinstance(paired_dropout, Dropout)
        masks = (
            self.weight_dropout.mask((images * self.heads, regions, regions), values),
            paired_dropout.mask((images * regions, 2 * width), values),
            self.dropout.mask((images * regions, width), values),
        )
        parameters = (
            *(self.norm.weight, self.norm.bias),
            *(self.query_key_value.weight, self.query_key_value.bias),
            *(self.aoa.linear.weight, self.aoa.linear.bias),
        )
        hidden = None if mask.all() else ~mask
        refined: Tensor = _Refine.apply(  # type: ignore[no-untyped-call]
            values, *parameters, hidden, self.heads, self.norm.eps, masks
        )
        return refined


class _Refine(Function):
    """Rows are the regions of all images (n = B x R); heads lie as (B x heads, R, S)."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        projection: Tensor,
        projection_bias: Tensor,
        aoa: Tensor,
        aoa_bias: Tensor,
        hidden: Tensor | None,
        heads: int,
        epsilon: float,
        masks: tuple[Tensor | None, Tensor | None, Tensor | None],
    ) -> Tensor:
        images, regions, width = values.shape
        size = width // heads
        weight_mask, paired_mask, output_mask = masks
        normed, mean, deviation = torch.native_layer_norm(values, [width], norm_weight, norm_bias, epsilon)
        rows = normed.view(-1, width)
        projected = linear(rows, projection, projection_bias).view(images, regions, 3, heads, size)
        parts = projected.permute(2, 0, 3, 1, 4).contiguous().view(3, images * heads, regions, size)
        query, keys, inner = parts
        scores = _scaled_bmm(query, across(keys), 1 / math.sqrt(size))
        if hidden is not None:
            scores.view(images, heads, regions, regions).masked_fill_(hidden[:, None, None], -torch.inf)
        weights = scores.softmax(dim=-1)
        used = weights if weight_mask is None else weight_mask.mul_(weights)
        attended = torch.bmm(used, inner).view(images, heads, regions, size).transpose(1, 2)
        paired = rows.new_empty(len(rows), 2 * width)
        left, right = paired.chunk(2, dim=1)
        if paired_mask is None:
            left.view_as(attended).copy_(attended)
            right.copy_(rows)
        else:
            left_mask, right_mask = paired_mask.chunk(2, dim=1)
            torch.mul(attended, left_mask.view_as(attended), out=left.view_as(attended))
            torch.mul(rows, right_mask, out=right)
        pair = linear(paired, aoa, aoa_bias)
        output = torch.nn.functional.glu(pair).view_as(values)
        if output_mask is None:
            refined = output.add_(values)
        else:
            refined = torch.addcmul(values, output, output_mask.view_as(values))
        ctx.save_for_backward(
            values, rows, mean, deviation, parts, weights, used, paired, pair,
            norm_weight, norm_bias, projection, aoa, paired_mask, output_mask,
        )  # fmt: skip
        ctx.heads = heads
        return refined

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_refined: Tensor) -> tuple[Tensor | None, ...]:
        values, rows, mean, deviation, parts, weights, used, paired, pair, *kept = ctx.saved_tensors
        norm_weight, norm_bias, projection, aoa, paired_mask, output_mask = kept
        images, regions, width = values.shape
        heads, size = ctx.heads, width // ctx.heads
        query, keys, inner = parts
        d_refined = d_refined.contiguous()
        d_output = d_refined.view(-1, width)
        d_output = d_output if output_mask is None else d_output * output_mask
        d_pair = _glu_backward(d_output, pair, 1, grad_input=torch.empty_like(pair))
        d_paired = d_pair @ aoa
        if paired_mask is not None:
            d_paired.mul_(paired_mask)
        d_attended = d_paired[:, :width].view(images, regions, heads, size).transpose(1, 2).contiguous()
        d_attended = d_attended.view(images * heads, regions, size)
        d_parts = torch.empty_like(parts)
        torch.bmm(used.transpose(1, 2), d_attended, out=d_parts[2])
        # The softmax's gradient, w (d - sum w d), where dropout leaves u of w: u d - w sum u d.
        products = torch.bmm(d_attended, across(inner)).mul_(used)
        d_scores = products.addcmul_(weights, products.sum(dim=-1, keepdim=True), value=-1)
        scale = 1 / math.sqrt(size)
        _scaled_bmm(d_scores, keys, scale, out=d_parts[0])
        _scaled_bmm(d_scores.transpose(1, 2), query, scale, out=d_parts[1])
        d_projected = (
            d_parts.view(3, images, heads, regions, size).permute(1, 3, 0, 2, 4).reshape(-1, 3 * width)
        )
        d_rows = torch.addmm(d_paired[:, width:], d_projected, projection)
        d_values, d_norm_weight, d_norm_bias = torch.ops.aten.native_layer_norm_backward(
            d_rows.view_as(values), values, [width], mean, deviation, norm_weight, norm_bias, [True] * 3
        )
        return (
            d_values.add_(d_refined),
            d_norm_weight,
            d_norm_bias,
            d_projected.t() @ rows,
            d_projected.sum(dim=0),
            d_pair.t() @ paired,
            d_pair.sum(dim=0),
            *([None] * 4),
        )


def _scaled_bmm(first: Tensor, second: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """`scale * torch.bmm(first, second)` without a pass of its own."""
    out = first.new_empty(len(first), first.shape[1], second.shape[2]) if out is None else out
    return torch.baddbmm(out, first, second, beta=0, alpha=scale, out=out)
