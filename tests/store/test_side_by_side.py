"""The engines processes and ray: the same results as one stage after another; a killed worker's stage is run
again."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from workers_calls import (
    Count,
    Dies,
    Fail,
    Measure,
    Remark,
    die_once,
    faulty,
    leave,
    out_of_memory,
    out_of_space,
)

from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError, DistilCapError, MissingError
from distilcap.models.aoanet import AoANetOptions
from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.plan import Role, plan_distillation
from distilcap.plugins import add_plugin
from distilcap.progress import SILENT, Silent
from distilcap.reports.results import stages_of
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.store import engine as engine_module
from distilcap.store import side_by_side
from distilcap.store.engine import EngineOptions, build_side_by_side, call_side_by_side
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training import loop
from distilcap.training.checkpoint import Position, save_checkpoint
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


def build_and_die_once(stage: Stage, root: Path) -> tuple[str, ...]:
    """What a worker does, but it dies when it has kept the second epoch of a training."""

    def save_and_die(path: Path, position: Position, *others: Any) -> None:
        save_checkpoint(path, position, *others)
        if position.epoch == 2:
            die_once(root)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_and_die)
        return engine_module._build(stage, root)


@pytest.mark.filterwarnings("ignore")
def test_a_killed_workers_stage_is_run_again_and_goes_on(engine: str, tmp_path: Path) -> None:
    first = Remark("first", 1)
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

    build_side_by_side([last, Measure("alone", 1)], store, Notes(), EngineOptions(engine))
    serial.build(last)
    for stage in (first, left, right, last):
        assert Count.lines(store.path(stage)) == Count.lines(serial.path(stage))
    at_left = (store.path(left) / "workers").read_text().split()
    assert len(at_left) == 2  # one was killed, another went on
    assert at_left[0] != at_left[1]
    assert at_left[0] not in (store.path(right) / "workers").read_text().split()  # both worked at once
    assert str(os.getpid()) not in at_left
    assert [note.partition(":")[0] for note in noted][-1] == last.key
    assert noted[0] == f"{first.key}: skipped image 2"
    assert len(noted) == 5
    assert not store.has(Measure("alone", 1))
    build_side_by_side([last], store, Notes(), EngineOptions(engine))  # all is there
    assert len(noted) == 5


def test_what_a_complete_stage_was_made_of_is_not_built_again(tmp_path: Path) -> None:
    """As in a serial run: a report of what is trained trains nothing."""
    first = Count("first", 1)
    second = Count("second", 1, (first,))
    store = Store(tmp_path)
    store.build(second)
    shutil.rmtree(store.path(first))
    build_side_by_side([second], store, SILENT, EngineOptions("processes"))
    assert not store.has(first)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_a_stage_says_to_people_comes_back_as_it_was(engine: str, tmp_path: Path) -> None:
    def build(stages: list[Stage], **asked: Any) -> None:
        build_side_by_side(stages, Store(tmp_path), SILENT, EngineOptions(engine, **asked))

    with pytest.raises(DataError, match=r"^captions.json: there is no such file\.$"):
        build([Fail("captions.json"), Count("other", 3)])
    with pytest.raises(ConfigError, match=r"has 3 CPUs and 0 GPUs|have 3 CPUs, but this machine has 2"):
        build([Count("wide", 1)], cpus_per_stage=3)
    with pytest.raises(
        ConfigError, match=r"dies-\w+: its worker (died|was killed) 4 times .*--cpus-per-stage"
    ):
        build([Dies()])
    assert (tmp_path / "deaths").read_text() == "xxxx"


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (out_of_memory, DistilCapError, r"not enough memory \(.* 8 bytes\)\. .*--gpus-per-stage"),
        (faulty, RuntimeError, r"(?s)in a worker:.*in faulty.*Fault: a fault at two"),
        pytest.param(
            out_of_space, OSError, "No space left on device: 'labels.jsonl'", marks=pytest.mark.slow
        ),
        pytest.param(
            leave, ConfigError, r"2: its worker ended by itself \(exit code 3\)", marks=pytest.mark.slow
        ),
    ],
)
def test_what_goes_wrong_in_a_process_is_told_as_it_is(
    function: Callable[[int], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call_side_by_side(function, {"2": (2,)}, EngineOptions("processes"), SILENT, "Calls")


PLUGIN = """
from dataclasses import dataclass
from distilcap.store.stage import Stage

