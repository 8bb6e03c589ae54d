"""What plans made from options hold, whoever makes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.pipeline.train import RunOptions, run_to_train
from distilcap.reports.results import COLUMNS, trained_members
from distilcap.stages.changed_data import HoldOut
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.store.record import complete, to_json
from distilcap.store.store import Store
from distilcap.teachers import registry
from distilcap.training import precision
from distilcap.training.options import TrainingOptions


def test_precision_is_resolved_before_a_stage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that said "auto" would not say in what was computed."""
    draw_scenes(tmp_path / "scenes", (4, 2, 2), size=48)
    (tmp_path / "cpuinfo").write_text("flags\t\t: amx_bf16\n")
    monkeypatch.setattr(precision, "CPU_FACTS", tmp_path / "cpuinfo")
    data, auto = DataOptions(tmp_path / "scenes"), TrainingOptions(precision="auto")
    _, plan = plan_own_images(data, EncoderOptions(), DistillOptions(), auto, tmp_path / "store")
    runs = [run for member in trained_members(plan.systems) for run in member.trains]
    runs.append(run_to_train(data, EncoderOptions(), RunOptions(), auto))
    assert len(runs) == 4
    assert {run.training.precision for run in runs} == {"bfloat16"}


def test_options_of_a_distillation_are_in_its_plan(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (4, 2, 2), size=32)
    data, encoder = DataOptions(tmp_path / "scenes"), EncoderOptions(encoder_weights="random", image_size=32)
    asked = DistillOptions(
        teacher="updown-small",
        teacher_encoder="efficientnet-lite0",
        student="updown-tiny",
        beam_size=4,
        n_best=3,
        keep_originals=True,
        control_epochs=7,
        seeds=3,
        min_count=2,
        tokenizer="unicode",
    )
    _, plan = plan_own_images(data, encoder, asked, {"epochs": 1}, tmp_path / "store")
    teacher, student, control, distilled = trained_members(plan.systems)
    assert [row.role for row in plan.systems] == ["teacher", "student", "control", "distilled"]
    assert {row.beam for row in plan.systems} == {4}
    assert isinstance(plan.labels, Generate)
    assert (plan.labels.captioner, plan.labels.beam, plan.labels.n_best) == (*teacher.trains, 4, 3)
    assert teacher.trains[0].features == EncoderOptions(encoder_form=None).stage(data.stage())
    for row in (student, control, distilled):
        assert [run.training.seed for run in row.trains] == [0, 1, 2]
        assert {run.features for run in row.trains} == {encoder.stage(data.stage())} == {plan.features}
    epochs = [row.trains[0].training.cross_entropy.epochs for row in (student, control, distilled)]
    assert epochs == [1, 7, 1]
    assert [run.keep_originals for run in distilled.trains] == [True] * 3
    words = {run.vocabulary for row in trained_members(plan.systems) for run in row.trains}
    assert [(known.min_count, known.tokenizer) for known in words] == [(2, "unicode")]


def test_given_teachers_are_scored_on_the_images_of_their_students(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where images are set aside for a test split, a teacher's row needs them too; its labels do not."""
    monkeypatch.setitem(registry._teachers, "theirs", lambda: SimpleNamespace(name="1", read=0, label=0))
    draw_scenes(tmp_path / "scenes", (12, 2, 0), size=32)
    data, encoder = DataOptions(tmp_path / "scenes"), EncoderOptions(encoder_weights="random", image_size=32)
    store, source = Store(tmp_path / "store"), data.stage()
    runs = [run_to_train(data, encoder, RunOptions(), {"seed": seed}, store.root) for seed in range(2)]
    for run in runs:  # as if they were trained
        store.path(run).mkdir(parents=True)
        complete(store.path(run), {"seconds": 1.0, "made_by": to_json(run)}, ())
    paths = tuple(store.path(run) for run in runs)
    for given, rows in ((DistillOptions(teacher_model="theirs"), 1), (DistillOptions(teacher_run=paths), 3)):
        _, plan = plan_own_images(data, encoder, given, {}, store.root)
        assert isinstance(plan.data, HoldOut)
        assert len(plan.teachers) == rows
        scored = [captions for row in plan.systems for column in COLUMNS for captions in row.scored(column)]
        assert {captions.source for captions in scored} == {plan.data}
        assert isinstance(plan.labels, GenerateTogether | LabelWithPretrained)
        assert plan.labels.source == source
        planned = [planned.stage for planned in store.plan(plan.stages())]
        assert [stage for stage in planned if isinstance(stage, ExtractFeatures)] == [plan.features]


def test_images_that_a_file_describes_are_counted_once_some_are_set_aside(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (12, 2, 0), size=32)
    data, encoder = DataOptions(tmp_path / "scenes"), EncoderOptions(encoder_weights="random", image_size=32)
    ids = [image.id for image in data.stage().read().split("train")]
    file = tmp_path / "theirs.jsonl"
    CaptionSet.of_texts({id: ["a dog"] for id in ids}).save(file)
    asked = DistillOptions(teacher_captions=file, clean_labels=True)
    _, plan = plan_own_images(data, encoder, asked, {}, tmp_path / "store")
    left = len(plan.data.read().split("train"))
    assert left < len(ids)
    assert plan.students[-1].labels == f"theirs.jsonl, {left} of {left} training images, then cleaned"
