"""Tuning the last stages only: the same regions, gradients where they are wanted, maps computed once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from distilcap.data.dataset import ImageRecord
from distilcap.encoders import tuned
from distilcap.encoders.engines import TOLERANCE, GraphEncoder
from distilcap.encoders.registry import create_encoder
from distilcap.encoders.tuned import ImageRegions, LastStages
from distilcap.errors import ConfigError, MissingError
from distilcap.progress import Progress


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


class Remarks(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def test_an_engine_gives_pytorchs_maps(
    images: list[ImageRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    encoder = create_encoder("efficientnet-lite0", size=64, weights="random")
    names = list(LastStages(encoder, images, 6).state_dict())
    plain, quick = (LastStages(encoder, images, 6, 4, engine) for engine in ("torch", "onnxruntime"))
    assert list(quick.state_dict()) == names  # the graph is no part of what is trained
    ids = [image.id for image in images] * 4
    seen = []
    for source in (plain, quick):
        torch.manual_seed(0)
        seen.append(source.regions_of(ids))
    assert plain._maps.keys() == quick._maps.keys()
    for key, expected in plain._maps.items():
        given = quick._maps[key]
        assert given.shape == expected.shape == (16, 32, 32)
        assert given.dtype == torch.float16
        # Where rounding differs, by a step of float16.
        torch.testing.assert_close(given, expected, atol=TOLERANCE, rtol=2**-10)
    torch.testing.assert_close(seen[1].features, seen[0].features, atol=0.01, rtol=0.01)
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert isinstance(quick._graph, GraphEncoder)
    with torch.inference_mode():
        expected = encoder.backbone.until(pixels, 1).flatten(2).transpose(1, 2)  # type: ignore[attr-defined]
    largest = max(1.0, float(expected.abs().max()))
    assert float((quick._graph(pixels).features - expected).abs().max()) <= TOLERANCE * largest


def test_without_the_engine_pytorch_runs_all(
    images: list[ImageRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise MissingError("onnxruntime is not installed.")

    monkeypatch.setattr(tuned, "run_by", absent)
    encoder, remarks = create_encoder("efficientnet-lite0", size=64), Remarks()
    source = LastStages(encoder, images, 2, engine="onnxruntime", progress=remarks)
    assert remarks.said == [
        "PyTorch runs the first stages of efficientnet-lite0: onnxruntime is not installed."
    ]
    given = source.regions_of(["1"]).features
    assert torch.equal(given, LastStages(encoder, images, 2).regions_of(["1"]).features)
