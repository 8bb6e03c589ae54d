"""A detector as an encoder: its best boxes, or its feature pyramid pooled to a grid, as regions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distilcap.encoders.base import Encoder, Preprocessing
from distilcap.encoders.boxes import anchor_boxes, area_pool, decode_boxes, levels_of, pool_boxes, suppress
from distilcap.errors import ConfigError
from distilcap.shapes import Regions

__all__ = ["DETECTOR_FORMS", "IMAGENET_MEAN", "IMAGENET_STD", "DetectorEncoder", "used_parts"]

DETECTOR_FORMS = ("regions", "regions+backbone", "grid", "grid+backbone")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GEOMETRY = 5  # left, top, right, bottom, area, as fractions of the picture


class DetectorEncoder(nn.Module):
    """Regions of an EfficientDet.

    Form "regions": the `regions` best boxes after non-maximum suppression; features are pooled from the
    BiFPN level that fits the box, then the box's geometry follows (Anderson et al. 2018 take the regions of
    a detector; the geometry is that of Zhou et al. 2020). Form "grid": all levels pooled to one square grid
    of `regions` cells, side by side. "+backbone" appends the backbone's last stage, pooled alike.

    Args:
        network: has `backbone`, `fpn`, `class_net` and `box_net`: ours, or one of effdet.
        name: as `create_encoder` takes it.
        weights: SHA-256 of the weights.
        preprocessing: of the pictures.
        form: one of `DETECTOR_FORMS`.
        regions: boxes, or cells of the grid, a square number.
        anchors: options of `anchor_boxes` with which the network was trained.
        candidates: boxes that enter the suppression.

    Raises:
        ConfigError: an unknown form, or a number of regions it cannot have.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        weights: str,
        preprocessing: Preprocessing,
        form: str = "regions",
        regions: int | None = None,
        anchors: dict[str, Any] | None = None,
        candidates: int = 1000,
    ) -> None:
        super().__init__()
        if form not in DETECTOR_FORMS:
            raise ConfigError(
                f'`form` of {name} must be one of {", ".join(DETECTOR_FORMS)}, but is "{form}".'
            )
        self.kind, _, backbone = form.partition("+")
        if regions is None:
            regions = 36 if self.kind == "regions" else 49
        if regions < 1:
            raise ConfigError(f"`regions` must be at least 1, but is {regions}.")
        if self.kind == "grid" and math.isqrt(regions) ** 2 != regions:
            raise ConfigError(f"`regions` of a grid must be a square number, such as 49, but is {regions}.")
        self.network = network
        self.name, self.weights, self.form, self.regions = name, weights, form, regions
        self.preprocessing = preprocessing
        self.with_backbone = backbone == "backbone"
        self.eval()
        with torch.no_grad():
            stages, levels = self._maps(torch.zeros(1, 3, preprocessing.size, preprocessing.size))
        self.sizes = [(level.shape[2], level.shape[3]) for level in levels]
        self.register_buffer("anchors", anchor_boxes(self.sizes, **(anchors or {})), persistent=False)
        self.candidates = min(candidates, len(self.get_buffer("anchors")))
        if self.kind == "regions" and regions > self.candidates:
            raise ConfigError(f"`regions` must be at most {self.candidates} at this size, but is {regions}.")
        channels = levels[0].shape[1]
        self.dim = channels * len(levels) if self.kind == "grid" else channels + GEOMETRY
        self.dim += stages[-1].shape[1] * self.with_backbone

    def recipe(self) -> dict[str, Any]:
        """JSON that tells these features from all others."""
        return {
            "encoder": self.name,
            "weights": self.weights,
            "form": self.form,
            "regions": self.regions,
            "dim": self.dim,
            "preprocessing": self.preprocessing.to_json(),
        }

    def _maps(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The backbone's maps and the pyramid's, finest first."""
        stages: list[Tensor] = self.network.get_submodule("backbone")(pixels)
        levels: list[Tensor] = self.network.get_submodule("fpn")(list(stages))
        return stages, levels

    def forward(self, pixels: Tensor) -> Regions:
        """(B, 3, S, S) to (B, R, D); with boxes, regions that suppression left empty are masked out."""
        stages, levels = self._maps(pixels)
        last = stages[-1:] if self.with_backbone else []
        if self.kind == "grid":
            side = math.isqrt(self.regions)
            pooled = torch.cat([area_pool(features, side) for features in (*levels, *last)], 1)
            return Regions.full(pooled.flatten(2).transpose(1, 2))
        boxes, _, _, mask = self._detect(levels)
        fitting = levels_of(boxes, self.sizes)
        features = torch.stack(
            [pool_boxes(level, boxes) * (fitting == number)[..., None] for number, level in enumerate(levels)]
        ).sum(0)
        area = (boxes[..., 2:] - boxes[..., :2]).prod(-1, keepdim=True)
        parts = [features, *[pool_boxes(stage, boxes) for stage in last], boxes, area]
        return Regions(torch.cat(parts, -1) * mask[..., None], mask)

    def _detect(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pyramid's maps to the boxes behind the regions, best first.

        Returns:
            boxes (B, R, 4) in fractions of the picture, scores (B, R) from 0 to 1, classes (B, R) from 0,
            mask (B, R), True where a box is real.
        """
        classes_of = self.network.get_submodule("class_net")(list(levels))
        offsets_of = self.network.get_submodule("box_net")(list(levels))
        anchors = self.get_buffer("anchors")
        per_cell = len(anchors) // sum(height * width for height, width in self.sizes)

        def flat(maps: Sequence[Tensor]) -> Tensor:
            """Maps (B, A x n, h, w) of all levels to (B, anchors, n)."""
            batch, outputs = maps[0].shape[:2]
            return torch.cat(
                [level.permute(0, 2, 3, 1).reshape(batch, -1, outputs // per_cell) for level in maps], 1
            )

        logits, classes = flat(classes_of).max(-1)
        logits, rows = logits.topk(self.candidates, 1)
        offsets = flat(offsets_of).gather(1, rows[..., None].expand(-1, -1, 4))
        boxes, classes = decode_boxes(offsets, anchors[rows]), classes.gather(1, rows)
        kept, mask = suppress(boxes, logits, classes, self.regions)
        boxes = boxes.gather(1, kept[..., None].expand(-1, -1, 4))
        return boxes, logits.gather(1, kept).sigmoid() * mask, classes.gather(1, kept), mask


def used_parts(encoder: Encoder) -> list[nn.Module]:
    """The parts that a detector's form needs: a grid needs none of the heads."""
    assert isinstance(encoder, DetectorEncoder)
    if encoder.kind == "grid":
        return [encoder.network.get_submodule(name) for name in ("backbone", "fpn")]
    return [encoder]
