"""Teachers of `transformers`: tiny random models made from configurations, batched, resumed, refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_models import MODELS, save_model

from distilcap.data.captions import Caption
from distilcap.data.dataset import ImageRecord
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.stages.data import ImportData
from distilcap.stages.folders import stage_at
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.store.store import Store
from distilcap.teachers.pretrained import PretrainedTeacher, find_model, label_images, model_fingerprint

pytestmark = pytest.mark.filterwarnings("default")  # the package's own warnings are not ours


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model on disk."""
    place: Path = tmp_path_factory.mktemp(str(request.param))
    save_model(request.param, place)
    return place


def photos(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (40, 30), (40 * place % 256, 90, 200 - 30 * place)) for place in range(count)]


def test_models_caption_in_batches_as_one_by_one(folder: Path) -> None:
    teacher = dataclasses.replace(PretrainedTeacher.load(folder, "cpu"), max_tokens=6)
    together = teacher.caption(photos(3), beam=3, n_best=2)
    alone = [teacher.caption([photo], beam=3, n_best=2)[0] for photo in photos(3)]
    assert [[one.text for one in several] for several in together] == [
        [one.text for one in several] for several in alone
    ]
    for several in together:
        scores = [one.log_prob or 0.0 for one in several]
        assert scores == sorted(scores, reverse=True)
        assert all(score < 0 for score in scores)
        assert not any(mark in one.text for one in several for mark in ("[", "]"))


def test_greedy_log_probabilities_are_those_of_a_beam_of_one(folder: Path) -> None:
    """With a beam as wide as all words, one token long, search is exhaustive: its best is the greedy one."""
    teacher = dataclasses.replace(PretrainedTeacher.load(folder, "cpu"), max_tokens=1)
    (greedy,) = teacher.caption(photos(1), beam=1)
    (best,) = teacher.caption(photos(1), beam=8)
    assert greedy[0].text == best[0].text
    assert greedy[0].log_prob == pytest.approx(best[0].log_prob, abs=1e-4)
    with pytest.raises(ConfigError, match=r"`n_best` must be in 1 to `beam` \(1\), but is 2"):
        teacher.caption(photos(1), beam=1, n_best=2)


def test_labelling_goes_on_where_it_was_killed(folder: Path, tmp_path: Path) -> None:
    images = []
    for place, photo in enumerate(photos(5)):
        photo.save(tmp_path / f"{place}.png")
        images.append(ImageRecord(str(place), tmp_path / f"{place}.png", "train"))
    (tmp_path / "4.png").write_text("no picture")
    teacher = dataclasses.replace(PretrainedTeacher.load(folder, "cpu"), max_tokens=4)
    options: dict[str, Any] = {"beam": 1, "batch_images": 2}
    whole = label_images(teacher, images, tmp_path / "whole.jsonl", **options)
    assert list(whole) == ["0", "1", "2", "3"]  # the last cannot be read
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    torn = tmp_path / "torn.jsonl"
    torn.write_text("".join(lines[:2]) + lines[2][:10])
    asked: list[int] = []

    class Counting(PretrainedTeacher):
        def label(self, photos: Any, *rest: Any) -> Any:
            asked.append(len(photos))
            return super().label(photos, *rest)

    counting = Counting(**vars(teacher))
    again = label_images(counting, images, torn, **options)
    assert {id: again.texts(id) for id in again} == {id: whole.texts(id) for id in whole}
    assert asked == [2]  # images 2 and 3
    assert [line.partition(" ")[2] for line in torn.read_text().splitlines()] == [
        line.rstrip("\n").partition(" ")[2] for line in lines
    ]
    # A damaged line in the middle: its batch and those after it are captioned again.
    torn.write_text("".join([lines[0], lines[1].replace("log_prob", "log_brob"), *lines[2:]]))
    assert label_images(counting, images, torn, **options) == whole
    assert asked == [2, 2, 2]
    with pytest.raises(DataError, match=r"torn.jsonl: begun with other options \(max_tokens: 4, now 5\)"):
        label_images(dataclasses.replace(counting, max_tokens=5), images, torn, **options)


