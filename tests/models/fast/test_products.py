from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from distilcap.models.fast import products
from distilcap.models.fast.products import (
    Linear,
    PackedMatrix,
    linear,
    searches_share_weights,
    steps_share_weights,
)


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With and without what oneDNN offers; this machine may have the second only."""
    if request.param and not products._packs():
        pytest.skip("This build of PyTorch keeps no packed matrices.")
    monkeypatch.setattr(products, "_packs", lambda: request.param)
    return bool(request.param)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, 140), min_size=1, max_size=4),
    width=st.integers(1, 300),
    outputs=st.integers(1, 300),
    biased=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_packed_matrix_multiplies_any_number_of_rows(
    rows: list[int], width: int, outputs: int, biased: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(outputs, width, generator=generator)
    bias = torch.randn(outputs, generator=generator) if biased else None
    packed = PackedMatrix(matrix)
    for count in rows:
        # Every second column: steps read views of wider tensors.
        some = torch.randn(count, 2 * width, generator=generator)[:, ::2]
        exact = functional.linear(some.double(), matrix.double(), None if bias is None else bias.double())
        torch.testing.assert_close(packed(some, bias).double(), exact, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 128, 129])
def test_a_few_rows_are_multiplied_by_the_packed_matrix(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not products._packs():
        pytest.skip("This build of PyTorch keeps no packed matrices.")
    monkeypatch.setattr(products, "_product", lambda rows, packed, bias: torch.full((1,), torch.nan))
    matrix, rows = torch.ones(5, 3), torch.ones(count, 3)
    assert PackedMatrix(matrix)(rows).isnan().any() == (1 < count <= 128)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_multiplied_plainly(dtype: torch.dtype) -> None:
    matrix, rows = torch.randn(5, 3, dtype=dtype), torch.randn(2, 4, 3, dtype=dtype)
    assert torch.equal(PackedMatrix(matrix)(rows), functional.linear(rows, matrix))


def test_steps_share_a_packed_weight_until_they_end(packs: bool) -> None:
    layer, rows = Linear(40, 30), torch.randn(6, 5, 40)
    with torch.no_grad():
        expected = functional.linear(rows, layer.weight, layer.bias)
        with steps_share_weights():
            for _ in range(3):
                torch.testing.assert_close(layer(rows), expected)
        layer.weight.mul_(2)
        with steps_share_weights():
            changed = layer(rows)
    torch.testing.assert_close(changed, 2 * expected - layer.bias.detach())


def test_a_matrix_is_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.Tensor] = []

    class Counted(PackedMatrix):
        def __init__(self, matrix: torch.Tensor) -> None:
            made.append(matrix)
            super().__init__(matrix)

    monkeypatch.setattr(products, "PackedMatrix", Counted)
    first, second = torch.randn(4, 3), torch.randn(4, 3)
    with torch.no_grad(), steps_share_weights():
        for _ in range(3):
            linear(torch.randn(2, 3), first)
            linear(torch.randn(5, 3), second)
    assert len(made) == 2


def test_a_packed_matrix_keeps_its_weight_itself() -> None:
    """It is found by the weight's id, which must not become another's."""
    matrix = torch.ones(3, 2)
    packed, kept = PackedMatrix(matrix), weakref.ref(matrix)
    del matrix
    assert kept() is not None
    assert packed(torch.ones(1, 2)).sum() == 6


def test_searches_share_packed_weights_while_they_stay(packs: bool) -> None:
    layer, rows = Linear(40, 30), torch.randn(6, 40)
    packed: dict[int, PackedMatrix] = {}
    with torch.no_grad():
        expected = functional.linear(rows, layer.weight, layer.bias)
        with searches_share_weights(packed):
            torch.testing.assert_close(layer(rows), expected)
            assert not packed  # outside a search nothing is packed
            for _ in range(2):
                with steps_share_weights():
                    torch.testing.assert_close(layer(rows), expected)
                (shared,) = packed.values()
            with steps_share_weights():
                layer(rows)
            assert packed == {id(layer.weight): shared}
        layer.weight.mul_(2)
        for around in (steps_share_weights, searches_share_weights):
            with around(), steps_share_weights():
                changed = layer(rows)
            torch.testing.assert_close(changed, 2 * expected - layer.bias.detach())


def test_where_a_graph_is_kept_the_gradient_is_there(packs: bool) -> None:
    layer, rows = Linear(4, 3), torch.randn(2, 4)
    with steps_share_weights():
        layer(rows).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, rows.sum(dim=0).expand(3, 4))


def test_operators_that_fail_are_not_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        _linear_pointwise = _reorder_linear_weight = staticmethod(lambda *_: torch.zeros(1))

    monkeypatch.setattr(torch.ops, "mkldnn", Broken)
    products._packs.cache_clear()
    try:
        assert not products._packs()
    finally:
        products._packs.cache_clear()
