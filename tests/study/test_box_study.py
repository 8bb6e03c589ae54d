"""The plan of the captioner in the box."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from distilcap.data.crops import write_crops
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.study.box import box_members


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["image,caption,split"]
    for index, split in enumerate(("train", "train", "val", "test")):
        Image.new("RGB", (40, 30), (60 * index, 0, 0)).save(folder / f"{index}.png")
        lines.append(f"{index}.png,a wall,{split}")
    (folder / "captions.csv").write_text("\n".join(lines))
    return folder


def test_the_encoder_is_tuned_on_crops_and_rewards_come_from_people(photos: Path, tmp_path: Path) -> None:
    source = ImportData.of(photos)
    write_crops(source.read().images, tmp_path / "crops", 3, 32)
    members = box_members(photos, tmp_path / "crops", seeds=(0, 1))
    assert len({run.key for member in members for run in member.trains}) == 2 * len(members)
    for seed, run in enumerate(members[-1].trains):
        tuned = run.start
        assert run.data == source
        assert run.labels is None
        assert run.training.seed == seed
        assert not run.training.cross_entropy.epochs
        assert run.training.self_critical.epochs
        assert tuned.tune_encoder
        assert run.features.tuned_by == tuned
        assert isinstance(tuned.data, AddUnlabelled)  # type: ignore[union-attr]
        assert len(tuned.data.read().split("train")) == 2 + 2 * 3  # type: ignore[union-attr]
        assert tuned.labels.data == tuned.data  # type: ignore[union-attr]
        assert tuned.labels.captioner == members[1].trains[seed]  # type: ignore[union-attr]


def test_controls_have_the_same_steps_and_updates(photos: Path, tmp_path: Path) -> None:
    write_crops(ImportData.of(photos).read().images, tmp_path / "crops", 3, 32)
    _, _, *members = box_members(photos, tmp_path / "crops")
    *_, control, _, _, uncropped, _, taught = members
    steps = []
    for run in (control.trains[0], uncropped.trains[0], taught.trains[0]):
        trainings = []
        while run is not None:
            phases = run.training.cross_entropy, run.training.self_critical
            updates = len(run.data.read().split("train")) * (phases[0].epochs + phases[1].epochs)
            rates = phases[0].learning_rate, phases[1].learning_rate, run.training.encoder_learning_rate
            trainings.append((run.options, updates, rates, run.tune_stages, run.views))
            run = run.start
        steps.append(trainings)
    assert steps[0] == steps[1] == steps[2]
    assert len(steps[0]) == 3
    names = {member.name for member in members}
    untaught = {member.name for member in members if member.role == "student"}
    assert taught.baseline == uncropped.baseline == control.name
    assert {member.baseline for member in members if member.role == "distilled"} == untaught <= names
    assert control.teacher is None
    assert control.trains[0].start.labels is None
    assert uncropped.trains[0].start.labels.data is None


def test_no_row_needs_features_of_crops_to_be_scored(photos: Path, tmp_path: Path) -> None:
    write_crops(ImportData.of(photos).read().images, tmp_path / "crops", 3, 32)
    for member in box_members(photos, tmp_path / "crops"):
        for captions in (*member.scored("greedy"), *member.scored("beam")):
            (features,) = (stage for stage in captions.inputs() if isinstance(stage, ExtractFeatures))
            assert features.data == ImportData.of(photos), member.name
