"""Regions straight from image files, with gradients, for training an encoder along with its captioner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from torch import nn

from distilcap.data.dataset import ImageRecord
from distilcap.encoders.base import Encoder, freeze_batch_norm
from distilcap.encoders.pixels import Bytes, load_pixels, normalise
from distilcap.errors import DataError
from distilcap.shapes import Regions

__all__ = ["ImageRegions"]


class ImageRegions(nn.Module):
    """An encoder with the images it looks at: takes the place of a `FeatureStore` in training.

    Its parameters are the encoder's; batch normalisation stays frozen in both modes.

    Args:
        encoder: as `create_encoder` makes it; `save_encoder(this.encoder, path)` keeps what it learnt.
        images: those that may be asked for.
        threads: that decode the images of a batch.
        cache_bytes: of decoded pixels kept in memory, so that later epochs need not decode again.
    """

    def __init__(
        self, encoder: Encoder, images: Iterable[ImageRecord], threads: int = 2, cache_bytes: int = 2 << 30
    ) -> None:
        super().__init__()
        assert isinstance(encoder, nn.Module)
        self.encoder = encoder
        self.paths = {image.id: image.path for image in images}
        self._pool = ThreadPoolExecutor(threads)
        self._cache: dict[str, Bytes] = {}
        self._room = cache_bytes
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode, but leave batch normalisation in evaluation mode."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def _pixels(self, image_id: str) -> Bytes:
        if image_id in self._cache:
            return self._cache[image_id]
        if image_id not in self.paths:
            raise DataError(f'There is no image "{image_id}" to look at.')
        return load_pixels(self.paths[image_id], self.encoder.preprocessing)

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """Regions (B, R, D) of the named images, in that order, on the encoder's device.

        Raises:
            DataError: an image is unknown or cannot be decoded; the message names it.
        """
        pixels = list(self._pool.map(self._pixels, ids))
        for image_id, one in zip(ids, pixels, strict=True):
            if image_id not in self._cache and one.nbytes <= self._room:
                self._cache[image_id] = one
                self._room -= one.nbytes
        device = next(self.parameters()).device
        batch = torch.from_numpy(normalise(np.stack(pixels), self.encoder.preprocessing)).to(device)
        regions: Regions = self.encoder(batch)
        return regions
