"""Additive attention of packed captions step by step, and its gradient, without a graph.

With e_i = tanh(k_i + q), scores s_i = w_a . e_i and weights a = softmax(s): from d = d attended,
da_i = d . v_i, ds = a (da - sum a da), dq = sum_i ds_i w_a (1 - e_i^2) = -w_a sum_i ds_i e_i^2, for the ds
of a softmax sum to 0, and dk_i = sum ds_i w_a (1 - e_i^2) over an image's tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from distilcap.models.fast.packing import Packing
from distilcap.models.fast.products import across

__all__ = ["AdditiveAttention", "AdditiveAttentionGradient"]

_CHUNK = 1 << 19
"""Elements of the attention's hidden layer that a CPU computes at a time, so that they stay in its cache."""


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


class AdditiveAttention:
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


class AdditiveAttentionGradient:
    """The gradient of `AdditiveAttention`.

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
