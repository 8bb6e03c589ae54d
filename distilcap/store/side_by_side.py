"""Calls in several processes of this machine at once.

A worker takes one call after another, so that the packages are loaded once. One that dies, for want of memory
say, takes nothing with it: its call is made again by another, and a stage goes on from its checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from distilcap.cores import usable_cores
from distilcap.errors import ConfigError, DistilCapError, memory_error
from distilcap.plugins import load_plugins, plugin_failure

__all__ = ["NO_GPU", "RETRIES", "ProcessWorkers", "call_here", "process_workers"]

RETRIES = 3  # of a call whose worker died
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Variables that hide a machine's GPUs from a worker."""
_SPAWN = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork


def call_here(call: bytes, home: Path, threads: int) -> Any:
    """Call a module's function on a worker, in the folder and with the threads that it is to have.

    Args:
        call: the function and its arguments, pickled: they may be of a plugin, which is loaded before.

    Raises:
        DistilCapError: PyTorch's memory ran out, or as the function raises it.
    """
    import torch

    os.chdir(home)  # the data's paths may be relative
    torch.set_num_threads(threads)
    load_plugins()
    function, arguments = pickle.loads(call)
    try:
        return function(*arguments)
    except RuntimeError as error:
        if short := memory_error(error):
            raise short from None
        raise


@dataclass
class _Call:
    name: str
    pickled: bytes
    gpus: float
    deaths: int = 0


@dataclass
class _Worker:
    """A process, and the call that it makes at present.

    Attributes:
        hides_gpus: it computes on the CPU, whatever there is.
    """

    hides_gpus: bool
    connection: Connection = field(init=False)
    process: Any = field(init=False)
    call: _Call | None = None

    def __post_init__(self) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(theirs, self.hides_gpus))
        # Ctrl-C reaches all processes at any moment; the first ends the others, which take it for nothing.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # or the end of the process would not be seen


class ProcessWorkers:
    """As many processes as a machine has cores for; they are begun when there is something to do."""

    def __init__(self, cpus: int, gpus: float) -> None:
        self._cpus, self._gpus, self._most = cpus, gpus, usable_cores() // cpus
        self._waiting: deque[_Call] = deque()
        self._workers: list[_Worker] = []

    def start(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], on_gpu: bool
    ) -> None:
        """Make a call as soon as there is room; `name` is for people."""
        pickled = pickle.dumps((function, arguments))
        self._waiting.append(_Call(name, pickled, self._gpus if on_gpu else 0))

    def ended(self) -> tuple[str, Any]:
        """Wait for the next call to end: its name, and what it gave.

        Raises:
            ConfigError: its workers died again and again.
            DistilCapError: of the call, as it raised it.
        """
        while True:
            self._begin()
            busy = {worker.connection: worker for worker in self._workers if worker.call}
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                call, worker.call = worker.call, None
                assert call is not None
                try:
                    error, value = worker.connection.recv()
                except (EOFError, OSError):
                    self._died(worker, call)
                    continue
                if error is not None:
                    raise error
                return call.name, value

    def _begin(self) -> None:
        """Give calls that wait to workers that do not."""
        left = []
        for call in self._waiting:
            in_use = sum(worker.call.gpus for worker in self._workers if worker.call)
            idle = next((worker for worker in self._workers if worker.call is None), None)
            if in_use + call.gpus > 1 + 1e-9 or (idle is None and len(self._workers) == self._most):
                left.append(call)
                continue
            if idle is None:
                self._workers.append(idle := _Worker(hides_gpus=not self._gpus))
            idle.call = call
            # A worker that has died between two calls is found when its answer is waited for.
            with suppress(OSError):
                idle.connection.send((call.pickled, Path.cwd(), self._cpus))
        self._waiting = deque(left)

    def _died(self, worker: _Worker, call: _Call) -> None:
        worker.process.join()
        self._workers.remove(worker)
        call.deaths += 1
        ended = worker.process.exitcode
        if ended >= 0:  # nobody killed it: it would end so again
            raise ConfigError(
                f"{call.name}: its worker ended by itself (exit code {ended}). A script that uses an engine "
                'needs `if __name__ == "__main__":` before what it runs.'
            )
        if call.deaths > RETRIES:
            raise ConfigError(
                f"{call.name}: its worker was killed {call.deaths} times (signal {-ended}); if memory was "
                "short, `--cpus-per-stage` lets fewer stages share a machine."
            )
        self._waiting.appendleft(call)

    def stop(self) -> None:
        """End all workers, also in the middle of a call."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


@contextmanager
def process_workers(cpus: int, gpus: float | None) -> Iterator[ProcessWorkers]:
    """Workers on this machine, until the end of the block.

    Args:
        cpus: threads of each call. gpus: share of this machine's first GPU, of a call that computes on one;
            None is all of it, and 0 is the CPU.

    Raises:
        ConfigError: this machine has less than that.
    """
    if cpus > usable_cores():
        raise ConfigError(f"A stage is to have {cpus} CPUs, but this machine has {usable_cores()}.")
    first = _first_gpu()
    share = first if gpus is None else gpus
    if share > first:
        raise ConfigError(
            f"A stage is to have {share:g} GPUs, but this machine has {first:g}; with `engine` processes all "
            "stages share the first."
        )
    workers = ProcessWorkers(cpus, share)
    try:
        yield workers
    finally:
        workers.stop()


def _first_gpu() -> float:
    """A whole GPU where there is one."""
    import torch

    return float(torch.cuda.is_available())


def _work(connection: Connection, hides_gpus: bool) -> None:
    """What a worker does."""
    if hides_gpus:
        os.environ.update(NO_GPU)  # PyTorch reads it when it is first asked for one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            call = connection.recv()
        except EOFError:
            return
        connection.send(_outcome(*call))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _outcome(*call: Any) -> tuple[Exception | None, Any]:
    """The error of a call, or what it gave."""
    try:
        return None, call_here(*call)
    except (DistilCapError, OSError, MemoryError, ModuleNotFoundError) as error:  # people can do something
        return error, None
    except Exception as error:
        if (failure := plugin_failure(error)) is not None:
            return failure, None
        # A fault of ours, perhaps of a kind that cannot be sent.
        return RuntimeError(f"in a worker:\n{traceback.format_exc()}"), None
