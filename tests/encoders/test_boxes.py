from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.encoders.boxes import anchor_boxes, area_pool, decode_boxes, levels_of, pool_boxes, suppress
from distilcap.encoders.third_party import import_effdet

SIZES = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]


def some_boxes(count: int, seed: int) -> torch.Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([corners.amin(1), corners.amax(1)], -1)


def test_anchors_and_decoding_equal_effdet() -> None:
    import_effdet()
    from effdet.anchors import Anchors, decode_box_outputs

    theirs = Anchors(3, 7, 3, [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)], 4.0, (128, 128)).boxes
    ours = anchor_boxes(SIZES)
    assert torch.allclose(ours[:, [1, 0, 3, 2]] * 128, theirs, atol=1e-4)
    offsets = torch.randn(len(theirs), 4, generator=torch.Generator().manual_seed(0)) * 0.3
    expected = decode_box_outputs(offsets, theirs, output_xyxy=True)
    assert torch.allclose(decode_boxes(offsets, ours) * 128, expected.clamp(0, 128), atol=1e-3)


def test_an_untrained_head_does_not_overflow() -> None:
    boxes = decode_boxes(torch.full((1, 4), 1e6), torch.tensor([[0.4, 0.4, 0.6, 0.6]]))
    assert torch.isfinite(boxes).all()


@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_torchvision(seed: int) -> None:
    ops = pytest.importorskip("torchvision.ops")
    boxes = torch.stack([some_boxes(120, seed), some_boxes(120, seed + 100)])
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, 120, generator=generator)
    classes = torch.randint(0, 3, (2, 120), generator=generator)
    indices, kept = suppress(boxes, scores, classes, 120)
    for image in range(2):
        expected = ops.batched_nms(boxes[image], scores[image], classes[image], 0.5)
        assert indices[image][kept[image]].tolist() == expected.tolist()
        first, _ = suppress(boxes, scores, classes, 7)
        assert first[image].tolist() == expected[:7].tolist()


def test_suppression_of_copies_leaves_one() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5]] * 4])
    scores, classes = torch.tensor([[0.1, 0.9, 0.3, 0.2]]), torch.zeros(1, 4, dtype=torch.int64)
    indices, kept = suppress(boxes, scores, classes, 3)
    assert indices[0, 0] == 1
    assert kept.tolist() == [[True, False, False]]


def test_level_follows_size() -> None:
    # Sides of 3, 4, 7.9, 8, 16, 40 cells of the finest map.
    sides = torch.tensor([3, 4, 7.9, 8, 16, 40]) / 64
    boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], -1)
    sizes = [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert levels_of(boxes, sizes).tolist() == [0, 0, 0, 1, 2, 3]
    assert levels_of(torch.tensor([0.0, 0, 1, 1]), sizes) == 4
    assert levels_of(torch.tensor([0.5, 0.5, 0.5, 0.5]), sizes) == 0


def test_pooling_a_linear_ramp_gives_the_box_centre() -> None:
    # Bilinear samples of a linear function average to its value at the box's centre.
    row = (torch.arange(16) + 0.5) / 16
    features = torch.stack([row.expand(16, 16), row.expand(16, 16).T])[None]
    boxes = torch.tensor([[[0.1, 0.2, 0.5, 0.8], [0.25, 0.25, 0.75, 0.3]]])
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert torch.allclose(pool_boxes(features, boxes), centres, atol=1e-5)


def test_pooling_equals_roi_align() -> None:
    ops = pytest.importorskip("torchvision.ops")
    features = torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    boxes = some_boxes(12, 3) * 0.8 + 0.1  # off the border, where the two pad differently
    expected = ops.roi_align(features, [boxes * 20], output_size=1, sampling_ratio=7, aligned=True)
    assert torch.allclose(pool_boxes(features, boxes[None])[0], expected.flatten(1), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 20), side=st.integers(1, 12))
def test_area_pooling_keeps_the_mean_and_constants(length: int, side: int) -> None:
    features = torch.rand(1, 2, length, length, dtype=torch.float64)
    pooled = area_pool(features, side)
    assert pooled.shape == (1, 2, side, side)
    assert torch.allclose(pooled.mean((2, 3)), features.mean((2, 3)))
    assert torch.allclose(area_pool(torch.ones_like(features), side), torch.ones(1, 2, side, side).double())


@pytest.mark.parametrize("length, side", [(14, 7), (8, 4), (9, 3)])
def test_area_pooling_equals_average_pooling_where_it_divides(length: int, side: int) -> None:
    features = torch.rand(2, 3, length, length)
    expected = torch.nn.functional.adaptive_avg_pool2d(features, side)
    assert torch.allclose(area_pool(features, side), expected, atol=1e-6)


def test_area_pooling_of_a_fraction() -> None:
    # Three cells onto two: each output is a whole cell and half of the middle one.
    row = torch.tensor([[[[3.0, 6.0, 9.0]] * 3]])
    expected = [(3 + 0.5 * 6) / 1.5, (0.5 * 6 + 9) / 1.5]
    assert np.allclose(area_pool(row, 2)[0, 0, 0], expected)
    assert math.isclose(expected[0], 4)
