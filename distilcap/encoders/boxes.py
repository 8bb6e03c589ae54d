"""Geometry of detectors and grids: anchors, boxes, non-maximum suppression, pooling of features.

In plain PyTorch on whole batches; boxes are (left, top, right, bottom) in fractions of the picture's sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["anchor_boxes", "area_pool", "decode_boxes", "levels_of", "pool_boxes", "suppress"]

_LARGEST_LOG_SCALE = math.log(1000 / 16)  # an untrained box head must not overflow


def anchor_boxes(
    sizes: Sequence[tuple[int, int]],
    scale: float = 4.0,
    ratios: Sequence[tuple[float, float]] = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)),
    octaves: int = 3,
) -> Tensor:
    """Anchors of RetinaNet (Lin et al. 2017, section 4) at every cell of every level.

    Args:
        sizes: (height, width) of each level's map.
        scale: side of an anchor in cells.
        ratios: (width, height) multipliers.
        octaves: anchors a factor of 2 ** (1 / octaves) apart.

    Returns:
        (A, 4); cell after cell, in a cell the octaves, in an octave the ratios.
    """
    levels = []
    for height, width in sizes:
        shapes = torch.tensor(
            [
                (
                    scale * 2 ** (octave / octaves) * across / width,
                    scale * 2 ** (octave / octaves) * down / height,
                )
                for octave in range(octaves)
                for across, down in ratios
            ]
        )
        rows = (torch.arange(height) + 0.5) / height
        columns = (torch.arange(width) + 0.5) / width
        centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).reshape(-1, 1, 2)
        levels.append(torch.cat([centres - shapes / 2, centres + shapes / 2], -1).reshape(-1, 4))
    return torch.cat(levels)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Boxes from a head's offsets (y, x, log height, log width) (Ren et al. 2015, equation 2), clipped.

    Args:
        offsets: (…, 4).
        anchors: (…, 4).
    """
    sides = anchors[..., 2:] - anchors[..., :2]
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2 + offsets[..., [1, 0]] * sides
    halves = sides * offsets[..., [3, 2]].clamp(max=_LARGEST_LOG_SCALE).exp() / 2
    return torch.cat([centres - halves, centres + halves], -1).clamp(0, 1)


def suppress(
    boxes: Tensor, scores: Tensor, classes: Tensor, count: int, overlap: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression within classes, on all images of a batch at once.

    Args:
        boxes: (B, N, 4). scores: (B, N). classes: (B, N) integers.
        count: most boxes to keep (at most N).
        overlap: intersection over union beyond which the lower of two boxes goes.

    Returns:
        (B, count) indices, best first, and (B, count) booleans, False where nothing was left to keep.
    """
    left = torch.ones_like(scores, dtype=torch.bool)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    rows = torch.arange(len(boxes), device=boxes.device)
    indices, kept = [], []
    for _ in range(count):
        best = scores.masked_fill(~left, -torch.inf).argmax(1)
        indices.append(best)
        kept.append(left[rows, best])
        box = boxes[rows, best, None]
        sides = torch.minimum(boxes[..., 2:], box[..., 2:]) - torch.maximum(boxes[..., :2], box[..., :2])
        shared = sides.clamp(min=0).prod(-1)
        union = areas + areas[rows, best, None] - shared
        left = left & ~((shared > overlap * union) & (classes == classes[rows, best, None]))
        left[rows, best] = False
    return torch.stack(indices, 1), torch.stack(kept, 1)


def levels_of(boxes: Tensor, sizes: Sequence[tuple[int, int]], cells: float = 4.0) -> Tensor:
    """The finest level on which a box is less than twice `cells` cells wide and high (geometric mean).

    The rule of feature pyramids (Lin et al. 2017, FPN, equation 1), with the detector's own anchors as
    canonical size: an object is pooled from the level that detects objects of its size.

    Args:
        boxes: (…, 4).
        sizes: (height, width) of each level's map, finest first.

    Returns:
        (…) indices of levels.
    """
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    limits = torch.tensor([(2 * cells) ** 2 / (height * width) for height, width in sizes[:-1]])
    return (area[..., None] >= limits.to(area)).sum(-1)


def pool_boxes(features: Tensor, boxes: Tensor, points: int = 7) -> Tensor:
    """Mean of points x points bilinear samples in each box (RoIAlign, He et al. 2017, pooled to one cell).

    Args:
        features: (B, C, h, w).
        boxes: (B, K, 4).

    Returns:
        (B, K, C).
    """
    steps = (torch.arange(points, device=boxes.device, dtype=boxes.dtype) + 0.5) / points
    across, down = torch.meshgrid(steps, steps, indexing="xy")
    inside = torch.stack([across, down], -1).reshape(-1, 2)
    positions = boxes[:, :, None, :2] + inside * (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    samples = F.grid_sample(features, positions * 2 - 1, padding_mode="border", align_corners=False)
    return samples.mean(-1).transpose(1, 2)


def area_pool(features: Tensor, side: int) -> Tensor:
    """Resample a map to side x side cells, each the mean of what it covers, weighted by the area covered.

    As two products with constant matrices: exporters need no adaptive pooling.

    Args:
        features: (B, C, h, w).

    Returns:
        (B, C, side, side).
    """
    height, width = features.shape[-2:]
    if height == width == side:
        return features
    rows, columns = (_coverage(length, side).to(features) for length in (height, width))
    return rows @ features @ columns.T


def _coverage(length: int, cells: int) -> Tensor:
    """(cells, length): the share of each output cell that each input cell covers; rows sum to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * length / cells
    low, high = edges[:-1, None], edges[1:, None]
    start = torch.arange(length, dtype=torch.float64)
    shared = (torch.minimum(high, start + 1) - torch.maximum(low, start)).clamp(min=0)
    return shared * cells / length
