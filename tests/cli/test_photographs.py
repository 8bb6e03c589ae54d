"""Folders of photographs: what was seen is what was captioned, and what was skipped with a reason."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import distilcap
from distilcap.cli.main import cli
from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.models.updown import UpDownOptions
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner after one epoch."""
    folder = tmp_path_factory.mktemp("run")
    draw_scenes(folder / "scenes", (8, 2, 2), size=64)
    data = ImportData.of(folder / "scenes")
    phases = TrainingOptions(CrossEntropyPhase(epochs=1), SelfCriticalPhase(epochs=0))
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    train = Train(data, BuildVocabulary(data, 1), features, "updown", UpDownOptions(8, 8, 4), phases)
    return Store(folder / "store").build(train)


NOT_UTF_8 = os.fsdecode(b"caf\xe9.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven images, two of which cannot be read, one whose name is not UTF-8; and three other files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(["a.jpg", "a.png", "b.jfif", "noending", NOT_UTF_8]):
        try:
            with (folder / name).open("wb") as file:
                Image.new("RGB", (40, 30), (40 * number, 9, 200)).save(file, "PNG" if number % 2 else "JPEG")
        except OSError:
            pytest.skip("this file system takes no names that are not UTF-8")
    (folder / "raw.nef").write_bytes(b"II*\0" + bytes(40))
    (folder / "empty.jpg").touch()
    for name in ("x.mov", "y.mov", "notes.txt"):
        (folder / name).write_bytes(b"not an image")
    return folder


SEEN, SKIPPED = 7, 2
COUNTED = "3 other files left out, of no image format: 2 .mov, 1 .txt"


def call(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(cli, [os.fspath(str(one)) for one in arguments])


def test_generate_captions_all_and_goes_on(run: Path, photos: Path, tmp_path: Path) -> None:
    for _ in range(2):  # finished, it stays as it is
        done = call("generate", run, "--images", photos, "--to", tmp_path / "labels", "--beam-size", 1)
        assert done.exit_code == 0, (done.output, done.exception)
        assert f"captions of {SEEN - SKIPPED} images, {SKIPPED} skipped" in done.output
    (part,) = (tmp_path / "labels").glob("*.jsonl")
    assert set(CaptionSet.load(part)) == {"a", "a.png", "b.jfif", "noending", "caf&#56553;"}
    skipped = json.loads(part.with_suffix(".json").read_text())["skipped"]
    assert [one["id"] for one in skipped] == ["empty", "raw.nef"]
    assert "export it as JPEG" in skipped[1]["reason"]
    part.unlink()
    again = call("generate", run, "--images", photos, "--to", tmp_path / "labels", "--beam-size", 1)
    assert again.exit_code == 0
    assert COUNTED in again.output
    assert call("merge", tmp_path / "labels", "--to", tmp_path / "labels.jsonl").exit_code == 0
    # The same by a list of paths, which are bytes.
    listed = tmp_path / "list.txt"
    listed.write_bytes(
        b"\xef\xbb\xbf" + b"".join(os.fsencode(path) + b"\r\n" for path in sorted(photos.glob("*.[jp]*")))
    )
    done = call("generate", run, "--images", listed, "--to", tmp_path / "listed", "--beam-size", 1)
    assert "captions of 4 images, 1 skipped" in done.output, (done.output, done.exception)


def test_caption_takes_folders(run: Path, photos: Path) -> None:
    done = call("caption", "--run", run, photos, "--beam-size", 1)
    lines = done.stdout.splitlines()
    assert len(lines) == SEEN - SKIPPED
    assert any("caf\\udce9.jpg\t" in line for line in lines)
    assert COUNTED in done.stderr
    assert f"{SKIPPED} of {SEEN} photos could not be read" in str(done.exception)
    assert "raw.nef: a camera's raw file; export it as JPEG" in str(done.exception)
    shutil.rmtree(photos)
    photos.mkdir()
    assert "photos: there is no image in this folder" in str(call("caption", "--run", run, photos).exception)


def test_the_options_of_a_search_are_a_runs_too(run: Path, photos: Path) -> None:
    """Of the command and of `load`: without its first word, a run finds two captions of other words."""
    photo = photos / "a.jpg"
    search: dict[str, Any] = {"beam_size": 2, "length_penalty": 0.0}
    word = distilcap.load(run, **search, n_best=2, max_words=3).caption(photo).words[0]
    options = ["--beam-size", 2, "--length-penalty", 0, "--n-best", 2, "--never-write", word]
    lines = call("caption", "--run", run, photo, *options).stdout.splitlines()
    captions = distilcap.load(run, **search, n_best=2, never_write=[word]).caption(photo).captions
    assert lines == [f"{photo}\t{caption.text}" for caption in captions]
    assert len(lines) == 2
    assert word not in " ".join(lines).split()


def test_the_check_and_the_features_agree_with_them(photos: Path, tmp_path: Path) -> None:
    report = json.loads(call("data", "check", photos, "--json").stdout)
    assert sum(report["images"].values()) == SEEN - 1  # a name that is not UTF-8 cannot be in a data set
    kinds = {
        problem["message"].split("'")[1]: problem["kind"]
        for problem in report["problems"]
        if "'" in problem["message"]
    }
    assert kinds["raw.nef"] == "undecodable image"
    assert kinds["empty"] == "empty image file"
    assert kinds["caf\\udce9.jpg"] == "file name"
    assert any(COUNTED in note for note in report["notes"])
    arguments = ["--encoder", "efficientnet-lite0", "--encoder-weights", "random", "--image-size", 64]
    done = call("features", "--data", photos, "--out", tmp_path / "features", *arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"{SEEN - 1 - SKIPPED:,} images in" in done.output
    assert f"{SKIPPED} skipped" in done.output
    assert "'caf\\udce9.jpg' is not UTF-8; rename it." in " ".join(done.stderr.split())


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".txt"])
def test_captions_written_are_read_by_evaluate_and_the_check(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """By references that name the images by their paths, by their files, or from the folder captioned."""
    monkeypatch.chdir(tmp_path)
    names = ["0/a.png", "0/b.png", "1/c.png"]
    for number, name in enumerate(names):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (80 * number, 9, 200)).save(Path("photos", name))
    written = call("caption", "--run", run, "photos", "--beam-size", 1, "--to", f"captions{ending}")
    assert written.exit_code == 0, (written.output, written.exception)
    checked = json.loads(call("data", "check", f"captions{ending}", "--json").stdout)
    assert sum(checked["images"].values()) == len(names)
    assert {problem["kind"] for problem in checked["problems"]} <= {"nothing to learn"}
    for known in ([f"photos/{name}" for name in names], names, [Path(name).stem for name in names]):
        Path("references.json").write_text(json.dumps({name: ["a red circle"] for name in known}))
        arguments = [f"captions{ending}", "--references", "references.json", "--metrics", "rouge_l"]
        scored = call("evaluate", *arguments, "--resamples", 0)
        assert scored.exit_code == 0, (scored.output, scored.exception)
        assert f"captions{ending} (3 images)" in scored.output
        assert not scored.stderr
