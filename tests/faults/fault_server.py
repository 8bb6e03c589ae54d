"""A warm process that forks: PyTorch is imported once, and a child begins its work at once.

Run as a program by `forks.Forks`. It reads a pickled list of `Call`s, runs them at the same time, each in a
child of its own, and answers with a pickled list of `Ended`.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import signal
import sys
import time
import traceback
from typing import Any

import fault_jobs
import torch
from forks import Call, Ended

from distilcap.cli import main as entry

_POLL_SECONDS = 0.001


class Child:
    """A forked child at work, or ended."""

    def __init__(self, call: Call) -> None:
        self.call = call
        (self._said, said), (self._value, value) = _pipe(), _pipe()
        self._started = time.perf_counter()
        self._killed = False
        self._pid = os.fork()
        if self._pid == 0:
            _work(call, said, value)
        os.close(said)
        os.close(value)

    def ended(self) -> Ended | None:
        """What came of it; None while it runs. It is killed here when its time has come."""
        pid, status, usage = os.wait4(self._pid, os.WNOHANG)
        seconds = time.perf_counter() - self._started
        if pid == 0:
            if seconds > (self.call.patience if self.call.kill_after is None else self.call.kill_after):
                os.kill(self._pid, signal.SIGKILL)
            return None
        said, value = _read(self._said), _read(self._value)
        return Ended(
            os.waitstatus_to_exitcode(status),
            said.decode(errors="replace"),
            pickle.loads(value) if value else None,
            seconds,
            usage.ru_maxrss / 1024,
        )


def _pipe() -> tuple[int, int]:
    """Not a file: its size may be limited, and the disk full."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def _read(pipe: int) -> bytes:
    with open(pipe, "rb") as file:
        return file.read()


def _work(call: Call, said: int, value: int) -> None:
    """Do a call's work through the program's own entry, so that errors become lines and exit codes."""
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    code: Any = 1
    torch.set_num_threads(1)  # PyTorch renews its pool after a fork, and two threads may not do that at once
    try:
        if call.user is not None:
            os.setgid(call.user)
            os.setuid(call.user)
        if call.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (call.file_bytes, call.file_bytes))
        if call.more_memory is not None:
            pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
            most = pages * resource.getpagesize() + call.more_memory
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        results: list[Any] = []
        job = getattr(fault_jobs, call.job)
        entry.cli = lambda *_, **__: results.append(job(*call.arguments))  # type: ignore[assignment]
        try:
            entry.main([])
            code = 0
            os.write(value, pickle.dumps(results[0]))
        except SystemExit as left:
            code = left.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    torch.set_num_threads(1)
    fault_jobs.keep_often()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not disturb the answers
    while True:
        try:
            calls: list[Call] = pickle.load(requests)
        except EOFError:
            os._exit(0)  # nothing is left to tidy up, and PyTorch takes its time
        for call in (call for call in calls if call.here):
            getattr(fault_jobs, call.job)(*call.arguments)
        children = [Child(call) for call in calls if not call.here]
        ends: list[Ended | None] = [None] * len(children)
        while None in ends:
            ends = [end or child.ended() for end, child in zip(ends, children, strict=True)]
            time.sleep(_POLL_SECONDS)
        pickle.dump(ends, answers)
        answers.flush()


if __name__ == "__main__":
    main()