@dataclass(frozen=True)
class OfPlugin(Stage):
    def build(self, folder, store, progress):
        (folder / "made").touch()
"""


def test_a_stage_of_a_plugin_is_built_by_workers(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which know it by DISTILCAP_PLUGINS alone: no path of Python leads to the file."""
    path = tmp_path / f"plugin_for_{engine}.py"
    path.write_text(PLUGIN)
    monkeypatch.setenv("DISTILCAP_PLUGINS", "")
    add_plugin(str(path))
    stage = sys.modules[path.stem].OfPlugin()
    build_side_by_side([stage], Store(tmp_path / "store"), SILENT, EngineOptions(engine))
    assert (Store(tmp_path / "store").path(stage) / "made").is_file()


WAITS = """
import sys
from pathlib import Path
from workers_calls import sleep
from distilcap.progress import SILENT
from distilcap.store.engine import EngineOptions, call_side_by_side
if __name__ == "__main__":
    call_side_by_side(sleep, {"one": (Path(sys.argv[1]),)}, EngineOptions("processes"), SILENT, "Calls")
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_workers_end_with_whoever_began_them(ending: signal.Signals, tmp_path: Path) -> None:
    pid_file, script = tmp_path / "pid", tmp_path / "waits.py"
    script.write_text(WAITS)
    searched = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        [sys.executable, str(script), str(pid_file)],
        env=os.environ | {"PYTHONPATH": searched},
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (pid_file.exists() and pid_file.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(ending)
    worker = int(pid_file.read_text())
    while alive(worker):
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_share_of_a_gpu_limits_how_many_compute_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 4)
    begun: list[Any] = []

    class Worker(SimpleNamespace):
        def __init__(self, hides_gpus: bool) -> None:
            assert not hides_gpus
            super().__init__(call=None, connection=SimpleNamespace(send=begun.append))

    monkeypatch.setattr(side_by_side, "_Worker", Worker)
    workers = side_by_side.ProcessWorkers(1, 0.4)
    for number in range(4):
        workers.start(str(number), faulty, (number,), on_gpu=number < 3)
    workers._begin()
    assert [pickle.loads(call)[1] for call, *_ in begun] == [(0,), (1,), (3,)]  # the third waits for the GPU
    monkeypatch.setattr(side_by_side, "_first_gpu", lambda: 1.0)
    with (
        pytest.raises(
            ConfigError, match="is to have 2 GPUs, but this machine has 1; with `engine` processes"
        ),
        side_by_side.process_workers(1, 2),
    ):
        pass


@pytest.mark.parametrize(("share", "seen"), [(0, ""), (None, "0")])
def test_without_a_share_of_the_gpu_workers_do_not_see_it(
    engine: str, share: float | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray" and share is None:
        pytest.skip("no machine of this cluster has a GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(side_by_side, "_first_gpu", lambda: 1.0)
    options = EngineOptions(engine, gpus_per_stage=share)
    got = call_side_by_side(os.getenv, {"one": ("CUDA_VISIBLE_DEVICES",)}, options, SILENT, "Calls")
    assert got == {"one": seen}


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
        build_side_by_side([Count("one", 1)], Store(tmp_path), SILENT, EngineOptions("ray"))
    assert left == ["left"]


def test_without_ray_it_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match=r"needs the package ray: pip install 'distilcap\[scale\]'"):
        build_side_by_side([Count("one", 1)], Store(tmp_path), SILENT, EngineOptions("ray"))


def test_impossible_shares_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`cpus_per_stage` must be at least 1 and at most 256, but is 0"):
        EngineOptions(cpus_per_stage=0)
    with pytest.raises(ConfigError, match="`gpus_per_stage` must be at least 0 and at most 1024, but is -1"):
        EngineOptions(gpus_per_stage=-1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="`engine` ray starts processes itself"):
        EngineOptions("ray")
    with pytest.raises(ConfigError, match="`engine` processes starts processes itself"):
        EngineOptions("processes")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_line_gives_what_the_serial_engine_gives(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        patch.setattr("distilcap.store.engine._build", build_and_die_once)
        build_side_by_side(stages, store, SILENT, EngineOptions(engine))
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
