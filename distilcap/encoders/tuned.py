"""Regions straight from image files, with gradients, for training an encoder along with its captioner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from distilcap.data.dataset import ImageRecord
from distilcap.encoders.base import Encoder, GridEncoder, freeze_batch_norm
from distilcap.encoders.efficientnet import EfficientNet
from distilcap.errors import ConfigError, DataError
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.shapes import Regions

__all__ = ["ImageRegions", "LastStages"]


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
        for image_id, image in zip(ids, pixels, strict=True):
            if image_id not in self._cache and image.nbytes <= self._room:
                self._cache[image_id] = image
                self._room -= image.nbytes
        device = next(self.parameters()).device
        batch = torch.from_numpy(normalise(np.stack(pixels), self.encoder.preprocessing)).to(device)
        regions: Regions = self.encoder(batch)
        return regions


class LastStages(ImageRegions):
    """Tunes the last stages of an EfficientNet only: what earlier stages see is computed once and kept.

    For a machine without a GPU: at 224 pixels the last two stages of seven are a quarter of the network's
    work, and hold most of its weights. An image's map takes 44 kB (float16), Flickr8k's 8,000 0.35 GB.

    Args:
        encoder: an EfficientNet as `create_encoder` makes it.
        images: those that may be asked for.
        stages: how many of the seven are tuned.

    Raises:
        ConfigError: the encoder is no EfficientNet, or has not so many stages.
    """

    def __init__(self, encoder: Encoder, images: Iterable[ImageRecord], stages: int) -> None:
        super().__init__(encoder, images, cache_bytes=0)
        backbone = getattr(encoder, "backbone", None)
        if not isinstance(encoder, GridEncoder) or not isinstance(backbone, EfficientNet):
            raise ConfigError(f"Only an EfficientNet is tuned by stages, but the encoder is {encoder.name}.")
        if not 1 <= stages <= len(backbone.blocks):
            raise ConfigError(f"`tune_stages` must be in 1 to {len(backbone.blocks)}, but is {stages}.")
        self.first = len(backbone.blocks) - stages
        self._maps: dict[str, Tensor] = {}
        for part in (backbone.conv_stem, backbone.blocks[: self.first]):
            part.requires_grad_(False)

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """See `ImageRegions.regions_of`."""
        encoder = cast(GridEncoder, self.encoder)
        backbone = cast(EfficientNet, encoder.backbone)
        device = next(self.parameters()).device
        if missing := [image_id for image_id in ids if image_id not in self._maps]:
            pixels = np.stack(list(self._pool.map(self._pixels, missing)))
            batch = torch.from_numpy(normalise(pixels, encoder.preprocessing)).to(device)
            with torch.no_grad():
                maps = backbone.until(batch, self.first).to("cpu", torch.float16)
            self._maps.update(zip(missing, maps, strict=True))
        seen = torch.stack([self._maps[image_id] for image_id in ids]).to(device, torch.float32)
        return encoder.regions_from(backbone.onwards(seen, self.first))