def test_batches_stay_where_images_cannot_be_read(tmp_path: Path) -> None:
    """After a kill, too: captions of a batch are rounded together."""
    images = [ImageRecord(str(number), tmp_path / f"{number}.png", "train") for number in range(6)]
    batches: list[list[str]] = []

    class Reads(PretrainedTeacher):
        def read(self, photo: Path) -> Any:
            if photo.stem == unreadable:
                raise DataError(f"{photo.name}: no picture.")
            return photo.stem

        def label(self, photos: Any, *rest: Any) -> Any:
            if len(batches) == killed_after:
                raise KeyboardInterrupt
            batches.append(photos)
            return [(Caption("a dog"),) for _ in photos]

    teacher, log, killed_after, unreadable = Reads(None, None, None), tmp_path / "log.jsonl", 1, "0"
    with pytest.raises(KeyboardInterrupt):
        label_images(teacher, images, log, batch_images=2)
    killed_after = 3
    assert list(label_images(teacher, images, log, batch_images=2)) == ["1", "2", "3", "4", "5"]
    assert batches == [["1"], ["2", "3"], ["4", "5"]]
    killed_after, unreadable = -1, ""  # a disk is there again
    assert list(label_images(teacher, images, log, batch_images=2)) == ["0", "1", "2", "3", "4", "5"]
    assert batches[3:] == [["0"]]


def test_nan_never_becomes_a_label(folder: Path, tmp_path: Path) -> None:
    (photo,) = photos(1)
    photo.save(tmp_path / "0.png")

    class Broken(PretrainedTeacher):
        def read(self, photo: Path) -> Any:
            return photo

        def label(self, photos: Any, *rest: Any) -> Any:
            return [(Caption("a a a", float("nan")),) for _ in photos]

    images = [ImageRecord("0", tmp_path / "0.png", "train")]
    with pytest.raises(DataError, match="gives image '0' a log-probability that is NaN"):
        label_images(Broken(None, None, None), images, tmp_path / "log.jsonl")


def test_a_stage_labels_a_split(folder: Path, tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (3, 1, 1), size=48)
    labels = LabelWithPretrained.of(ImportData.of(tmp_path / "scenes"), str(folder), beam=2, max_tokens=4)
    store = Store(tmp_path / "store")
    assert stage_at(store.build(labels)) == labels
    assert len(labels.load(store)) == 3
    assert not list(store.path(labels).glob("*.partial*"))
    other = LabelWithPretrained(labels.data, "train", "0" * 64, 2, 1, 4, str(folder))
    assert other.key != labels.key
    with pytest.raises(DataError, match="changed since the plan was made"):
        store.build(other)


def test_the_fingerprint_follows_content_alone(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert model_fingerprint(tmp_path) == model_fingerprint(folder)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"initializer_factor": 2.0}))
    assert model_fingerprint(tmp_path) != model_fingerprint(folder)


def test_a_model_that_needs_a_prompt_is_refused(tmp_path: Path) -> None:
    save_model("chat", tmp_path)
    with pytest.raises(
        DataError, match=r"captions no photograph by itself .*A chat model needs a prompt: caption"
    ):
        PretrainedTeacher.load(tmp_path, "cpu")


def test_a_chat_template_alone_is_no_reason_to_refuse(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert PretrainedTeacher.load(tmp_path, "cpu").caption(photos(1))


def test_a_model_that_was_not_downloaded_whole_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:300])
    with pytest.raises(
        DataError, match=r"model that loads \(.*header.*\); take another or download it again"
    ):
        PretrainedTeacher.load(tmp_path, "cpu")

    def needs_more(*_: object, **__: object) -> None:
        raise ImportError("\nPackage `num2words` is required.")

    monkeypatch.setattr("transformers.AutoImageProcessor.from_pretrained", needs_more)
    with pytest.raises(DataError, match="`num2words` is required\\); pip install"):
        PretrainedTeacher.load(folder, "cpu")


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"not a model of transformers \(there is no config.json in it\)"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match="not an image-to-text model"):
        PretrainedTeacher.load(tmp_path)
    with pytest.raises(MissingError, match="no such folder, and no download"):
        find_model("not a name of any model")

    def silent(*_: object, **__: object) -> None:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.snapshot_download", silent)
        with pytest.raises(MissingError, match=r"no download \(ValueError\)"):
            find_model("somebody/model")
        patch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", silent)
        with pytest.raises(DataError, match=r"not an image-to-text model that loads \(ValueError\)"):
            PretrainedTeacher.load(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingError, match=r"pip install 'distilcap\[teachers\]' brings it"):
        PretrainedTeacher.load(tmp_path)


def test_memory_that_runs_out_is_no_reason_to_take_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model("git", tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory.")

    monkeypatch.setattr(PretrainedTeacher, "label", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        PretrainedTeacher.load(tmp_path, "cpu")
