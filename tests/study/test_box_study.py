"""The plan of the captioner in the box."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import distilcap
from distilcap.cli.main import cli
from distilcap.data.crops import write_crops
from distilcap.data.scenes import draw_scenes
from distilcap.reports.records import read_results
from distilcap.runtime.manifest import read_manifest
from distilcap.stages.changed_data import AddUnlabelled
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import GenerateTogether
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study import box
from distilcap.study.presets import table_preset
from distilcap.study.rows import Students
from distilcap.study.tables import TableRow
from distilcap.study.taught import labelling_seconds, own_teachers, teacher_key
from distilcap.training.options import SelfCriticalPhase


def rows_of(photos: Path, crops: Path, seeds: tuple[int, ...] = (0,)) -> tuple[TableRow, ...]:
    source = ImportData.of(photos)
    features = ExtractFeatures.of(source, "efficientnet-lite0")
    return box.box_table(Students(source, features, table_preset(box.PRESET), seeds), crops).rows


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
    members = [row.member for row in rows_of(photos, tmp_path / "crops", (0, 1))]
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
    _, _, *rows = rows_of(photos, tmp_path / "crops")
    _, _, control, _, _, uncropped, _, taught = rows
    steps = []
    for run in (row.member.trains[0] for row in (control, uncropped, taught)):
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
    assert taught.baseline == uncropped.baseline == control.member.name
    distilled = [row for row in rows if row.member.role == "distilled"]
    first, *others = [row.member.name for row in rows if row.member.role == "student"]
    assert [row.baseline for row in distilled] == [first, *others, *others]
    begun = control.member.trains[0].start
    assert control.member.teacher is None
    assert begun is not None
    assert begun.labels is None
    assert uncropped.member.trains[0].start.labels.data is None  # type: ignore[union-attr]


def test_the_controls_of_the_other_seeds_teach_together(photos: Path, tmp_path: Path) -> None:
    """A student's own control is not among its teachers, and has the same steps and updates."""
    write_crops(ImportData.of(photos).read().images, tmp_path / "crops", 3, 32)
    assert not [
        row for row in rows_of(photos, tmp_path / "crops", (0, 1)) if "other seeds" in row.member.name
    ]
    _, _, begun, control, rewarded, taught, last, *rest = rows_of(photos, tmp_path / "crops", (0, 1, 2))
    assert taught.baseline == control.member.name
    assert last.baseline == rewarded.member.name == last.member.teacher
    finished = rewarded.member.trains
    for seed, run in enumerate(taught.member.trains):
        assert isinstance(run.labels, GenerateTogether)
        assert run.labels.captioners == finished[:seed] + finished[seed + 1 :]
        assert dataclasses.replace(run, labels=None) == control.member.trains[seed]
        assert run.start == begun.member.trains[seed]
    assert not own_teachers(taught.member.trains)  # each teaches two
    assert not own_teachers(last.member.trains)
    assert all(own_teachers(row.member.trains) for row in rest if row.member.role == "distilled")
    for seed, run in enumerate(last.member.trains):
        assert run.start == taught.member.trains[seed]
        assert run.training == finished[seed].training
        assert run.labels is None


def test_each_seed_has_teachers_of_its_own_and_pays_for_both(photos: Path, tmp_path: Path) -> None:
    """Though what comes last learns from rewards alone: the captioner that it began from had teachers."""
    write_crops(ImportData.of(photos).read().images, tmp_path / "crops", 3, 32)
    rows = rows_of(photos, tmp_path / "crops", (0, 1))
    paid: list[Stage] = []

    class Clock(Store):
        def seconds(self, stage: Stage) -> float:
            paid.append(stage)
            return 1.0

    first, second = rows[0].member.trains, rows[1].member.trains
    for run, *teachers in zip(rows[-1].member.trains, first, second, strict=True):
        assert run.labels is None
        assert labelling_seconds(run, Clock(tmp_path)) == 2
        assert [label.captioner for label in paid] == teachers[::-1]  # type: ignore[attr-defined]
        paid.clear()
    assert len({teacher_key(run) for run in rows[-1].member.trains}) == 2
    assert not teacher_key(rows[4].member.trains[0])


def test_no_row_needs_features_of_crops_to_be_scored(photos: Path, tmp_path: Path) -> None:
    write_crops(ImportData.of(photos).read().images, tmp_path / "crops", 3, 32)
    for member in (row.member for row in rows_of(photos, tmp_path / "crops")):
        for captions in (*member.scored("greedy"), *member.scored("beam")):
            (features,) = (stage for stage in captions.inputs() if isinstance(stage, ExtractFeatures))
            assert features.data == ImportData.of(photos), member.name


