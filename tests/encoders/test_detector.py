from __future__ import annotations

import pytest
import torch

from distilcap.encoders.boxes import pool_boxes
from distilcap.encoders.detector import GEOMETRY, DetectorEncoder
from distilcap.encoders.registry import create_encoder
from distilcap.errors import ConfigError


def boxes_behind(encoder: DetectorEncoder, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Boxes (B, R, 4), scores, classes and mask (B, R) of the regions, best first."""
    return encoder._detect(encoder._maps(pixels)[1])


def detector(**options: object) -> DetectorEncoder:
    encoder = create_encoder("efficientdet-d0", weights="random", **{"size": 128} | options)
    assert isinstance(encoder, DetectorEncoder)
    return encoder


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "form, regions, shape",
    [
        ("regions", None, (2, 36, 64 + GEOMETRY)),
        ("regions+backbone", 5, (2, 5, 64 + GEOMETRY + 320)),
        ("grid", None, (2, 49, 5 * 64)),
        ("grid+backbone", 16, (2, 16, 5 * 64 + 320)),
    ],
)
@torch.no_grad()
def test_forms(pixels: torch.Tensor, form: str, regions: int | None, shape: tuple[int, ...]) -> None:
    encoder = detector(form=form, regions=regions)
    out = encoder(pixels)
    assert out.features.shape == shape
    assert (encoder.regions, encoder.dim) == shape[1:]
    assert torch.isfinite(out.features).all()
    assert out.mask[:, 0].all()
    recipe = encoder.recipe()
    assert (recipe["form"], recipe["regions"], recipe["dim"]) == (form, *shape[1:])
    # Images do not look at each other.
    alone = encoder(pixels[1:])
    assert torch.allclose(alone.features, out.features[1:], atol=1e-4)


@torch.no_grad()
def test_the_default_is_the_papers_size() -> None:
    encoder = create_encoder("efficientdet-d0", weights="random")
    assert isinstance(encoder, DetectorEncoder)
    assert encoder.preprocessing.size == 512
    assert encoder.sizes == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]


@torch.no_grad()
def test_regions_are_the_pooled_boxes_and_their_geometry(pixels: torch.Tensor) -> None:
    encoder = detector(regions=12)
    boxes, scores, classes, mask = boxes_behind(encoder, pixels)
    assert scores.shape == classes.shape == mask.shape == (2, 12)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[..., 2:] >= boxes[..., :2]).all()
    features = encoder(pixels).features
    geometry = features[..., -GEOMETRY:]
    assert torch.equal(geometry[..., :4], boxes * mask[..., None])
    sides = boxes[..., 2:] - boxes[..., :2]
    assert torch.allclose(geometry[..., 4], sides[..., 0] * sides[..., 1] * mask)
    levels = encoder.network.fpn(encoder.network.backbone(pixels))
    # A box smaller than 8 cells of P3 (half of the picture here) is pooled from P3.
    small = sides.prod(-1) < 0.25
    assert small.any()
    assert torch.allclose(features[..., :64][small], pool_boxes(levels[0], boxes)[small], atol=1e-5)
    large = (sides.prod(-1) >= 0.25) & (sides.prod(-1) < 1)
    assert torch.allclose(features[..., :64][large], pool_boxes(levels[1], boxes)[large], atol=1e-5)


@torch.no_grad()
def test_boxes_that_suppression_left_out_are_masked(pixels: torch.Tensor) -> None:
    encoder = detector(regions=40)
    encoder.candidates = 40
    out = encoder(pixels)
    assert not out.mask.all()
    assert (out.features[~out.mask] == 0).all()


@torch.no_grad()
def test_detections_equal_effdets(pixels: torch.Tensor) -> None:
    """On the very network, against effdet's own post-processing: one box an anchor where they agree."""
    pytest.importorskip("effdet")
    encoder = create_encoder(
        "effdet:tf_efficientdet_d0", weights="random", size=128, form="regions", regions=30
    )
    assert isinstance(encoder, DetectorEncoder)
    # Spread the scores: in a random network all are nearly equal.
    encoder.network.class_net.predict.conv_pw.weight.mul_(50)
    ours = create_encoder("efficientdet-d0", weights="random", size=128, regions=30)
    assert isinstance(ours, DetectorEncoder)
    ours.network.load_state_dict(encoder.network.state_dict())
    for mine, other in zip(boxes_behind(ours, pixels), boxes_behind(encoder, pixels), strict=True):
        assert torch.allclose(mine.float(), other.float(), atol=1e-4)
    best = _best_of_effdet(encoder.network, pixels)
    boxes, scores, classes, _ = boxes_behind(ours, pixels)
    assert torch.allclose(scores[:, 0], best[:, 4], atol=1e-5)
    assert torch.allclose(boxes[:, 0] * 128, best[:, :4], atol=1e-2)
    assert torch.equal(classes[:, 0] + 1, best[:, 5].long())


def _best_of_effdet(network: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    from effdet.anchors import Anchors, generate_detections
    from effdet.bench import _post_process

    classes, boxes = network(pixels)
    classes, boxes, indices, labels = _post_process(classes, boxes, 5, 90, 500)
    anchors = Anchors.from_config(network.config).boxes
    size = torch.tensor([128.0, 128.0])
    return torch.stack(
        [
            generate_detections(
                classes[i], boxes[i], anchors, indices[i], labels[i], torch.tensor(1.0), size, 30
            )[0]
            for i in range(len(pixels))
        ]
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"regions": 0}, "`regions` must be at least 1, but is 0"),
        (
            {"form": "grid", "regions": 50},
            "`regions` of a grid must be a square number, such as 49, but is 50",
        ),
        ({"regions": 100_000}, "`regions` must be at most 1000 at this size, but is 100000"),
    ],
)
def test_impossible_regions(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        detector(**options)


def test_gradients_reach_the_backbone(pixels: torch.Tensor) -> None:
    for form in ("grid", "regions"):
        encoder = detector(form=form, regions=4)
        encoder(pixels).features.sum().backward()
        assert encoder.network.backbone.conv_stem.weight.grad is not None
