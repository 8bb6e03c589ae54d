"""The engine ray: the same results as one stage after another; a killed worker's stage is run again."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.models.aoanet import AoANetOptions
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.distill import Role, plan_distillation
from distilcap.progress import SILENT, Progress, Silent
from distilcap.reports.results import stages_of
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.store import cluster
from distilcap.store.cluster import EngineOptions, build_on_ray
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training import loop
from distilcap.training.checkpoint import Position, save_checkpoint
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


@dataclass(frozen=True)
class Count(Stage):
    """Counts to `until`, a line a step; goes on where it was; says which processes worked at it; may die."""

    name: str
    until: int
    after: tuple[Count, ...] = ()

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        assert all(store.has(one) for one in self.after)
        with (folder / "workers").open("a") as file:
            file.write(f"{os.getpid()}\n")
        for line in range(len(self.lines(folder)), self.until):
            if line == 3:
                die_once(folder)
            with (folder / "lines").open("a") as file:
                file.write("one\n")

    @staticmethod
    def lines(folder: Path) -> list[str]:
        path = folder / "lines"
        return path.read_text().splitlines() if path.exists() else []


def die_once(folder: Path) -> None:
    """End this process if the file "fatal" is in `folder`, and remove that."""
    with contextlib.suppress(FileNotFoundError):
        (folder / "fatal").unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def build_and_die_once(stage: Stage, root: Path, home: Path, threads: int) -> None:
    """What a worker does, but it dies when it has kept the second epoch of a training."""

    def save_and_die(path: Path, position: Position, *others: Any) -> None:
        save_checkpoint(path, position, *others)
        if position.epoch == 2:
            die_once(root)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_and_die)
        cluster._build(stage, root, home, threads)


@dataclass(frozen=True)
class Fail(Stage):
    """Fails as a person's file may."""

    name: str

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        raise DataError(f"{self.name}: there is no such file.")


@dataclass(frozen=True)
class Dies(Stage):
    """Ends its process, whoever runs it."""

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        with (folder.parent.parent / "deaths").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Measure(Count):
    """Must run alone."""

    alone = True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_workers_stage_is_run_again_and_goes_on(workers: None, tmp_path: Path) -> None:
    first = Count("first", 1)
    left, right = Count("left", 9, (first,)), Count("right", 9, (first,))
    last = Count("last", 2, (left, right))
    store, serial = Store(tmp_path / "store"), Store(tmp_path / "serial")
    partial = store.root / ".partial" / left.key
    partial.mkdir(parents=True)
    (partial / "fatal").touch()
    noted: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            noted.append(message)

    build_on_ray([last, Measure("alone", 1)], store, Notes(), EngineOptions())
    serial.build(last)
    for stage in (first, left, right, last):
        assert Count.lines(store.path(stage)) == Count.lines(serial.path(stage))
    at_left = (store.path(left) / "workers").read_text().split()
    assert len(at_left) == 2  # one was killed, another went on
    assert at_left[0] != at_left[1]
    assert at_left[0] not in (store.path(right) / "workers").read_text().split()  # both worked at once
    assert str(os.getpid()) not in at_left
    assert [note.partition(":")[0] for note in noted][-1] == last.key
    assert len(noted) == 4
    assert not store.has(Measure("alone", 1))
    build_on_ray([last], store, Notes(), EngineOptions())  # all is there
    assert len(noted) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_a_stage_says_to_people_comes_back_as_it_was(workers: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^captions.json: there is no such file\.$"):
        build_on_ray([Fail("captions.json"), Count("other", 3)], Store(tmp_path), SILENT, EngineOptions())
    with pytest.raises(ConfigError, match="No machine of the cluster has 3 CPUs and 0 GPUs"):
        build_on_ray([Count("wide", 1)], Store(tmp_path), SILENT, EngineOptions(cpus_per_stage=3))
    with pytest.raises(ConfigError, match=r"dies-\w+: its worker died 4 times .*--cpus-per-stage"):
        build_on_ray([Dies()], Store(tmp_path), SILENT, EngineOptions())
    assert (tmp_path / "deaths").read_text() == "xxxx"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            None,
            r"^Ray did not start on this machine: The node timed out\. .*; where the machine is busy, run",
        ),
        ("host:1", r"^No Ray cluster answers at host:1: The node timed out\.$"),
    ],
)
def test_a_cluster_that_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None, message: str
) -> None:
    def init(**_: object) -> None:
        raise Exception("The node timed out.\nAnd more.")

    left: list[str] = []
    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: left.append("left"))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=message):
        build_on_ray([Count("one", 1)], Store(tmp_path), SILENT, EngineOptions())
    assert left == ["left"]


def test_without_ray_it_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"needs the package ray: pip install 'distilcap\[scale\]'"):
        build_on_ray([Count("one", 1)], Store(tmp_path), SILENT, EngineOptions())


def test_impossible_shares_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`cpus_per_stage` must be at least 1 and at most 256, but is 0"):
        EngineOptions(cpus_per_stage=0)
    with pytest.raises(ConfigError, match="`gpus_per_stage` must be at least 0 and at most 1024, but is -1"):
        EngineOptions(gpus_per_stage=-1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="`engine` ray starts processes itself"):
        EngineOptions("ray")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_line_on_ray_gives_what_the_serial_engine_gives(
    workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    draw_scenes(tmp_path / "scenes", (24, 6, 8), size=64)
    data = ImportData.of(tmp_path / "scenes")
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    training = TrainingOptions(CrossEntropyPhase(epochs=8), SelfCriticalPhase(epochs=1, samples=2))
    attention = AoANetOptions(hidden=16, embedding=8, heads=2, refiner_layers=1)
    teacher = Role("aoanet", "tiny", attention, training)
    student = Role("updown", "tiny", UpDownOptions(hidden=8, embedding=8, attention=4), training)
    members = plan_distillation(data, features, teacher, student, beam=2, min_count=1).systems
    stages = [one for one in stages_of(members, ("cider",)) if not one.alone]
    store, serial = Store(tmp_path / "store"), Store(tmp_path / "serial")
    store.root.mkdir()
    (store.root / "fatal").touch()
    with monkeypatch.context() as patch:
        patch.setattr("distilcap.store.cluster._build", build_and_die_once)
        build_on_ray(stages, store, SILENT, EngineOptions())
    assert not (store.root / "fatal").exists()  # a worker has died
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for stage in stages:
        serial.build(stage)
    torch.set_num_threads(threads)
    compared = 0
    for planned in serial.plan(stages):
        for name in ("captioner.safetensors", "captions.jsonl", "scores.json"):
            one, other = (kept.path(planned.stage) / name for kept in (serial, store))
            if one.exists():
                assert one.read_bytes() == other.read_bytes(), (planned.stage.key, name)
                compared += 1
    assert compared == 3 + 13 + 6  # trainings; labels and captions; scores
