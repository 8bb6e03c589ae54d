"""The engine ray: the same results as one stage after another; a killed worker's stage is run again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.pipeline.distill import plan_distillation
from distilcap.progress import SILENT, Progress, Silent
from distilcap.reports.results import stages_of
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.store.cluster import Share, build_on_ray
from distilcap.store.stage import Stage, Store
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


@dataclass(frozen=True)
class Count(Stage):
    """Counts to `until`, a line a step; goes on where it was; says which processes worked at it."""

    name: str
    until: int
    after: tuple[Count, ...] = ()

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        assert all(store.has(one) for one in self.after)
        with (folder / "workers").open("a") as file:
            file.write(f"{os.getpid()}\n")
        for _ in range(self.until - len(self.lines(folder))):
            time.sleep(0.1)
            with (folder / "lines").open("a") as file:
                file.write("one\n")

    @staticmethod
    def lines(folder: Path) -> list[str]:
        path = folder / "lines"
        return path.read_text().splitlines() if path.exists() else []


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


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """A cluster of two workers on this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else a busy machine starves them
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the workers find these stages
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()


def kill_once(folder: Path) -> threading.Thread:
    """Kill the worker of the stage being built in `folder` when it is in the middle."""

    def wait_and_kill() -> None:
        for _ in range(1200):
            if len(Count.lines(folder)) >= 3:
                os.kill(int((folder / "workers").read_text().split()[0]), signal.SIGKILL)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_workers_stage_is_run_again_and_goes_on(workers: None, tmp_path: Path) -> None:
    first = Count("first", 1)
    left, right = Count("left", 20, (first,)), Count("right", 20, (first,))
    last = Count("last", 2, (left, right))
    store, serial = Store(tmp_path / "store"), Store(tmp_path / "serial")
    killer = kill_once(store.root / ".partial" / left.key)
    noted: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            noted.append(message)

    build_on_ray([last, Measure("alone", 1)], store, Notes(), Share())
    killer.join()
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
    build_on_ray([last], store, Notes(), Share())  # all is there
    assert len(noted) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_a_stage_says_to_people_comes_back_as_it_was(workers: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^captions.json: there is no such file\.$"):
        build_on_ray([Fail("captions.json"), Count("other", 3)], Store(tmp_path), SILENT, Share())
    with pytest.raises(ConfigError, match="No machine of the cluster has 3 CPUs and 0 GPUs"):
        build_on_ray([Count("wide", 1)], Store(tmp_path), SILENT, Share(cpus=3))
    with pytest.raises(ConfigError, match=r"dies-\w+: its worker died 4 times .*--cpus-per-stage"):
        build_on_ray([Dies()], Store(tmp_path), SILENT, Share())
    assert (tmp_path / "deaths").read_text() == "xxxx"


def test_without_ray_it_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"needs the package ray: pip install 'distilcap\[scale\]'"):
        build_on_ray([Count("one", 1)], Store(tmp_path), SILENT, Share())


def test_impossible_shares_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`cpus_per_stage` must be at least 1, but is 0"):
        Share(cpus=0)
    with pytest.raises(ConfigError, match="`gpus_per_stage` must be at least 0, but is -1"):
        Share(gpus=-1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["reproduce", "table1", "--data", "x", "--engine", "ray"]
    done = CliRunner().invoke(cli, arguments)
    assert "`engine` ray starts processes itself" in str(done.exception)


def kill_trainer(partial: Path, killed: list[str]) -> threading.Thread:
    """Kill the first worker that is seen with a checkpoint of the training it is at."""

    def wait_and_kill() -> None:
        for _ in range(12_000):
            for checkpoint in partial.glob("train-*/log.json"):
                for process in Path("/proc").glob("[0-9]*"):
                    name = f"ray::{checkpoint.parent.name}"
                    with contextlib.suppress(OSError):  # it has ended
                        if (process / "cmdline").read_text(errors="replace").startswith(name):
                            os.kill(int(process.name), signal.SIGKILL)
                            killed.append(checkpoint.parent.name)
                            return
            time.sleep(0.005)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the worker in /proc")
def test_a_line_on_ray_gives_what_the_serial_engine_gives(workers: None, tmp_path: Path) -> None:
    import torch
    from test_line import STUDENT, TEACHER

    draw_scenes(tmp_path / "scenes", (24, 6, 8), size=64)
    data = ImportData.of(tmp_path / "scenes")
    features = ExtractFeatures.of(data, "efficientnet-lite0", size=64, weights="random")
    longer = TrainingOptions(CrossEntropyPhase(epochs=8), SelfCriticalPhase(epochs=1, samples=2))
    roles = [dataclasses.replace(role, training=longer) for role in (TEACHER, STUDENT)]
    members = plan_distillation(data, features, *roles, beam=2, min_count=1).systems
    stages = [one for one in stages_of(members, ("cider",)) if not one.alone]
    store, serial, killed = Store(tmp_path / "store"), Store(tmp_path / "serial"), list[str]()
    killer = kill_trainer(store.root / ".partial", killed)
    build_on_ray(stages, store, SILENT, Share())
    killer.join()
    assert len(killed) == 1
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
    assert compared == 3 + 7 + 6  # trainings; labels and captions; scores
