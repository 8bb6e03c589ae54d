from __future__ import annotations

from typing import Any

import pytest
import torch

from distilcap.models import fast
from distilcap.models.aoanet import RefinerLayer
from distilcap.models.fast.aoanet import FastAoANet

IMAGES, REGIONS, WIDTH, HEADS = 3, 5, 12, 4


def _layer(dropout: float) -> RefinerLayer:
    torch.manual_seed(0)
    layer = RefinerLayer(WIDTH, HEADS, dropout, dropout).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def accelerated(layer: RefinerLayer) -> RefinerLayer:
    faster = fast._exchanged(layer, fast._classes(FastAoANet))
    assert faster is not layer
    return faster


def _mask(full: bool) -> torch.Tensor:
    mask = torch.ones(IMAGES, REGIONS, dtype=torch.bool)
    if not full:
        mask[0, 3:] = mask[2, 1:] = False
    return mask


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_output_and_gradients_are_those_of_autograd(
    dropout: float, full: bool, training: bool, masks: Any
) -> None:
    layer = _layer(dropout).train(training)
    given = torch.randn(IMAGES, REGIONS, WIDTH, dtype=torch.float64)
    weights = torch.randn_like(given)
    found = []
    for module in (accelerated(layer), layer):
        if module is layer and training and dropout:
            masks.give_to(layer)
        values = given.clone().requires_grad_()
        layer.zero_grad()
        refined = module(values, _mask(full))
        assert ("_Refine" in type(refined.grad_fn).__name__) == (module is not layer)
        (refined * weights).sum().backward()
        gradients = [values.grad, *(parameter.grad for parameter in layer.parameters())]
        assert len(gradients) == 7
        found.append([refined.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_are_finite_differences() -> None:
    layer = accelerated(_layer(0.0))
    values = torch.randn(IMAGES, REGIONS, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: layer(given, _mask(False)), (values,))


def test_without_a_graph_it_computes_the_same() -> None:
    layer = _layer(0.4).eval()
    values = torch.randn(IMAGES, REGIONS, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(accelerated(layer)(values, _mask(False)), layer(values, _mask(False)))
