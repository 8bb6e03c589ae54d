"""Work in forked children that are killed, starved of disk or memory, or run beside one another."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KILLED = -9


@dataclass(frozen=True)
class Call:
    """A function of `fault_jobs` that a child shall run.

    Attributes:
        job, arguments: its name, and what it takes.
        kill_after: seconds until SIGKILL; None lets it end by itself.
        patience: seconds after which a child that should end by itself hangs, and is killed.
        file_bytes: largest file that it may write (what a full disk does, without a disk).
        more_memory: bytes that it may map beside what it has at first.
        user: that it runs as.
        here: run it in the warm process itself, so that later children have what it computed.
    """

    job: str
    arguments: tuple[Any, ...]
    kill_after: float | None = None
    patience: float = 300.0
    file_bytes: int | None = None
    more_memory: int | None = None
    user: int | None = None
    here: bool = False


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit code; `KILLED` after a SIGKILL.
        said: on the terminal.
        value: that its function returned.
        seconds: that it took. megabytes: of memory at its peak, PyTorch's own among them.
    """

    code: int
    said: str
    value: Any
    seconds: float
    megabytes: float

    def checked(self) -> Ended:
        """Itself, if it ended well."""
        assert self.code == 0, (self.code, self.said)
        return self

    def refusal(self) -> str:
        """The line by which a person was told; anything else than one line and exit code 2 fails."""
        assert self.code == 2, (self.code, self.said)
        lines = [line for line in self.said.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.said
        assert "Traceback" not in self.said, self.said
        return lines[0]


class Forks:
    """The warm process."""

    def __init__(self) -> None:
        server = Path(__file__).with_name("fault_server.py")
        self._process = subprocess.Popen(
            [sys.executable, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def together(self, *calls: Call) -> list[Ended]:
        """Run calls at the same time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(calls, self._process.stdin)
        self._process.stdin.flush()
        ends: list[Ended] = pickle.load(self._process.stdout)
        return ends

    def run(self, job: str, *arguments: Any, **limits: Any) -> Ended:
        """Run one call."""
        (ended,) = self.together(Call(job, arguments, **limits))
        return ended

    def prepare(self, job: str, *arguments: Any) -> None:
        """Let the warm process itself compute something for later children."""
        assert not self.together(Call(job, arguments, here=True))

    def close(self) -> None:
        """End the warm process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
