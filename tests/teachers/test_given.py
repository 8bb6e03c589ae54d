"""Teachers that are there already, on the command line: runs, an ensemble, a model, a captions file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_models import save_model

from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError, DistilCapError
from distilcap.models.presets import preset, size_of
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.distill import distill as run_distillation
from distilcap.reports import results
from distilcap.stages.captions import ImportCaptions
from distilcap.stages.data import ImportData
from distilcap.stages.folders import run_of
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.stages.train import Train
from distilcap.store.store import Store

pytestmark = pytest.mark.filterwarnings("default")  # the warnings of transformers are not ours
COMMON = ["--encoder-weights", "random", "--image-size", "64", "--min-count", "1", "--epochs", "3"]
COMMON += ["--scst-epochs", "0", "--batch-images", "4", "--learning-rate", "5e-2"]
TRAINING, TEST, EPOCHS = 16, 4, 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn scenes, others, and a store with two trained runs."""
    folder = tmp_path_factory.mktemp("given")
    draw_scenes(folder / "scenes", (TRAINING, 4, TEST), size=64)
    draw_scenes(folder / "others", (12, 4, TEST), size=64, seed=5)
    for seed in ("0", "1"):
        call(folder, "train", "scenes", "--captioner", "updown-tiny", "--seed", seed)
    return folder


