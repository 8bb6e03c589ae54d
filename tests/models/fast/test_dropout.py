from __future__ import annotations

import pytest
import torch

from distilcap.models.fast.dropout import Dropout


@pytest.mark.parametrize(
    ("probability", "bits"), [(0.01, 16), (0.1, 8), (0.3, 8), (0.5, 8), (0.9, 8), (0.99, 16)]
)
def test_what_is_kept_is_scaled_so_that_the_mean_stays(probability: float, bits: int) -> None:
    torch.manual_seed(0)
    values = torch.ones(1001, 333, requires_grad=True)
    drop = Dropout(probability)
    assert drop.bits == bits
    assert drop.rounded == pytest.approx(probability, rel=0.02)
    assert 1 - drop.rounded == pytest.approx(1 - probability, rel=0.02)
    dropped, probability = drop(values), drop.rounded
    kept = dropped != 0
    assert torch.unique(dropped).tolist() == pytest.approx([0, 1 / (1 - probability)], rel=1e-6)
    deviation = (probability * (1 - probability) / values.numel()) ** 0.5
    assert abs(kept.float().mean().item() - (1 - probability)) < 5 * deviation
    # Draws of one 64-bit number, and of neighbouring rows, are independent.
    for lag in (1, 2, 3, 333):
        both = (kept.flatten()[lag:] & kept.flatten()[:-lag]).float().mean().item()
        assert both == pytest.approx((1 - probability) ** 2, abs=5 * deviation)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped)


def test_nothing_is_dropped_outside_training_or_at_zero() -> None:
    values = torch.randn(7, 3)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_the_seed_decides_and_types_and_layouts_stay() -> None:
    values = torch.randn(5, 6, dtype=torch.float64).t()
    drop = Dropout(0.5)
    torch.manual_seed(1)
    first = drop(values)
    torch.manual_seed(1)
    assert torch.equal(first, drop(values))
    assert first.dtype == torch.float64
    assert first.shape == (6, 5)
    assert "0.5" in repr(drop)
