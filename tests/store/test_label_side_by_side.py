"""Photographs captioned in parts, several at a time: all parts, merged; a dead worker's part goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from workers_calls import die_once

from distilcap.data.captions import Caption, CaptionSet
from distilcap.errors import ConfigError, DataError
from distilcap.pipeline import labelling as labelling_module
from distilcap.pipeline.labelling import MERGED, Labelling, label_side_by_side
from distilcap.progress import SILENT, Silent
from distilcap.store.engine import EngineOptions
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shards import PhotoCaptioner, label_shard


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


class Namer:
    """Captions a photograph by its name; dies once where a file "fatal" lies beside the photographs."""

    name = "namer"

    def read(self, photo: Path) -> Path:
        if photo.stem == "broken":
            raise DataError(f"{photo}: broken.")
        return photo

    def label(
        self, photos: Sequence[Any], beam: int, n_best: int, ids: Sequence[str] = ()
    ) -> list[tuple[Caption, ...]]:
        for photo in photos:
            if photo.stem == "7":
                die_once(photo.parent.parent)
        return [(Caption(f"photograph {photo.stem}", -1.0),) for photo in photos]


@dataclass(frozen=True)
class ByName(Labelling):
    def captioner(self, progress: Any) -> PhotoCaptioner:
        return Namer()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def plan(photos: Path, tmp_path: Path) -> ByName:
    return ByName(photos, tmp_path / "labels", LabelOptions(1, shards=5, batch_images=2))


def expect_all(plan: Labelling, labelled: Any) -> None:
    captions = CaptionSet.load(plan.to / MERGED)
    assert {id: captions.texts(id) for id in captions} == {
        str(number): [f"photograph {number}"] for number in range(20)
    }
    assert labelled.images == 20
    assert [skipped.id for skipped in labelled.skipped] == ["broken"]
    assert not list(plan.to.glob(".*"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls are made in this process, and noted."""
    made: list[str] = []

    def call(function: Any, calls: dict[str, Any], *_: Any) -> dict[str, Any]:
        made.extend(calls)
        return {name: function(*arguments) for name, arguments in calls.items()}

    monkeypatch.setattr(labelling_module, "call_side_by_side", call)
    labelling_module._captioner.cache_clear()
    return made


def test_all_parts_are_made_and_merged(plan: ByName, here: list[str]) -> None:
    expect_all(plan, label_side_by_side(plan, EngineOptions(), SILENT))
    assert len(here) == 5
    assert labelling_module._captioner.cache_info().misses == 1  # loaded once a worker
    # A lost driver: finished parts stay as they are, and only others are made.
    (plan.to / MERGED).unlink()
    parts = {path: path.stat().st_mtime_ns for path in plan.to.glob("shard-*")}
    (plan.to / "shard-00002-of-00005.jsonl").unlink()
    expect_all(plan, label_side_by_side(plan, EngineOptions(), SILENT))
    changed = {path.name for path, time in parts.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"shard-00002-of-00005.jsonl", "shard-00002-of-00005.json"}
    with pytest.raises(DataError, match=r"other options"):
        label_side_by_side(replace(plan, options=replace(plan.options, beam_size=2)), EngineOptions(), SILENT)


def test_a_part_is_not_named_where_all_are_made(plan: ByName) -> None:
    with pytest.raises(ConfigError, match="`shard` names the part that one process captions"):
        label_side_by_side(
            replace(plan, options=replace(plan.options, shard=1)), EngineOptions("processes"), SILENT
        )


def test_the_command_takes_a_split_nowhere_else(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from distilcap.cli.main import cli

    arguments = ["generate", "runs/train-0", "--engine", "ray", "--to", str(tmp_path / "labels.jsonl")]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, ConfigError)
    assert "`engine` ray is for `--images`" in str(result.exception)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_workers_part_goes_on(engine: str, plan: ByName, photos: Path) -> None:
    (photos.parent / "fatal").touch()
    expect_all(plan, label_side_by_side(plan, EngineOptions(engine), SILENT))
    assert not (photos.parent / "fatal").exists()


def test_a_photograph_that_can_be_read_by_now_is_named(
    plan: ByName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, notes = LabelOptions(1), Notes()
    for _ in range(2):
        label_shard(Namer(), plan.images, tmp_path / "all", options, notes)
    assert notes.notes == []
    monkeypatch.setattr(Namer, "read", lambda self, photo: photo)
    label_shard(Namer(), plan.images, tmp_path / "all", options, notes)
    (note,) = notes.notes
    assert note.startswith("'broken', which was skipped, can be read now; delete ")
