"""Stages: keys follow content, artifacts are whole or absent, killed builds go on, two builders meet."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from distilcap.errors import ConfigError, DataError
from distilcap.progress import Progress
from distilcap.store.stage import Stage, Store, added_later, not_in_key, stage_of


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
        total = sum(int((store.path(part) / "number").read_text()) for part in self.parts)
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
    assert [planned.complete for planned in store.plan([TWO])] == [False, False, False]
    folder = store.build(TWO)
    assert (folder / "sum").read_text() == "3"
    store.build(TWO)
    assert (folder / "builds").read_text() == "x"
    assert all(planned.complete for planned in store.plan([TWO]))
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


def test_two_processes_build_a_stage_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # a fork copies locks that other threads hold
    builders = [context.Process(target=Store(tmp_path).build, args=(TWO,)) for _ in range(2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
        assert builder.exitcode == 0
    assert (Store(tmp_path).path(TWO) / "builds").read_text() == "x"


def test_a_stage_is_rebuilt_from_its_folder(tmp_path: Path) -> None:
    folder = Store(tmp_path).build(TWO)
    assert stage_of(folder, (Number, Sum, Rate)) == TWO
    with pytest.raises(DataError, match="made by another version of distilcap"):
        stage_of(folder, (Number,))
    with pytest.raises(DataError, match=r"not a folder of a store"):
        stage_of(tmp_path, (Number,))


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"The store .*file cannot be written"):
        Store(tmp_path / "file").build(Number(1, ""))
