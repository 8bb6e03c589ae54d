"""What is NaN or infinite, where a computation gave no numbers: the images' features or the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distilcap.shapes import Regions

__all__ = ["broken_images", "broken_weight", "named"]


def broken_images(regions: Regions, ids: Sequence[str] = ()) -> list[str]:
    """The images whose features hold NaN or infinity.

    Args:
        ids: of the images, in order; without them, their numbers in the batch, from 1.
    """
    return named(~regions.features.isfinite().flatten(1).all(dim=1), ids)


def broken_weight(network: nn.Module) -> str | None:
    """The first parameter or buffer of a network that holds NaN or infinity."""
    floats = [
        (name, tensor)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
        if tensor.is_floating_point()
    ]
    finite = torch.stack([tensor.isfinite().all() for _, tensor in floats]).tolist()
    return next((name for (name, _), whole in zip(floats, finite, strict=True) if not whole), None)


def named(chosen: Tensor, ids: Sequence[str] = ()) -> list[str]:
    """The ids of the images that are chosen (B,), or else their numbers, from 1."""
    rows = chosen.nonzero()[:, 0].tolist()
    return [ids[row] if ids else str(row + 1) for row in rows]