@pytest.fixture(autouse=True)
def _quick_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR takes its time over captions such as "a a a a"."""
    metrics = ("rouge_l", "cider")
    monkeypatch.setattr(results, "METRICS", metrics)
    for function in (results.build_rows, results.stages_of):
        monkeypatch.setattr(function, "__defaults__", (metrics,))
    monkeypatch.setitem(run_distillation.__kwdefaults__, "metrics", metrics)


def call(home: Path, command: str, data: str, *options: str) -> str:
    """Run a command in the store of `home`; errors come as they are."""
    arguments = [command, "--data", str(home / data), "--store", str(home / "store"), *COMMON, *options]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).output


def distill(home: Path, to: Path, *options: str, data: str = "scenes") -> list[dict[str, Any]]:
    """Distil into a tiny student and return the rows."""
    output = call(
        home,
        "distill",
        data,
        "--student",
        "updown-tiny",
        "--beam",
        "2",
        "--to",
        str(to),
        "--no-export",
        *options,
    )
    assert "Page: " in output
    rows: list[dict[str, Any]] = json.loads((to / "results.json").read_text())["rows"]
    assert "updown-tiny, distilled" in (to / "report.html").read_text()
    return rows


def runs(home: Path) -> list[Path]:
    """The two trained runs, by seed."""
    found = [folder for folder in (home / "store").glob("train-*") if run_of(folder).labels is None]
    return sorted(found, key=lambda folder: run_of(folder).training.seed)[:2]


def student(home: Path, row: dict[str, Any]) -> Train:
    """The distilled student of a row."""
    assert row["role"] == "distilled"
    return run_of(home / "store" / row["runs"][0])


def test_a_run_and_an_ensemble_of_runs_teach(home: Path, tmp_path: Path) -> None:
    first, second = runs(home)
    rows = distill(home, tmp_path / "one", "--teacher-run", str(first))
    assert [row["role"] for row in rows] == ["teacher", "student", "distilled"]
    assert rows[0]["name"] == rows[2]["teacher"] == f"teacher updown-tiny ({first.name})"
    assert rows[0]["runs"] == [first.name]
    assert student(home, rows[2]).labels == Generate.as_chosen(run_of(first), "train", 2, 1)

    rows = distill(home, tmp_path / "two", "--teacher-run", str(first), "--teacher-run", str(second))
    assert [row["role"] for row in rows] == ["teacher", "teacher", "teacher", "student", "distilled"]
    assert rows[2]["name"] == rows[4]["teacher"] == "teacher, ensemble of 2"
    assert rows[2]["parameters"] is None
    assert rows[2]["scores"]["beam"]["cider"] is not None
    assert isinstance(student(home, rows[4]).labels, GenerateTogether)
    # The undistilled control has the first teacher's own recipe: nothing is trained twice.
    assert rows[3]["runs"] == [first.name]


def test_a_run_teaches_on_other_data_than_its_own(home: Path, tmp_path: Path) -> None:
    first = runs(home)[0]
    rows = distill(home, tmp_path, "--teacher-run", str(first), data="others")
    assert rows[0]["runs"] == [first.name]
    labels = student(home, rows[2]).labels
    assert isinstance(labels, Generate)
    assert labels.source == ImportData.of(home / "others") != labels.captioner.data
    store = Store(home / "store")
    images = ImportData.of(home / "others").load(store).split("train")
    assert list(labels.load(store)) == [image.id for image in images]
    assert len(images) == rows[2]["images_seen"] / EPOCHS == 12


def test_a_model_of_transformers_teaches(home: Path, tmp_path: Path) -> None:
    save_model("blip", tmp_path / "blip")
    options = ("--teacher-model", str(tmp_path / "blip"), "--n-best", "2", "--intermediate", "updown-tiny")
    rows = distill(home, tmp_path / "to", *options)
    assert [row["role"] for row in rows] == ["teacher", "student", "distilled", "distilled"]
    teacher = rows[0]
    assert teacher["name"] == rows[2]["teacher"] == "teacher blip"
    assert teacher["ms_per_image"] is teacher["train_seconds"] is None
    assert teacher["scores"]["greedy"]["cider"] is not None
    labels = student(home, rows[2]).labels
    assert isinstance(labels, LabelWithPretrained)
    assert {len(captions) for captions in labels.load(Store(home / "store")).values()} == {2}
    assert student(home, rows[3]).labels == Generate.as_chosen(student(home, rows[2]), "train", 2, 2)
    plan = call(
        home,
        "distill",
        "scenes",
        *options,
        "--student",
        "updown-tiny",
        "--beam",
        "2",
        "--no-export",
        "--plan",
    )
    assert "there label-with-pretrained-" in " ".join(plan.split())
    assert "to do" not in plan


def test_a_captions_file_teaches_what_it_says_of_training_images(home: Path, tmp_path: Path) -> None:
    dataset = ImportData.of(home / "scenes").load(Store(home / "store"))
    described = [image.id for image in dataset.images if image.split != "val"][2:]  # test images too
    theirs = [{"image_id": id, "caption": f"thing number {id}"} for id in described]
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))
    rows = distill(home, tmp_path / "to", "--teacher-captions", str(tmp_path / "theirs.json"))
    assert [row["role"] for row in rows] == ["student", "distilled"]
    assert rows[1]["teacher"] == "theirs.json"
    assert rows[1]["labels"] == f"theirs.json, {TRAINING - 2} of {TRAINING} training images"
    assert rows[1]["images_seen"] / EPOCHS == TRAINING - 2  # and none of the test images
    labels = student(home, rows[1]).labels
    assert isinstance(labels, ImportCaptions)
    assert labels.load(Store(home / "store")).texts(described[0]) == [f"thing number {described[0]}"]


def test_what_brings_no_teacher_is_refused(home: Path, tmp_path: Path) -> None:
    first, file = str(runs(home)[0]), str(tmp_path / "theirs.jsonl")
    cases: list[tuple[type[DistilCapError], str, tuple[str, ...]]] = [
        (
            ConfigError,
            "`--teacher-captions` and `--teacher-run` each bring a teacher; leave out one of them.",
            ("--teacher-run", first, "--teacher-captions", file),
        ),
        (
            ConfigError,
            "`--teacher` is a captioner to be trained, but `--teacher-run` brings a teacher that needs no "
            "training; leave one of the two out.",
            ("--teacher-run", first, "--teacher", "updown-big"),
        ),
        (
            ConfigError,
            "`--teacher-encoder` is what a teacher is trained to see through, but `--teacher-model` brings",
            ("--teacher-model", "blip", "--teacher-encoder", "efficientnet-lite2"),
        ),
        (
            ConfigError,
            "`--n-best` says how many of a teacher's hypotheses become labels, but all captions of "
            "`--teacher-captions` do; leave it out.",
            ("--teacher-captions", file, "--n-best", "2"),
        ),
        (DataError, "theirs.jsonl: there is no such captions file.", ("--teacher-captions", file)),
        (DataError, "not a model of transformers", ("--teacher-model", str(tmp_path))),
        (DataError, "not a folder of a store", ("--teacher-run", str(tmp_path))),
        (
            ConfigError,
            f"`--teacher-run` must be a run of `--store` ({tmp_path}), but is {first}.",
            ("--teacher-run", first, "--store", str(tmp_path)),
        ),
    ]
    for kind, message, options in cases:
        with pytest.raises(kind) as caught:
            call(home, "distill", "scenes", *options)
        assert message in str(caught.value)
    Path(file).write_text('{"image": "unknown", "captions": [{"text": "a thing"}]}\n')
    with pytest.raises(
        DataError, match=r"describes no training image of .*; image ids there are like '.+', "
    ):
        call(home, "distill", "scenes", "--teacher-captions", file)
    with pytest.raises(DataError, match=r"import-captions-\w+: has no caption of a training image of "):
        call(home, "train", "scenes", "--captioner", "updown-tiny", "--labels", file)


def test_sizes_have_their_names_or_their_widths() -> None:
    assert size_of(preset("aoanet", "medium")) == "medium"
    assert size_of(UpDownOptions(384, 256, 192)) == "384 wide"
