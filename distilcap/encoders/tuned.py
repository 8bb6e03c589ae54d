"""Regions straight from image files, with gradients, for training an encoder along with its captioner."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from distilcap.data.dataset import ImageRecord
from distilcap.encoders.base import Encoder, GridEncoder, freeze_batch_norm
from distilcap.encoders.efficientnet import EfficientNet
from distilcap.encoders.engines import GraphEncoder, run_by
from distilcap.encoders.recipes import TORCH
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.shapes import Regions

__all__ = ["ImageRegions", "LastStages", "view_of"]


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
        views: how many views of an image there are, of which training sees a random one each time: the image,
            the image flipped, then random crops (`view_of`). In evaluation mode the image itself is seen.
        engine: what runs the frozen stages, on the CPU, see `engines.run_by`; PyTorch where it is absent.
        progress: hears where PyTorch runs them instead of the engine.

    Raises:
        ConfigError: the encoder is no EfficientNet, or has not so many stages.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Iterable[ImageRecord],
        stages: int,
        views: int = 1,
        engine: str = TORCH,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(encoder, images, max(2, torch.get_num_threads()), cache_bytes=0)
        self.views = views
        backbone = getattr(encoder, "backbone", None)
        if not isinstance(encoder, GridEncoder) or not isinstance(backbone, EfficientNet):
            raise ConfigError(f"Only an EfficientNet is tuned by stages, but the encoder is {encoder.name}.")
        if not 1 <= stages <= len(backbone.blocks):
            raise ConfigError(f"`tune_stages` must be in 1 to {len(backbone.blocks)}, but is {stages}.")
        self.first = len(backbone.blocks) - stages
        self._maps: dict[tuple[str, int], Tensor] = {}
        for part in (backbone.conv_stem, backbone.blocks[: self.first]):
            part.requires_grad_(False)
        self._graph = None if engine == TORCH else _first_stages(encoder, self.first, engine, progress)

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """See `ImageRegions.regions_of`."""
        encoder = cast(GridEncoder, self.encoder)
        backbone = cast(EfficientNet, encoder.backbone)
        device = next(self.parameters()).device
        chosen = [0] * len(ids)
        if self.training and self.views > 1:
            chosen = torch.randint(self.views, (len(ids),)).tolist()
        seen_as = list(zip(ids, chosen, strict=True))
        if missing := [key for key in dict.fromkeys(seen_as) if key not in self._maps]:
            if self._graph is None:
                pixels = np.stack(list(self._pool.map(self._view, missing)))
                batch = torch.from_numpy(normalise(pixels, encoder.preprocessing)).to(device)
                with torch.no_grad():
                    maps = backbone.until(batch, self.first).to("cpu", torch.float16)
            else:
                maps = torch.cat(list(self._pool.map(self._map, missing)))
            self._maps.update(zip(missing, maps, strict=True))
        seen = torch.stack([self._maps[key] for key in seen_as]).to(device, torch.float32)
        return encoder.regions_from(backbone.onwards(seen, self.first))

    def _view(self, key: tuple[str, int]) -> Bytes:
        image_id, view = key
        return view_of(self._pixels(image_id), view, image_id)

    def _map(self, key: tuple[str, int]) -> Tensor:
        """The map (1, C, h, w) of a view, by the engine."""
        assert self._graph is not None
        pixels = normalise(self._view(key)[None], self.encoder.preprocessing)
        cells = self._graph(torch.from_numpy(pixels)).features.half().transpose(1, 2)
        return cells.reshape(1, self._graph.dim, math.isqrt(self._graph.regions), -1).contiguous()


def _first_stages(encoder: GridEncoder, stages: int, engine: str, progress: Progress) -> GraphEncoder | None:
    """The stem and the first stages of an EfficientNet, whose map is their regions; None is PyTorch."""
    backbone = cast(EfficientNet, encoder.backbone)
    layers = nn.Sequential(backbone.conv_stem, backbone.bn1, backbone.act1, *list(backbone.blocks)[:stages])
    first = GridEncoder(
        layers,
        name=encoder.name,
        weights=encoder.weights,
        preprocessing=encoder.preprocessing,
        form=f"first {stages} stages",
    )
    try:
        graph = run_by(engine, first, progress)
    except MissingError as error:
        progress.note(f"PyTorch runs the first stages of {encoder.name}: {error}")
        return None
    return graph if isinstance(graph, GraphEncoder) else None


SMALLEST_CROP = 0.7
"""Of the picture's side: what a caption names is mostly still in it."""


def view_of(pixels: Bytes, view: int, image_id: str) -> Bytes:
    """A view of a picture (S, S, 3), of the same size; always the same for the same image and number.

    0 is the picture, 1 the picture flipped left to right; others are crops of at least `SMALLEST_CROP` of
    both sides, stretched to S, every other of them flipped.
    """
    if view == 0:
        return pixels
    if view > 1:
        side = len(pixels)
        random = np.random.default_rng([zlib.crc32(image_id.encode()), view])
        height, width = np.round(side * random.uniform(SMALLEST_CROP, 1.0, 2)).astype(int)
        top, left = random.integers(side - height + 1), random.integers(side - width + 1)
        box = (left, top, left + width, top + height)
        picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box)
        pixels = np.asarray(picture)
    return pixels if view % 2 == 0 else np.ascontiguousarray(pixels[:, ::-1])
