"""Training begins from a captioner that is there: a run, or the captioner in the box."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from distilcap.cli.distill import _in_the_browser
from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.integrity import read_sealed_json, seal, write_sealed_json
from distilcap.pipeline.distill import _how_to_take, _taken, check_distilled_folder, distill
from distilcap.pipeline.own_images import TEACHERS, DistillOptions, plan_own_images
from distilcap.pipeline.plan import Distillation
from distilcap.pipeline.recipe import PAPER
from distilcap.pipeline.train import RunOptions, run_to_train
from distilcap.progress import SILENT
from distilcap.reports.collect import collect_results
from distilcap.reports.results import latencies_of, trained_members
from distilcap.stages.captioner import ImportCaptioner, box_folder
from distilcap.stages.captions import NeutralLabels
from distilcap.stages.changed_data import AddUnlabelled, HoldOut
from distilcap.stages.data import CleanReferences, DataOptions
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.folders import stage_at
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.training.loop import Training
from distilcap.training.processes import Processes

T = TypeVar("T")
SMALL = EncoderOptions(image_size=64, encoder_weights=Path("random"), encoder_engine="torch")
TORCH = EncoderOptions(encoder_engine="torch")
GIVEN = {"epochs": 1, "scst_epochs": 0, "batch_images": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, other scenes, and a run on the first: in a store of its own, and beside it as `run`."""
    folder = tmp_path_factory.mktemp("start")
    draw_scenes(folder / "scenes", (16, 4, 4), size=64)
    draw_scenes(folder / "others", (12, 4, 4), size=64, seed=5)
    run = run_to_train(DataOptions(folder / "scenes"), SMALL, RunOptions("updown-tiny", min_count=1), GIVEN)
    store = Store(folder / "first")
    store.build(run)
    (folder / "run").symlink_to(store.path(run))
    return folder


@dataclasses.dataclass(frozen=True)
class Counted(Processes):
    """One of several processes, that keeps what it asked the others."""

    asked: list[object] = dataclasses.field(default_factory=list)

    def agree(self, value: T) -> T:
        self.asked.append(value)
        return value


def begun(home: Path, start: Path | str = "run", data: str = "others", **training: object) -> Train:
    path = home / start if start == "run" else Path(start)
    run = RunOptions(start=path, min_count=1)
    return run_to_train(DataOptions(home / data), TORCH, run, GIVEN | training)


def plan(home: Path, data: Path | None = None, **options: object) -> Distillation:
    asked = DistillOptions(beam_size=2, min_count=1, **options)  # type: ignore[arg-type]
    return plan_own_images(DataOptions(data or home / "others"), TORCH, asked, GIVEN, home / "store")[1]


def test_untrained_it_says_what_its_start_says(home: Path, tmp_path: Path) -> None:
    run, store = begun(home, epochs=0), Store(tmp_path)
    assert isinstance(run.start, ImportCaptioner)
    new, old = run.load(store), run.start.load(store)
    assert new.vocabulary.words[: len(old.vocabulary)] == old.vocabulary.words
    assert len(new.vocabulary) > len(old.vocabulary)
    captions = [Generate(captioner, "test", 1, data=run.data) for captioner in (run, run.start)]
    for stage in captions:
        store.build(stage)
    texts = [[stage.load(store).texts(id) for id in stage.load(store)] for stage in captions]
    assert texts[0] == texts[1]


def test_its_weights_are_its_identity(home: Path, tmp_path: Path) -> None:
    first = begun(home)
    shutil.copytree(home / "run", tmp_path / "copy")
    assert begun(home, str(tmp_path / "copy")).key == first.key
    assert begun(home, "run", validate_start=False).key != first.key
    path = tmp_path / "copy/captioner.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"captioner\.safetensors"):
        begun(home, str(tmp_path / "copy"))


