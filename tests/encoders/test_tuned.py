"""Regions from image files with gradients: an encoder that is trained along with its captioner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.encoders.extract import extract_features
from distilcap.encoders.registry import create_encoder
from distilcap.encoders.tuned import SMALLEST_CROP, ImageRegions, LastStages, view_of
from distilcap.errors import ConfigError, DataError
from distilcap.progress import SILENT


@pytest.fixture(scope="module")
def images(
    write_images: Callable[..., list[ImageRecord]], tmp_path_factory: pytest.TempPathFactory
) -> list[ImageRecord]:
    return write_images(tmp_path_factory.mktemp("images"), 24, 64)


def test_image_regions_stand_in_for_a_store(
    images: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = create_encoder("efficientnet-lite0", size=32, form="stage")
    extract_features(encoder, images, tmp_path / "store", SILENT)
    store = FeatureStore.open(tmp_path / "store")
    source = ImageRegions(encoder, images)
    ids = [images[row].id for row in (5, 2, 5)]
    for _ in range(2):  # the second time from the cache
        given, expected = source.regions_of(ids), store.regions_of(ids)
        assert torch.allclose(given.features, expected.features.float(), atol=5e-3)
        assert given.features.requires_grad
    with pytest.raises(DataError, match='There is no image "other" to look at'):
        source.regions_of(["other"])


def test_image_regions_train_the_encoder_but_not_its_batch_norm(images: list[ImageRecord]) -> None:
    encoder = create_encoder("timm:test_efficientnet", size=32, weights="random")
    source = ImageRegions(encoder, images, cache_bytes=0).train()
    assert source._cache == {}
    before = {name: value.clone() for name, value in source.state_dict().items()}
    tuned = [parameter for parameter in source.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(tuned, 0.1)
    source.regions_of([image.id for image in images[:4]]).features.sum().backward()
    optimizer.step()
    moved = {name for name, value in source.state_dict().items() if not torch.equal(value, before[name])}
    assert "encoder.backbone.model.conv_stem.weight" in moved
    assert not [name for name in moved if ".bn" in name]
    assert source._cache == {}


def test_last_stages_give_what_the_whole_gives(images: list[ImageRecord]) -> None:
    encoder = create_encoder("efficientnet-lite0", size=64)
    ids = [images[row].id for row in (3, 1)]
    whole = ImageRegions(encoder, images).regions_of(ids).features.detach()
    source = LastStages(encoder, images, 2)
    for _ in range(2):  # the second time from the kept maps
        given = source.regions_of(ids).features
        assert torch.allclose(given, whole, atol=0.02 * float(whole.abs().max()))
    given.sum().backward()
    tuned = {name for name, one in source.named_parameters() if one.grad is not None}
    assert {name.split(".")[2:4][0] for name in tuned} <= {"blocks", "conv_head"}
    assert {name.split(".")[3] for name in tuned if ".blocks." in name} == {"5", "6"}


@pytest.mark.parametrize(
    "name, stages, message",
    [
        (
            "timm:test_efficientnet",
            2,
            "Only an EfficientNet is tuned by stages, but the encoder is timm:test",
        ),
        ("efficientnet-lite0", 8, "`tune_stages` must be in 1 to 7, but is 8"),
        ("efficientnet-lite0", 0, "`tune_stages` must be in 1 to 7, but is 0"),
    ],
)
def test_impossible_stages(images: list[ImageRecord], name: str, stages: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LastStages(create_encoder(name, size=32, weights="random"), images, stages)


def test_training_sees_views_and_evaluation_the_images(images: list[ImageRecord]) -> None:
    encoder = create_encoder("efficientnet-lite0", size=32, weights="random")
    ids = [images[0].id] * 64
    source = LastStages(encoder, images, 2, views=4)
    torch.manual_seed(0)
    seen = source.regions_of(ids).features
    distinct = {tuple(features.flatten()[:20].tolist()) for features in seen}
    assert len(distinct) == 4
    torch.manual_seed(0)
    assert torch.equal(source.regions_of(ids).features, seen)
    source.eval()
    state = torch.get_rng_state()
    plain = LastStages(encoder, images, 2).eval().regions_of(ids[:1]).features
    assert torch.allclose(source.regions_of(ids[:1]).features, plain, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


def test_views_show_the_same_picture() -> None:
    row = np.linspace(0, 255, 32).astype(np.uint8)
    picture = np.broadcast_to(row[None, :, None], (32, 32, 3)).copy()  # darker to the left
    assert np.array_equal(view_of(picture, 0, "a"), picture)
    assert np.array_equal(view_of(view_of(picture, 1, "a"), 1, "a"), picture)
    for view in range(2, 8):
        crop = view_of(picture, view, "a")
        assert crop.shape == picture.shape
        assert np.array_equal(crop, view_of(picture, view, "a"))
        slope = np.diff(crop[0, :, 0].astype(int))
        assert np.all(slope >= 0) if view % 2 == 0 else np.all(slope <= 0), view
        assert np.ptp(crop[..., 0].astype(int)) >= SMALLEST_CROP * 255 * 0.9
    assert not np.array_equal(view_of(picture, 2, "a"), view_of(picture, 2, "b"))
