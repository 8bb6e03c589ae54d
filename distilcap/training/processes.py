"""The processes of one launch: who is first, and what they exchange.

`accelerate` reads what the launcher said (`accelerate launch`, `torchrun`), opens the connection and chooses
each process's device; the few messages sent are those of `torch.distributed`.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from distilcap.errors import LaunchError, MissingError
from distilcap.shown import first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ALONE", "Processes", "first_to_fail", "launched", "leave_launch", "processes_asked_for"]

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""The others wait while the first process does what a single process does, such as to score for hours.
Nobody waits for a dead process: the launcher ends the others."""
_STREAMS = 1_000_003  # seeds of processes are so far apart, that runs of neighbouring seeds share none


@dataclass(frozen=True)
class Processes:
    """All processes of a launch, as one of them sees them.

    Whatever they tell one another ends in a LaunchError where another process has ended.

    Attributes:
        rank: of this process, from 0. count: of all.
        device: where this process computes, such as "cpu" or "cuda:1".
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """For people: a GPU's model; of other devices the kind, such as "cpu"."""
        import torch

        device = torch.device(self.device)
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's items: every `count`-th."""
        return items[self.rank :: self.count]

    def agree(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        from torch import distributed

        box = [value]
        with _waiting():
            distributed.broadcast_object_list(box, src=0, device=self._own_device())
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in order, in all of them."""
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.count
        with _waiting():
            distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when all have come here."""
        self.agree(None)
        self.gather(None)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of all processes' tensors of one shape; `tensor` itself becomes it."""
        if self.count > 1:
            from torch import distributed

            with _waiting():
                distributed.all_reduce(tensor)
        return tensor

    def total_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their sums over processes, all in one message."""
        if self.count == 1:
            return
        import torch

        learning = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in learning
        ]
        message = self.total(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(message, [gradient.numel() for gradient in gradients])
        for parameter, part in zip(learning, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def seed(self, seed: int) -> None:
        """Begin the random stream: the first process has that of a single process, the others their own.

        With one stream for all, the dropout masks of the processes would be equal.
        """
        import torch

        torch.manual_seed(seed + _STREAMS * self.rank)

    def _own_device(self) -> Any:
        import torch

        return torch.device(self.device)


ALONE = Processes()
"""One process, on the CPU."""


def processes_asked_for() -> tuple[int, int]:
    """Rank and count of the launch that this process belongs to; (0, 1) where there was none."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> Processes:
    """Join the other processes of the launch; a process of its own takes a GPU where there is one.

    The connections are closed when the process exits, however it does; `leave_launch` is how it should.

    Raises:
        MissingError: more than one was launched, and `accelerate` is not installed.
        LaunchError: they do not meet.
    """
    import torch

    on_gpu = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true"
    if processes_asked_for()[1] == 1:
        return Processes(device="cuda" if on_gpu else "cpu")
    return _joined(on_gpu)


@functools.cache
def _joined(on_gpu: bool) -> Processes:
    try:
        from accelerate import PartialState
    except ModuleNotFoundError:
        raise MissingError(
            "A launch of processes needs the package accelerate: pip install 'distilcap[scale]' brings it."
        ) from None
    try:
        with _waiting():
            state = PartialState(cpu=not on_gpu, timeout=_PATIENCE)
    except ValueError as error:
        raise LaunchError(
            f"The {processes_asked_for()[1]} processes of this launch do not meet "
            f"({first_line(error.__cause__ or error)}); start them by `torchrun` or `accelerate launch`."
        ) from error
    atexit.register(_leave)
    return Processes(state.process_index, state.num_processes, str(state.device))


def leave_launch(code: int) -> None:
    """Exit with this status, if this process has joined others, and without Python's own ending.

    A thread of gloo that is still returning a tensor while the interpreter ends aborts the process, and after
    a training its threads outlive the connections: PyTorch keeps them.
    """
    if _joined.cache_info().currsize:
        _leave()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _leave() -> None:
    """Close the connections, so that the others wait for nothing."""
    from torch import distributed

    if distributed.is_initialized():
        with suppress(RuntimeError):  # the others' ends are closed already
            distributed.destroy_process_group()


@contextmanager
def _waiting() -> Iterator[None]:
    """Around what returns when the other processes have come.

    Handlers of signals, being Python, would not run before that; so SIGTERM has its own effect here and ends
    the process at once. Nothing is half-written meanwhile: files are written between messages.

    Raises:
        LaunchError: another process has ended.
    """
    handler = signal.getsignal(signal.SIGTERM)
    handled = callable(handler) and threading.current_thread() is threading.main_thread()
    if handled:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    except RuntimeError as error:
        raise LaunchError(
            f"Another process of this launch has ended ({first_line(error)}); what was finished is kept, and "
            "the same command goes on from there."
        ) from error
    finally:
        if handled:
            signal.signal(signal.SIGTERM, handler)


def first_to_fail() -> bool:
    """Whether no process of the launch failed before: this process says why, and the others are quiet."""
    rank, count = processes_asked_for()
    distributed = sys.modules.get("torch.distributed")
    if count == 1 or distributed is None or not distributed.is_initialized():
        return rank == 0
    store = distributed.distributed_c10d._get_default_store()
    try:
        return int(store.add("failures", 1)) == 1
    except RuntimeError:  # it was kept by the first process, which has failed before
        return False
