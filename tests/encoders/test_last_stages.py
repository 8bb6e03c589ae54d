"""Tuning the last stages only: the same regions, gradients where they are wanted, maps computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from distilcap.data.dataset import ImageRecord
from distilcap.encoders.registry import create_encoder
from distilcap.encoders.tuned import ImageRegions, LastStages
from distilcap.errors import ConfigError


@pytest.fixture
def images(tmp_path: Path) -> list[ImageRecord]:
    records = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        noise = torch.randint(
            0, 255, (8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(number)
        )
        Image.fromarray(noise.numpy()).resize((64, 64)).save(path)
        records.append(ImageRecord(str(number), path, "train"))
    return records


def test_regions_are_those_of_the_whole_encoder(images: list[ImageRecord]) -> None:
    encoder = create_encoder("efficientnet-lite0", size=64)
    expected = ImageRegions(encoder, images).regions_of(["2", "0"]).features.detach()
    staged = LastStages(encoder, images, 2)
    # The kept maps are float16.
    torch.testing.assert_close(staged.regions_of(["2", "0"]).features, expected, atol=0.02, rtol=0.01)
    for image in images:
        image.path.unlink()
    torch.testing.assert_close(staged.regions_of(["2", "0"]).features, expected, atol=0.02, rtol=0.01)


def test_only_the_last_stages_and_no_normalisation_learn(images: list[ImageRecord]) -> None:
    staged = LastStages(create_encoder("efficientnet-lite0", size=64), images, 2).train()
    staged.regions_of(["0", "1"]).features.sum().backward()
    learning = {name for name, parameter in staged.named_parameters() if parameter.requires_grad}
    assert learning == {name for name, parameter in staged.named_parameters() if parameter.grad is not None}
    assert all(".blocks.5." in name or ".blocks.6." in name or "conv_head" in name for name in learning)
    assert not any(".bn" in name for name in learning)


def test_what_cannot_be_tuned_by_stages_is_refused(images: list[ImageRecord]) -> None:
    encoder = create_encoder("efficientnet-lite0", size=64)
    with pytest.raises(ConfigError, match="`tune_stages` must be in 1 to 7, but is 8"):
        LastStages(encoder, images, 8)
    encoder.backbone = torch.nn.Identity()  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="Only an EfficientNet is tuned by stages"):
        LastStages(encoder, images, 2)
