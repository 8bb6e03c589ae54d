"""Stages: keys follow content, artifacts are whole or absent, killed builds go on, two builders meet."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json, write_json
from distilcap.integrity import CHECKSUMS, leave_out
from distilcap.progress import Progress, Silent
from distilcap.store import scratch as scratch_module
from distilcap.store import stage as stage_module
from distilcap.store.stage import Stage, added_later, not_in_key, stage_of
from distilcap.store.store import Store
from distilcap.training.processes import Processes


@dataclass(frozen=True)
class Rate:
    value: float = 0.1


@dataclass(frozen=True)
class Number(Stage):
    value: int
    where: str = not_in_key()

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        (folder / "number").write_text(str(self.value))


@dataclass(frozen=True)
class Sum(Stage):
    parts: tuple[Number, ...]
    rate: Rate = Rate()

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        total = sum(int((store.open(part) / "number").read_text()) for part in self.parts)
        with (folder / "builds").open("a") as file:
            file.write("x")
        time.sleep(0.05)
        (folder / "sum").write_text(str(total))


@dataclass(frozen=True)
class Fails(Stage):
    number: Number
    how: str

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        done = folder / "half"
        if not done.exists():
            done.write_text("half")
            if self.how == "killed":
                raise KeyboardInterrupt
            raise OSError(28, "No space left on device", str(folder / "big"))
        (folder / "whole").write_text(done.read_text() + " and whole")


TWO = Sum((Number(1, "here"), Number(2, "here")))


def test_the_key_follows_what_decides_the_result_and_nothing_else() -> None:
    assert Number(1, "here").key == Number(1, "there").key
    assert Number(1, "here").key != Number(2, "here").key
    assert TWO.key.startswith("sum-")
    assert TWO.key != Sum((Number(2, ""), Number(1, ""))).key
    assert TWO.key != Sum(TWO.parts, Rate(0.2)).key


def test_a_field_added_later_leaves_older_keys_as_they_were() -> None:
    @dataclass(frozen=True)
    class Options:
        rate: float = 0.1
        new: int = added_later(0)

    @dataclass(frozen=True)
    class Made(Stage):
        options: Options
        newer: bool = added_later(False)

        def build(self, folder: Path, store: Store, progress: Progress) -> None: ...

    assert Made(Options()).recipe() == {"stage": "Made", "version": 1, "options": {"rate": 0.1}}
    assert Made(Options(new=1)).recipe()["options"] == {"rate": 0.1, "new": 1}
    assert Made(Options(), newer=True).key != Made(Options()).key


def test_inputs_are_built_first_and_nothing_twice(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert [planned.to_do for planned in store.plan([TWO])] == [True, True, True]
    folder = store.build(TWO)
    assert (folder / "sum").read_text() == "3"
    store.build(TWO)
    assert (folder / "builds").read_text() == "x"
    assert not any(planned.to_do for planned in store.plan([TWO]))
    assert store.seconds(TWO) >= 0.05


@pytest.mark.parametrize("how", ["killed", "full"])
def test_a_broken_build_is_not_there_and_goes_on_where_it_stopped(tmp_path: Path, how: str) -> None:
    store, stage = Store(tmp_path), Fails(Number(1, ""), how)
    if how == "killed":
        with pytest.raises(KeyboardInterrupt):
            store.build(stage)
    else:
        with pytest.raises(DataError, match="big: No space left on device"):
            store.build(stage)
    assert not store.has(stage)
    assert not store.path(stage).exists()
    assert (store.build(stage) / "whole").read_text() == "half and whole"


def test_a_build_that_is_killed_without_a_word_has_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written while it runs: nothing of ours comes after SIGKILL."""
    monkeypatch.setattr(scratch_module, "EVERY", 0.01)
    store, seen = Store(tmp_path), list[float]()

    def build(stage: Number, folder: Path, *_: object) -> None:
        time.sleep(0.2)
        record = read_json(folder / scratch_module.SCRATCH)
        seen.append(record["seconds"])

    monkeypatch.setattr(Number, "build", build)
    store.build(Number(5, ""))
    assert 0.02 < seen[0] < store.seconds(Number(5, ""))
    assert not (store.path(Number(5, "")) / scratch_module.SCRATCH).exists()


