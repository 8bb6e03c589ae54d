"""Distilled encoders in the store, in runs and in the comparison of encoders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from distilcap.data.scenes import draw_scenes
from distilcap.encoders.registry import create_encoder
from distilcap.export.onnx.parts import load_encoder
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.runtime.pixels import load_pixels, normalise
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.encoder import DistillEncoder
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.stages.train import Train
from distilcap.store.stage import Store
from distilcap.study.encoders import ENCODERS, encoder_members
from distilcap.study.estimate import DEFAULT_RATES, Facts, measured_rates
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

TRAINING = TrainingOptions(
    CrossEntropyPhase(epochs=1, learning_rate=2e-3), SelfCriticalPhase(epochs=0), batch_images=8
)
CAPTIONER = UpDownOptions(hidden=8, embedding=8, attention=4)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    draw_scenes(folder, (16, 4, 4), size=64)
    return folder


def test_a_distilled_encoder_is_what_its_students_see(scenes: Path, tmp_path: Path) -> None:
    data = ImportData.of(scenes)
    large = ExtractFeatures.of(data, "efficientnet-lite1", size=64, form="stage")
    small = ExtractFeatures.of(data, "efficientnet-lite0", size=64, form="stage")
    learnt = DistillEncoder(large, small, epochs=1, batch_images=8)
    run = Train(data, BuildVocabulary(data, 1), learnt.features(), "updown", CAPTIONER, TRAINING)
    store = Store(tmp_path)
    folder = store.build(run)
    assert stage_at(store.path(learnt)) == learnt
    seen, image = run.seen.load(store), data.load(store).split("test")[0]
    before = create_encoder("efficientnet-lite0", size=64, form="stage")
    assert seen.recipe["weights"] != before.recipe()["weights"]
    # The run's folder is enough to know its encoder again, for captions and for a bundle.
    encoder = load_encoder(folder, run.load(store).features)
    assert encoder.recipe() == seen.recipe == RunCaptioner.load(folder).encoder.recipe()
    photo = load_pixels(image.path, encoder.preprocessing)
    pixels = torch.from_numpy(normalise(photo[None], encoder.preprocessing))
    with torch.inference_mode():
        given = encoder(pixels).features[0]
    torch.testing.assert_close(given, seen.regions_of([image.id]).features[0].float(), atol=2e-2, rtol=1e-2)
    # Tables are planned in a store that holds such stages; their rates come from the others.
    rates = measured_rates(store.plan([run]), Facts.of(data, large, store, 1), store)
    assert {ImportData, ExtractFeatures, Train} <= rates.keys() <= DEFAULT_RATES.keys()


def test_the_encoders_are_compared_at_equal_training(scenes: Path) -> None:
    members = {one.name: one.trains[0] for one in encoder_members(scenes)}
    assert len(members) == 10
    for name in ENCODERS:
        frozen, longer, tuned = (members[f"{name}, {kind}"] for kind in ("frozen", "frozen, longer", "tuned"))
        assert longer.start == tuned.start == frozen
        assert dataclasses.replace(tuned, tune_encoder=False, tune_stages=0) == longer
