"""Products with weights that many steps read: x W^T + b, as `torch.nn.functional.linear`.

A matrix product first copies its operands into an order that suits the processor's caches. With the 50 rows
of a step that copy takes as long as the arithmetic, and it is the same at every step; oneDNN, which PyTorch
has for x86, multiplies by weights that are kept in its order. Elsewhere, for anything but float32, and for
more rows than it is faster at, products are PyTorch's own.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch
from torch import Tensor, nn

__all__ = ["Linear", "PackedMatrix", "across", "linear", "searches_share_weights", "steps_share_weights"]

_ROWS = 50
"""What oneDNN expects at packing; other numbers of rows may follow."""

_MOST_ROWS = 128
"""From here on the copy is little beside the arithmetic, at which MKL is faster."""

_shared: ContextVar[dict[int, PackedMatrix] | None] = ContextVar("shared weights", default=None)
_lasting: ContextVar[dict[int, PackedMatrix] | None] = ContextVar("lasting weights", default=None)


class PackedMatrix:
    """A matrix (N, K) that multiplies rows at many steps, and must not change meanwhile."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix.detach()
        self._whole = matrix  # the object itself, whose id must stay its own while others ask by it
        packs = matrix.device.type == "cpu" and matrix.dtype == torch.float32 and _packs()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.matrix, _ROWS) if packs else None

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """`linear(rows, matrix, bias)`: rows (…, K), bias (N,), result (…, N). It has no gradient."""
        count = rows.numel() // max(1, rows.shape[-1])
        if self._packed is None or rows.dtype != self.matrix.dtype or not 1 < count <= _MOST_ROWS:
            return nn.functional.linear(rows, self.matrix, bias)
        return _product(rows, self._packed, bias)


def _product(rows: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return product


@cache
def _packs() -> bool:
    """Whether this build of PyTorch keeps packed matrices and multiplies any number of rows by them.

    These operators are those that PyTorch's own compiler freezes models with; they are not documented, so
    one product of each kind is compared before any is relied on.
    """
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch._C._has_mkldnn:
        return False
    generator = torch.Generator().manual_seed(0)
    matrix, rows, bias = (torch.randn(shape, generator=generator) for shape in ((80, 70), (50, 70), (80,)))
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(matrix, _ROWS)
        return all(
            torch.allclose(_product(some, packed, bias), nn.functional.linear(some, matrix, bias), atol=1e-4)
            for some in torch.split(rows, [1, 17, 32])
        )
    except (AttributeError, RuntimeError, TypeError):  # of a PyTorch that has other such operators, or none
        return False


@contextmanager
def steps_share_weights() -> Iterator[None]:
    """Within, accelerated captioners pack each weight that they meet without a graph, once.

    Weights must not change meanwhile. Plain captioners take no notice.
    """
    lasting = _lasting.get()
    token = _shared.set({} if lasting is None else lasting)
    try:
        yield
    finally:
        _shared.reset(token)


@contextmanager
def searches_share_weights(packed: dict[int, PackedMatrix] | None = None) -> Iterator[None]:
    """Within, what one search packs serves the next: to pack takes up to a fifth of a greedy search of 32
    images. Weights must neither change nor be replaced meanwhile.

    Args:
        packed: what was packed already, of the same weights; it fills.
    """
    token = _lasting.set({} if packed is None else packed)
    try:
        yield
    finally:
        _lasting.reset(token)


def linear(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, faster within `steps_share_weights`."""
    if (shared := _shared.get()) is None or torch.is_grad_enabled():
        return nn.functional.linear(rows, matrix, bias)
    if torch.is_autocast_enabled(rows.device.type):
        return nn.functional.linear(rows, matrix, bias)
    # The packed matrix keeps the weight alive, so that its id stays its own.
    if id(matrix) not in shared:
        shared[id(matrix)] = PackedMatrix(matrix)
    return shared[id(matrix)](rows, bias)


class Linear(nn.Linear):
    """A linear layer that steps read."""

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (…, K) to (…, N)."""
        return linear(rows, self.weight, self.bias)


def across(matrices: Tensor) -> Tensor:
    """(n, M, N) to (n, N, M), copied: small products by a transposed view take twice as long."""
    return matrices.transpose(1, 2).contiguous()
