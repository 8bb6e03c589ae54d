"""What workers of the tests are asked to do. Nothing here loads PyTorch, so that a worker begins soon."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.store.stage import Stage
from distilcap.store.store import Store


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


@dataclass(frozen=True)
class Remark(Count):
    """Says something to people."""

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        super().build(folder, store, progress)
        progress.note("skipped image 2")


def die_once(folder: Path) -> None:
    """End this process if the file "fatal" is in `folder`, and remove that."""
    with contextlib.suppress(FileNotFoundError):
        (folder / "fatal").unlink()
        os.kill(os.getpid(), signal.SIGKILL)


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


class Fault(Exception):
    """Cannot be sent: it is made of two things, and has one argument."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


def faulty(number: int) -> int:
    """Fails at 2, by a fault of the program."""
    if number == 2:
        raise Fault("a fault", "two")
    return number


def out_of_space(_: int) -> None:
    """Meets a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device", "labels.jsonl")


def out_of_memory(_: int) -> None:
    """Meets the end of memory, as PyTorch says it of a CPU."""
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.\nmore")


def leave(_: int) -> None:
    """Ends its process."""
    sys.exit(3)


def sleep(pid_file: Path) -> None:
    """Say who one is, and sleep for as long as any test may take."""
    pid_file.write_text(str(os.getpid()))
    time.sleep(900)