def test_two_processes_build_a_stage_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # a fork copies locks that other threads hold
    builders = [context.Process(target=Store(tmp_path).build, args=(TWO,)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
        assert builder.exitcode == 0
    assert (Store(tmp_path).path(TWO) / "builds").read_text() == "x"


def test_a_stage_is_made_again_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Store(tmp_path).build(TWO)
    assert stage_of(folder) == TWO
    with pytest.raises(DataError, match=r"not a folder of a store"):
        stage_of(tmp_path)
    monkeypatch.delitem(stage_module._kinds, "Sum")
    with pytest.raises(DataError, match="made by another version of distilcap"):
        stage_of(folder)


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"The store .*file cannot be written"):
        Store(tmp_path / "file").build(Number(1, ""))


def as_older_versions_wrote_it(folder: Path) -> None:
    (folder / CHECKSUMS).unlink()
    record = read_json(folder / "stage.json")
    write_json(folder / "stage.json", {name: record[name] for name in ("recipe", "seconds", "made_by")})


@pytest.mark.parametrize("name", ["number", "stage.json", CHECKSUMS])
def test_a_damaged_stage_stops_whoever_reads_it(tmp_path: Path, name: str) -> None:
    store, one = Store(tmp_path), TWO.parts[0]
    path = store.build(one) / name
    path.write_bytes(path.read_bytes().replace(b"1", b"3", 1))
    fix = rf"; delete the folder {path.parent} and run the command that made it again: it is rebuilt\."
    with pytest.raises(DataError, match=rf"{path}: damaged .*{fix}"):
        store.open(one)
    with pytest.raises(DataError, match=rf"{path}: damaged"):
        store.build(TWO)
    shutil.rmtree(path.parent)
    assert (store.build(TWO) / "sum").read_text() == "3"


@pytest.mark.parametrize("name", ["number", "stage.json", CHECKSUMS])
def test_a_stage_that_lost_a_file_is_damaged_and_not_rebuilt_in_silence(tmp_path: Path, name: str) -> None:
    store, one = Store(tmp_path), TWO.parts[0]
    (store.build(one) / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: .*delete the folder"):
        store.build(TWO)


def test_only_the_files_that_are_read_are_checked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.build(TWO)
    (folder / "builds").write_text("y")
    assert store.open(TWO, "sum") == folder
    with pytest.raises(DataError, match="builds: damaged"):
        store.open(TWO, "sum", "builds")
    with pytest.raises(DataError, match="builds: damaged"):
        store.open(TWO)


def test_stages_of_older_versions_still_open(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.build(TWO)
    seconds = store.seconds(TWO)
    as_older_versions_wrote_it(folder)
    assert store.open(TWO) == folder
    assert store.has(TWO, whole=True)
    assert store.seconds(TWO) == seconds
    assert stage_of(folder) == TWO
    (folder / "stage.json").write_text("{")
    with pytest.raises(DataError, match=r"stage\.json.*not valid JSON.*delete the folder"):
        store.build(TWO)


class Notes(Silent):
    def __init__(self) -> None:
        self.noted: list[str] = []

    def note(self, message: str) -> None:
        self.noted.append(message)


def test_a_deleted_input_of_a_complete_stage_is_rebuilt_when_it_is_needed(tmp_path: Path) -> None:
    notes = Notes()
    store, one = Store(tmp_path, progress=notes), TWO.parts[0]
    store.build(TWO)
    shutil.rmtree(store.path(one))
    store.build(TWO)  # needs nothing
    assert not store.has(one)
    assert (store.open(one) / "number").read_text() == "1"
    assert notes.noted == [f"{one.key} is needed, but not in the store: building it"]


def test_results_alone_are_complete_until_their_weights_are_needed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.build(TWO)
    leave_out(folder, ["builds"])
    assert store.has(TWO, whole=True)
    (folder / "builds").unlink()
    assert store.has(TWO)
    assert not store.has(TWO, whole=True)
    assert (store.open(TWO, "sum") / "sum").read_text() == "3"
    store.build(TWO)
    assert not (folder / "builds").exists()
    assert (store.open(TWO) / "builds").read_text() == "x"
    assert json.loads((folder / CHECKSUMS).read_text())["left_out"] == []
    assert store.has(TWO, whole=True)


def test_results_alone_that_cannot_be_made_again_are_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    folder = store.build(TWO)
    leave_out(folder, ["builds"])
    (folder / "builds").unlink()

    def fails(*_: Any) -> None:
        raise DataError("training: there is no trained captioner.")

    monkeypatch.setattr(Sum, "build", fails)
    with pytest.raises(DataError, match=rf"{TWO.key}: holds results only.* no trained captioner\. Copy this"):
        store.open(TWO)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"^training: there is no"):
        store.open(TWO)


@dataclass(frozen=True)
class Threads(Processes):
    """Two processes of a launch, played by two threads; a message that only one sends breaks both."""

    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=10))
    box: list[Any] = field(default_factory=list)

    def agree(self, value: Any) -> Any:
        if self.count == 1:
            return value
        if self.first:
            self.box[:] = [value]
        self.meeting.wait()
        said = self.box[0]
        self.meeting.wait()
        return said

    def wait(self) -> None:
        self.agree(None)


@dataclass(frozen=True)
class Later(Stage):
    """Needs the input of an input, which `inputs` does not name."""

    total: Sum

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        (folder / "last").write_text((store.open(self.total.parts[1]) / "number").read_text())


@dataclass(frozen=True)
class LaterTogether(Later):
    together = True

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        number = (store.open(self.total.parts[1]) / "number").read_text()
        if store.processes.first:
            (folder / "last").write_text(number)


@pytest.mark.parametrize("kind", [Later, LaterTogether])
def test_all_processes_of_a_launch_rebuild_what_is_missing(tmp_path: Path, kind: type[Later]) -> None:
    Store(tmp_path).build(TWO)
    shutil.rmtree(Store(tmp_path).path(TWO.parts[1]))
    first = Threads(count=2)
    results: dict[int, str] = {}

    def run(rank: int) -> None:
        processes = Threads(rank, 2, meeting=first.meeting, box=first.box)
        results[rank] = (Store(tmp_path, processes).build(kind(TWO)) / "last").read_text()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {0: "2", 1: "2"}