def test_a_run_of_the_store_with_the_same_words_is_begun_from_as_ever(home: Path) -> None:
    """So that such runs keep their keys."""
    asked = RunOptions(start=(home / "run").resolve(), min_count=1)
    run = run_to_train(DataOptions(home / "scenes"), SMALL, asked, GIVEN, home / "first")
    assert isinstance(run.start, Train)
    assert run.vocabulary == run.start.vocabulary
    assert run.start.key == (home / "run").resolve().name


def test_the_box_is_student_and_teacher_by_default(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distilcap.reports.results.METRICS", ("cider",))
    assert box_folder() is None
    assert plan(home, recipe=PAPER).starts == ()
    monkeypatch.setenv("DISTILCAP_BOX", str(home / "run"))
    assert plan(home, start=Path("none")).starts == ()
    assert plan(home, student="updown-tiny").starts == ()
    assert isinstance(plan(home).labels, GenerateTogether)
    with_box = plan(home, neutral_people=True)
    runs = [run for row in with_box.students for run in row.trains]
    assert isinstance(with_box.labels, NeutralLabels)  # the box guesses genders
    labels = with_box.labels.labels
    assert isinstance(labels, GenerateTogether)
    assert [run.training.seed for run in labels.captioners] == list(range(TEACHERS))
    assert labels.captioners[0] == runs[0]  # the undistilled student is trained once
    assert {run.start for run in runs} == {ImportCaptioner.of(home / "run", "box")}
    store = Store(tmp_path)
    distilled = distill(with_box, store, SILENT, export=False, metrics=("cider",))
    assert [row.role for row in distilled.rows] == ["start", "teacher", "student", "distilled"]
    assert "On only 4 test images, 'from box, distilled' has" in distilled.verdict
    assert "keep people's own words (man, woman …), which 'box as it is' writes too;" in distilled.verdict
    assert not any(planned.to_do for planned in store.plan(runs))
    (box,), undistilled, student = with_box.starts, with_box.students[0], with_box.students[-1]
    run = str(store.path(runs[0]))
    assert _taken(student, with_box, store) == _how_to_take(student, with_box, store) == ""
    assert _taken(box, with_box, store) == "box"
    assert _how_to_take(box, with_box, store) == (
        "The bundle written here is 'from box, distilled' all the same; `distilcap caption photo.jpg` takes "
        "'box as it is', which training began from."
    )
    assert _taken(undistilled, with_box, store) == run
    assert f"`distilcap export {run} --to …` makes a bundle of" in _how_to_take(undistilled, with_box, store)
    learnt_on = ImportCaptioner.of(store.path(runs[0]), "mine")
    assert learnt_on.licence == runs[0].licence  # the box's terms stay, whatever the run is called
    assert "non-commercial" in (learnt_on.licence or {})["captioner"]
    mine = plan(home, start=home / "run")
    assert _taken(mine.starts[0], mine, store) == str(home / "run")
    assert f"`distilcap caption photo.jpg --run {home / 'run'}`" in _how_to_take(mine.starts[0], mine, store)


def test_another_device_goes_on_with_the_starts_features(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, asked = DataOptions(home / "others"), RunOptions(start=home / "run", min_count=1)
    store = Store(tmp_path / "store")
    by_torch = run_to_train(data, EncoderOptions(), asked, GIVEN, store.root, "cuda").features
    assert by_torch.engine == "torch"
    on_cpu = run_to_train(data, EncoderOptions(), asked, GIVEN, store.root)
    assert on_cpu.features.engine == "onnxruntime"
    begun = store.root / ".partial" / on_cpu.features.key
    begun.mkdir(parents=True)
    assert run_to_train(data, EncoderOptions(), asked, GIVEN, store.root, "cuda").features == by_torch
    begun.rmdir()
    store.build(on_cpu.features)
    on_gpu = run_to_train(data, EncoderOptions(), asked, GIVEN, store.root, "cuda")
    assert on_gpu.features == on_cpu.features
    assert on_gpu.key == on_cpu.key


@pytest.mark.parametrize("better", [False, True])
def test_where_the_first_run_stays_its_start_all_do(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    scores = itertools.count(1000.0, 1 if better else -1)
    monkeypatch.setattr(Training, "_validate", lambda run, captioner: (score := next(scores), [score]))
    planned = plan(home, start=home / "run", seeds=2)
    assert isinstance(planned.labels, GenerateTogether)
    first, *teachers = planned.labels.captioners
    runs = [run for row in planned.students for run in row.trains]
    assert runs[:2] == [first, teachers[0]]
    assert [run.stays_with for run in (first, *teachers, *runs[2:])] == [None, *[first] * 4]
    for apart in ({"keep_originals": True}, {"recipe": PAPER}, {"intermediate": "updown-tiny"}):
        others = plan(home, start=home / "run", **apart).students
        assert all(run.stays_with is None for row in others for run in row.trains), apart

    store = Store(tmp_path)
    distilled = distill(planned, store, SILENT, export=False, metrics=("cider",))
    results = collect_results("", planned.systems, distilled.rows, distilled.verdict, store, SILENT)
    assert first.stayed(store) != better
    begun_from, student = first.load(store), runs[-1]
    for run in (*teachers, *runs[2:]):
        new, old = run.load(store).captioner.state_dict(), begun_from.captioner.state_dict()
        assert all(torch.equal(new[name], old[name]) for name in old) != better
        summary = run.summary(store)
        assert (summary["train_seconds"], summary["images_seen"]) == (0, 0) or better
        if better:  # as ever
            alone, again = dataclasses.replace(run, stays_with=None), Store(tmp_path / "again")
            assert alone.key != run.key
            weights = alone.load(again).captioner.state_dict()
            assert all(torch.equal(new[name], weights[name]) for name in new)
    if not better:
        processes = [Counted(rank, 2) for rank in (0, 1)]
        for one in processes:
            student.build(tmp_path / f"rank{one.rank}", Store(tmp_path, one), SILENT)
        assert processes[0].asked == processes[1].asked != []
        assert [(tmp_path / f"rank{rank}").exists() for rank in (0, 1)] == [True, False]
    names = {row.name for row in planned.students}
    assert results.curves.keys() == (names if better else {planned.students[0].name})
    assert student.seen_in(None) == first.seen


def test_no_picture_is_seen_twice(home: Path, tmp_path: Path) -> None:
    """Features hold images: clean captions, neutral words and images set aside need no others."""
    images = DataOptions(home / "others").stage().read().images
    lines = [
        {"image": str(image.path), "captions": ["a man\n\n- runs"], "split": "train"} for image in images
    ]
    data = tmp_path / "captions.jsonl"
    data.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    asked = {"clean_labels": True, "neutral_people": True, "unlabelled": home / "scenes"}
    planned = plan(home, data, start=home / "run", **asked)
    store = Store(tmp_path / "store")
    stages = [planned.stage for planned in store.plan(planned.stages())]
    assert isinstance(planned.data, AddUnlabelled)
    assert isinstance(planned.data.whole, HoldOut)
    assert isinstance(planned.data.whole.whole, CleanReferences)
    # Those with captions are in both: the second copies them (tests/stages/test_known_features.py).
    of_captioned = dataclasses.replace(planned.features, data=planned.data.whole.same_images)
    extractions = {stage for stage in stages if isinstance(stage, ExtractFeatures)}
    assert extractions == {of_captioned, planned.features}
    as_it_is = planned.starts[0].scored("beam")[0]
    store.build(as_it_is)
    assert list(as_it_is.load(store)) == [image.id for image in planned.data.load(store).split("test")]
    assert [path.name for path in (tmp_path / "store").glob("extract-*")] == [of_captioned.key]
    again = stage_at(store.path(planned.data.whole))
    assert isinstance(again, HoldOut)
    assert again.same_images == DataOptions(data).stage()


@pytest.mark.parametrize("start", ["outside", "inside", "none"])
def test_who_learns_from_people_is_not_trained_again_when_images_are_added(home: Path, start: str) -> None:
    data, more, encoder, store, run = home / "others", home / "scenes", TORCH, home / "store", home / "run"
    if start == "inside":  # a run of the same store and data, which is a start as it is
        data, more, encoder, store, run = more, data, SMALL, home / "first", run.resolve()
    begins = Path("none") if start == "none" else run

    def planned(**asked: Any) -> Distillation:
        options = DistillOptions(beam_size=2, min_count=1, start=begins, **asked)
        return plan_own_images(DataOptions(data), encoder, options, GIVEN, store)[1]

    before, after = planned(), planned(unlabelled=more)
    assert bool(before.starts) == (start == "outside")
    assert isinstance(after.data, AddUnlabelled)
    for old, new in zip(before.systems[:-1], after.systems[:-1], strict=True):
        for column in ("greedy", "beam"):
            assert (old.name, old.scored(column)) == (new.name, new.scored(column))
    (old_student,), (new_student,) = before.students[-1].trains, after.students[-1].trains
    assert (old_student.data, new_student.data) == (before.data, after.data)
    assert (new_student.seen, new_student.vocabulary) == (after.features, old_student.vocabulary)
    assert after.features == dataclasses.replace(before.features, data=after.data)
    labels = new_student.labels
    assert isinstance(labels, Generate | GenerateTogether)
    assert labels.data == after.data
    assert dataclasses.replace(labels, data=None) == old_student.labels
    # All rows are scored on the same images, and captioners of one shape are timed once.
    scored = [captions for row in after.systems for captions in row.scored("beam")]
    assert {captions.source for captions in scored} == {before.data}
    members = trained_members(after.systems)
    assert len({latency.key for latency in latencies_of(members).values()}) == len(
        {row.size for row in members}
    )


def test_a_student_is_trained_by_how_many_images_it_learns(home: Path, tmp_path: Path) -> None:
    """Not by those that have captions, where a teacher labels more, or a file describes fewer."""
    few = tmp_path / "few.jsonl"
    images = DataOptions(home / "others").stage().read().split("train")
    few.write_text("".join(f'{{"image": "{image.id}", "captions": ["a man"]}}\n' for image in images[:5]))

    def warmed(which: int = -1, **asked: object) -> tuple[int, int]:
        asked = {"beam_size": 2, "min_count": 1, "start": home / "run"} | asked
        options = DistillOptions(**asked)  # type: ignore[arg-type]
        given = {"epochs": 10, "batch_images": 1}
        data = DataOptions(home / "others")
        planned = plan_own_images(data, TORCH, options, given, home / "store")[1]
        alone, student = (planned.students[number].trains[0].training for number in (0, which))
        return alone.cross_entropy.warmup_steps, student.cross_entropy.warmup_steps

    assert warmed() == (12, 12)
    assert warmed(unlabelled=home / "scenes") == (12, 12 + 24)
    assert warmed(teacher_captions=few) == (12, 5)
    assert warmed(teacher_captions=few, keep_originals=True) == (12, 12)
    assert warmed(-2, teacher_captions=few, intermediate="updown-tiny") == (12, 5)
    assert warmed(teacher_captions=few, intermediate="updown-tiny") == (12, 12)
    labelled = RunOptions(labels=few, min_count=1)
    run = run_to_train(DataOptions(home / "others"), SMALL, labelled, {"epochs": 10, "batch_images": 1})
    assert run.training.cross_entropy.warmup_steps == 5


def test_results_do_not_go_among_images(home: Path, tmp_path: Path) -> None:
    """A report's pictures are of test images; next time they would be learnt from."""
    planned = plan(home, home / "others", start=home / "run", unlabelled=home / "scenes")
    check_distilled_folder(tmp_path / "mine", planned, export=True)
    for folder in ("others", "scenes"):
        with pytest.raises(ConfigError, match="is the folder of your images"):
            check_distilled_folder(home / folder, planned, export=False)


def test_the_browser_gets_the_captioner_to_take() -> None:
    to = Path("mine")
    shown = "--to mine/web && distilcap serve mine/web"
    assert _in_the_browser("", to) == f"In the browser: distilcap web mine/bundle {shown}"
    assert _in_the_browser("box", to) == (
        f"In the browser, the captioner in the box (not mine/bundle): distilcap web {shown}"
    )
    assert _in_the_browser("runs/train-1", to) == (
        "In the browser, the captioner to take (not mine/bundle): distilcap export runs/train-1 --to "
        f"mine/bundle-to-take && distilcap web mine/bundle-to-take {shown}"
    )


def test_a_tuned_encoder_comes_along(home: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    run = RunOptions("updown-tiny", min_count=1, tune_stages=1)
    tuned = run_to_train(DataOptions(home / "scenes"), SMALL, run, GIVEN)
    store.build(tuned.seen)
    further = begun(home, str(store.path(tuned)), "scenes")
    assert further.features.tuned_by == further.start != tuned
    seen, before = further.features.load(store), tuned.seen.load(store)
    np.testing.assert_array_equal(seen.rows(seen.ids)[0], before.rows(before.ids)[0])
    store.build(further)
    again = further.encoder_in(store.path(further)).recipe()
    assert again == further.load(store).features
    # As where the run was deleted, and trained anew on another machine.
    config = store.path(tuned) / "captioner.json"
    content = read_sealed_json(config)
    content["features"]["weights"] = "another"
    write_sealed_json(config, content)
    seal(store.path(tuned))
    said = f"{store.path(tuned.seen)}: features of another encoder than that of {tuned.key} is by now; delete"
    with pytest.raises(DataError, match=said):
        Generate(tuned, "test").load(store)


def test_what_cannot_be_begun_from_is_said(home: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no captioner in the box to begin from; give a run's folder"):
        begun(home, "box")
    ways = r"; `--start` takes `box`, `none`, or the folder of a run in a store, .* which `distill`"
    with pytest.raises(DataError, match="there is no trained captioner in it" + ways):
        begun(home, str(tmp_path))
    with pytest.raises(DataError, match="boxx: there is no such folder" + ways):
        begun(home, "boxx")
    (tmp_path / "mine/bundle").mkdir(parents=True)
    (tmp_path / "mine/bundle/manifest.json").write_text("{}")
    for folder in ("mine", "mine/bundle"):
        with pytest.raises(
            DataError, match=f"{folder}: holds a bundle, which cannot be trained further" + ways
        ):
            begun(home, str(tmp_path / folder))
    data, start = DataOptions(home / "others"), home / "run"
    with pytest.raises(
        ConfigError, match="brings its own encoder, with image_size 64, but `image_size` is 96"
    ):
        run_to_train(data, EncoderOptions(image_size=96), RunOptions(start=start), GIVEN)
    with pytest.raises(ConfigError, match="and not updown-small; leave the captioner's name out"):
        run_to_train(data, TORCH, RunOptions("updown-small", start=start), GIVEN)
    with pytest.raises(ConfigError, match="give `--tokenizer ptb` or `--start none`"):
        run_to_train(data, TORCH, RunOptions(start=start, tokenizer="characters"), GIVEN)


def test_the_command_says_how_it_trains_and_for_how_long(home: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", str(home / "others"), "--store", str(tmp_path), "--epochs", "0"]
    arguments += ["--start", str(home / "run"), "--encoder-engine", "torch"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "updown-tiny" in result.output
    said = " ".join(result.output.split())
    assert "12 training images, 5 captions each; words that occur 1 time or more." in said
    assert "Training: 0 epochs of cross-entropy in batches of 16 images (learning rate 0.001, cosine" in said
    assert re.search(r"takes (at most )?about \d+ (seconds?|minutes?)\.", said)
