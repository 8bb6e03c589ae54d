"""`ranks.py FOLDER SCENE PORT SCENE PORT…`: two processes play each scene, started as `torchrun` starts them.

They are forked, so that PyTorch is imported once for all. What a rank printed and how it ended goes to
`outcomes.json`; a store of keys answers at the port, as torchrun's does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import accelerate  # noqa: F401  (here and the next, so that the ranks need not import them)
import click
import two_processes

from distilcap.cli.main import cli, main
from distilcap.errors import DataError
from distilcap.files import write_text
from distilcap.progress import Progress
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training.processes import Processes, leave_launch

LIMIT = 900  # seconds for a scene


@dataclass(frozen=True)
class Scene(Stage):
    """Work of all processes, in which something happens."""

    together = True
    name: str

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        store.processes.wait()
        SCENES[self.name](folder, store.processes)
        store.processes.wait()


def fail(*ranks: int) -> Callable[[Path, Processes], None]:
    """Some of them see a damaged file."""

    def scene(folder: Path, processes: Processes) -> None:
        if processes.rank in ranks:
            raise DataError("images.csv:7: damaged.")

    return scene


def kill(folder: Path, processes: Processes) -> None:
    if not processes.first:
        os.kill(os.getpid(), signal.SIGKILL)


def blunder(folder: Path, processes: Processes) -> None:
    assert processes.first, "a bug"


def terminate(folder: Path, processes: Processes) -> None:
    """SIGTERM comes while the second waits for the first, then while the first writes."""
    pids = processes.gather(os.getpid())
    if processes.first:
        time.sleep(0.3)  # the second waits now, or will
        for pid in pids[1:]:
            os.kill(pid, signal.SIGTERM)
            while alive(pid):
                time.sleep(0.01)
        end_while_writing(folder / "whole")


def end_while_writing(path: Path) -> None:
    from distilcap.files import atomic_path

    with atomic_path(path) as scratch:
        write_text(path.with_name("begun"), "")
        scratch.write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LIMIT)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def list_threads(path: Path) -> None:
    """Write down the names of this process's threads, also of those that are not Python's."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    path.write_text(json.dumps(names))


SCENES: dict[str, Callable[[Path, Processes], None]] = {
    "training": lambda folder, processes: None,
    "all is well": lambda folder, processes: None,
    "the first fails": fail(0),
    "the second fails": fail(1),
    "both fail": fail(0, 1),
    "the second is killed": kill,
    "the second has a bug": blunder,
    "both are terminated": terminate,
    "one process is terminated": terminate,
}


def play(name: str, folder: Path) -> None:
    """What one rank does."""
    if name == "training":
        two_processes.main(folder)
        return

    @click.command()
    def train() -> None:
        from distilcap.cli.common import open_store

        open_store(folder / "store").build(Scene(name))

    def leave(code: int) -> NoReturn:
        list_threads(folder / f"threads{os.environ['RANK']}")  # after all that comes before
        exit_at_once(code)

    exit_at_once, os._exit = os._exit, leave
    cli.get_command = lambda ctx, cmd_name: train  # type: ignore[method-assign]
    main(["train"])


def start(name: str, folder: Path, rank: int, count: int, port: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(LIMIT)
    os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for stream, ending in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{ending}", os.O_WRONLY | os.O_CREAT, 0o666), stream)
    play(name, folder)
    leave_launch(0)
    sys.exit(0)


def outcomes(name: str, folder: Path, port: str) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of the ranks."""
    folder.mkdir()
    count = 1 if name.startswith("one process") else 2
    ranks = {start(name, folder, rank, count, port): rank for rank in range(count)}
    codes = [0] * count
    for _ in range(count):
        pid, status = os.wait()
        codes[ranks[pid]] = os.waitstatus_to_exitcode(status)
    return [
        (code, *((folder / f"{rank}.{ending}").read_text() for ending in ("out", "err")))
        for rank, code in enumerate(codes)
    ]


if __name__ == "__main__":
    under, scenes, ports = Path(sys.argv[1]), sys.argv[2::2], sys.argv[3::2]
    found = {
        name: outcomes(name, under / name.replace(" ", "-"), port)
        for name, port in zip(scenes, ports, strict=True)
    }
    (under / "outcomes.json").write_text(json.dumps(found))
