"""A distillation on a device that is not the CPU: features, runs, labels, tuned encoders, photographs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from device_waits import check, draws_as_the_cpu, waiting
from small_captioners import small_options

from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.encoders.registry import create_encoder
from distilcap.models.families import families
from distilcap.models.fast import PLAIN
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT
from distilcap.stages.captions import Labels
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.other_labels import DrawCaptions
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shards import label_shard
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions
from distilcap.training.processes import Processes

PHASES = TrainingOptions(
    CrossEntropyPhase(epochs=1, learning_rate=1e-2), SelfCriticalPhase(epochs=0), batch_images=4, max_words=3
)


def runs(scenes: Path) -> tuple[Train, Train, Train]:
    """A teacher, a student of its captions and words, and a student that tunes its encoder's last stages."""
    data = ImportData.of(scenes)
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=32, weights="random")
    vocabulary = BuildVocabulary(data, 1)
    first, *_, last = families()
    no_dropout = {"dropout": 0.0, "refiner_dropout": 0.0, "aoa_dropout": 0.0}
    teacher = Train(data, vocabulary, features, last, small_options(last, **no_dropout), PHASES)
    student = dataclasses.replace(
        teacher,
        architecture=first,
        options=small_options(first, **no_dropout),
        labels=Generate(teacher, "train", 2, 2),
        token_teacher=teacher,
    )
    tuned = dataclasses.replace(teacher, tune_encoder=True, tune_stages=1, views=2)
    return teacher, student, tuned


def test_a_distillation_is_that_of_the_cpu(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLAIN, "1")  # accelerated code computes otherwise on a GPU than on a CPU
    draw_scenes(tmp_path / "scenes", (4, 1, 2), size=64)
    teacher, student, tuned = runs(tmp_path / "scenes")
    wanted: list[Labels] = [
        Generate.as_chosen(student, "test", 2),
        GenerateTogether((teacher, teacher), "test", 2),
        DrawCaptions(teacher, "test", 2),
        Generate(tuned, "test", 1),
    ]
    store = Store(tmp_path / "device", Processes(device=str(device)))
    own = Store(tmp_path / "cpu")
    for stage in wanted:
        with waiting() as waits:
            store.build(stage, SILENT)
        assert waits or device.type != "pretend", f"{stage.name} was not computed on the device"
        check(waits, step=100, word=1000, image=100, batch=100, validation=10, save=1)
        if isinstance(stage, DrawCaptions) and not draws_as_the_cpu(device):
            continue
        own.build(stage, SILENT)
        captions: CaptionSet = stage.load(store)
        expected: CaptionSet = stage.load(own)
        assert {id: captions.texts(id) for id in captions} == {id: expected.texts(id) for id in expected}


def test_photographs_are_captioned_as_on_the_cpu(tmp_path: Path, device: torch.device) -> None:
    draw_scenes(tmp_path / "scenes", (4, 1, 2), size=64)
    folder = Store(tmp_path / "store", Processes(device=str(device))).build(
        runs(tmp_path / "scenes")[0], SILENT
    )
    captions: list[dict[str, Any]] = []
    for where in (device, "cpu"):
        captioner = RunCaptioner.load(folder, device=str(where))
        with waiting() as waits:
            label_shard(captioner, tmp_path / "scenes", tmp_path / str(where), LabelOptions(2), SILENT)
        check(waits, word=20, image=7, batch=1)
        (labels,) = (tmp_path / str(where)).glob("*.jsonl")
        lines = [json.loads(line) for line in labels.read_text().splitlines()]
        captions.append({line["image"]: line["captions"] for line in lines})
    assert captions[0] == captions[1]
    assert len(captions[0]) == 7


@torch.no_grad()
def test_a_detector_looks_from_the_device(device: torch.device) -> None:
    encoder = create_encoder("efficientdet-d0", weights="random", size=128)
    assert isinstance(encoder, torch.nn.Module)
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    expected = encoder(pixels)
    with waiting() as waits:
        regions = encoder.to(device)(pixels.to(device))
    check(waits)
    torch.testing.assert_close(regions.features.cpu(), expected.features, atol=1e-3, rtol=1e-3)
    assert torch.equal(regions.mask.cpu(), expected.mask)