def test_the_run_that_is_best_on_validation_comes_into_the_box(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ImportData.of(photos)
    features = ExtractFeatures.of(source, "efficientnet-lite0")
    table = box.box_table(Students(source, features, table_preset(box.PRESET), (0, 1, 2)), None)
    taught = next(row.member for row in table.rows if row.member.name.endswith("other seeds, tuned encoder"))
    frozen = next(row.member for row in table.rows if row.member.name == "aoanet-256 wide")
    scores = {taught.trains[1].key: 0.589, frozen.trains[0].key: 0.6}
    monkeypatch.setattr(Train, "summary", lambda run, _: {"best_validation_cider": scores.get(run.key, 0.58)})
    assert box.best_run(table, Store(tmp_path)) == taught.trains[1]


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A captioner of a few steps, taught by the smoke preset's."""
    big = table_preset("smoke").roles["aoanet", "big"]
    training = dataclasses.replace(big.training, self_critical=SelfCriticalPhase(epochs=0))
    once = dataclasses.replace(training.cross_entropy, epochs=1, learning_rate=1e-4)
    monkeypatch.setattr(box, "PRESET", "smoke")
    monkeypatch.setattr(box, "STUDENT", dataclasses.replace(big, size="tiny", training=training))
    monkeypatch.setattr(box, "TUNING", dataclasses.replace(training, cross_entropy=once))
    monkeypatch.setattr(box, "WITHOUT_CROPS", 2)
    monkeypatch.setattr(box, "REWARDED", 1)
    monkeypatch.setattr(box, "VIEWS", 1)


@pytest.mark.slow
def test_its_command_reports_every_step_and_writes_the_captioner(minute: None, tmp_path: Path) -> None:
    """And the report can be checked without the crops' rows, whose runs are left out then."""
    draw_scenes(tmp_path / "scenes", (16, 4, 6), size=64)
    write_crops(ImportData.of(tmp_path / "scenes").read().images, tmp_path / "crops", 1, 64)
    given = ["--data", tmp_path / "scenes", "--metrics", "rouge_l,cider", "--store", tmp_path / "store"]

    def reproduce(*more: object) -> Result:
        arguments = ["reproduce", "box", *map(str, (*given, *more))]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["distilcap", *arguments])
            return CliRunner().invoke(cli, arguments)

    assert "`distilcap data crops`" in str(reproduce("--to", tmp_path / "box").exception)
    result = reproduce("--crops", tmp_path / "crops", "--to", tmp_path / "box")
    assert result.exit_code == 0, (result.output, result.exception)
    (table,) = read_results(tmp_path / "box/results.json").tables
    compared = {entry.row: entry.baseline for entry in table.rows}
    taught = "aoanet-tiny, distilled, tuned encoder and crops, self-critical"
    assert list(compared)[-1] == taught
    assert compared[taught] == "aoanet-tiny, tuned encoder, self-critical"
    assert compared["aoanet-tiny, tuned encoder, self-critical"] == "aoanet-tiny, tuned encoder"
    photo = next((tmp_path / "scenes").rglob("*.jpg"))
    assert distilcap.load(tmp_path / "box/bundle").caption(photo).error is None
    assert read_manifest(tmp_path / "box/bundle").decode.avoid_repeats

    export = ["store", "export", tmp_path / "box/results.tar.gz", "--store", tmp_path / "store"]
    assert CliRunner().invoke(cli, [*map(str, export)]).exit_code == 0
    checked = reproduce("--check", tmp_path / "box")
    assert checked.exit_code == 0, (checked.output, checked.exception)
    assert f"{taught}. Nor are" in " ".join(checked.stderr.split())

    result = reproduce("--finished", "--to", tmp_path / "without")
    assert result.exit_code == 0, (result.output, result.exception)
    (table,) = read_results(tmp_path / "without/results.json").tables
    assert [entry.row for entry in table.rows] == [row for row in compared if "crops" not in row]
    assert not (tmp_path / "without/bundle").exists()
    export = ["store", "export", tmp_path / "without/results.tar.gz", "--store", tmp_path / "store"]
    assert CliRunner().invoke(cli, [*map(str, export)]).exit_code == 0
    checked = CliRunner().invoke(cli, ["reproduce", "--check", str(tmp_path / "without")])
    assert checked.exit_code == 0, (checked.output, checked.exception)
