from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.encoders.base import GridEncoder
from distilcap.encoders.distill import EncoderDistillation, distill_encoder
from distilcap.encoders.extract import extract_features
from distilcap.encoders.registry import create_encoder
from distilcap.encoders.tuned import ImageRegions, LastStages
from distilcap.errors import ConfigError, DataError, TrainingError
from distilcap.progress import SILENT, Silent

T = TypeVar("T")
OPTIONS = EncoderDistillation(epochs=3, batch_images=4, learning_rate=2e-3, checkpoint_seconds=0)


@pytest.fixture(scope="module")
def images(
    write_images: Callable[..., list[ImageRecord]], tmp_path_factory: pytest.TempPathFactory
) -> list[ImageRecord]:
    return write_images(tmp_path_factory.mktemp("images"), 24, 64)


@pytest.fixture(scope="module")
def teacher(images: list[ImageRecord], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("features") / "store"
    extract_features(create_encoder("efficientnet-lite1", size=64, form="stage"), images, folder, SILENT)
    return FeatureStore.open(folder)


def student() -> GridEncoder:
    # A tiny network of another shape, its single cell spread over the teacher's four, and other features.
    encoder = create_encoder("timm:test_efficientnet", size=32, regions=4, weights="random")
    assert isinstance(encoder, GridEncoder)
    return encoder


def test_the_student_comes_to_give_the_teachers_features(
    images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path
) -> None:
    path = tmp_path / "student.safetensors"
    options = replace(OPTIONS, epochs=8)
    history = distill_encoder(student(), teacher, images[:20], images[20:], path, options)
    assert [record["epoch"] for record in history] == list(range(1, 9))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["explained"] > history[0]["explained"]
    encoder = create_encoder(str(path))
    assert (encoder.dim, encoder.regions) == (teacher.dim, teacher.regions)
    assert encoder.preprocessing.size == 32
    # A finished one is not trained again.
    assert distill_encoder(student(), teacher, images[:20], images[20:], path, options) == history


def test_explained_is_the_share_of_variance(
    images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path
) -> None:
    """Recomputed by hand from the saved student's own features."""
    path = tmp_path / "student.safetensors"
    train, validation = images[:20], images[20:]
    history = distill_encoder(student(), teacher, train, validation, path, OPTIONS)
    extract_features(create_encoder(str(path)), validation, tmp_path / "given", SILENT)
    ids = [image.id for image in validation]
    given = FeatureStore.open(tmp_path / "given").regions_of(ids).features.float()
    target = teacher.regions_of(ids).features.float()
    sample = teacher.regions_of([image.id for image in train]).features.float().flatten(0, 1)
    weight = 1 / sample.std(0).clamp(min=0.1 * float(sample.std(0).mean())) ** 2
    wrong = ((given - target) ** 2 * weight).sum()
    spread = ((target - sample.mean(0)) ** 2 * weight).sum()
    assert history[-1]["explained"] == pytest.approx(float(1 - wrong / spread), abs=2e-3)


class KilledAfter(Silent):
    """Ends the run before its n-th step, as a kill would: nothing is tidied up."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def track(
        self, items: Iterable[T], description: str, total: int | None = None, done: int = 0
    ) -> Iterator[T]:
        for number, item in enumerate(items, done):
            if number == self.steps:
                raise KeyboardInterrupt
            yield item


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_a_broken_off_run_ends_in_the_same_weights(
    images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path, steps: int
) -> None:
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    arguments = (teacher, images[:18], images[20:])
    options = replace(OPTIONS, epochs=2)
    expected = distill_encoder(student(), *arguments, whole, options)
    with pytest.raises(KeyboardInterrupt):
        distill_encoder(student(), *arguments, resumed, options, KilledAfter(steps))
    assert not resumed.exists()
    history = distill_encoder(student(), *arguments, resumed, options)
    for record, other in zip(history, expected, strict=True):
        assert {**record, "seconds": 0} == {**other, "seconds": 0}
    weights, others = load_file(whole), load_file(resumed)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "resumed.json",
        "resumed.safetensors",
        "whole.json",
        "whole.safetensors",
    ]


def test_what_does_not_fit_is_told(images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ConfigError, match=r"grid of `regions` 4 as its teacher does, .* sees 1"):
        distill_encoder(
            create_encoder("timm:test_efficientnet", size=32, weights="random"), teacher, images, [], path
        )
    with pytest.raises(DataError, match="holds features of none of the images"):
        distill_encoder(student(), teacher, [ImageRecord("other", path, "train")], [], path)
    options = replace(OPTIONS, epochs=1)
    distill_encoder(student(), teacher, images[:4], [], path, options)
    with pytest.raises(DataError, match="of another encoder distillation; choose another file"):
        distill_encoder(student(), teacher, images[:8], [], path, options)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"recipe": ', b"[" * 100_000, b"\xff", b"null"])
def test_damaged_logs_and_checkpoints_are_named(
    images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x.safetensors"
    for damaged in (path.with_suffix(".checkpoint"), path.with_suffix(".json")):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match=damaged.name):
            distill_encoder(student(), teacher, images[:4], [], path, replace(OPTIONS, epochs=1))
        damaged.unlink()
        path.touch()  # only then the log is read
    save_file({}, path.with_suffix(".checkpoint"), {"distilcap": content.decode(errors="replace")})
    path.unlink()
    with pytest.raises(DataError, match=r"x\.checkpoint"):
        distill_encoder(student(), teacher, images[:4], [], path, replace(OPTIONS, epochs=1))


def test_divergence_is_told(images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path) -> None:
    broken = student()
    torch.nn.init.constant_(broken.backbone.model.conv_stem.weight, float("nan"))
    with pytest.raises(TrainingError, match="diverged at step 1: the loss is nan; a lower `learning_rate`"):
        distill_encoder(broken, teacher, images[:4], [], tmp_path / "x.safetensors", OPTIONS)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
        ({"batch_images": 0}, "`batch_images` must be at least 1, but is 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0 and finite, but is 0.0"),
    ],
)
def test_impossible_options(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EncoderDistillation(**options)


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


def test_the_log_is_json(images: list[ImageRecord], teacher: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    history = distill_encoder(student(), teacher, images[:4], [], path, replace(OPTIONS, epochs=1))
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["history"] == history
    assert content["recipe"]["teacher"] == teacher.recipe
    assert "explained" not in history[0]
