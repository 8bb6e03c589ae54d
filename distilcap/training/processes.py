"""The processes of one launch: who is first, and what they tell one another.

`accelerate` reads what the launcher said (`accelerate launch`, `torchrun`), opens the connection and chooses
each process's device; the few messages sent are those of `torch.distributed`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from distilcap.errors import MissingError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ALONE", "Processes", "launched", "processes_asked_for"]

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""The others wait while the first process does what only one can do, such as to score for hours. Nobody waits
for a dead process: the launcher ends the others."""
_STREAMS = 1_000_003  # seeds of processes are so far apart, that runs of neighbouring seeds share none


@dataclass(frozen=True)
class Processes:
    """All processes that work on one thing, as one of them sees them.

    Attributes:
        rank: this one, from 0. count: of all.
        device: where this one computes, such as "cpu" or "cuda:1".
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks to people."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's items: every `count`-th."""
        return items[self.rank :: self.count]

    def agree(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        from torch import distributed

        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self._own_device())
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in order, in all of them."""
        if self.count == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.count
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
        """Begin the random stream: the first process's is that of a single one, the others have their own.

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

    Raises:
        MissingError: several were launched, and `accelerate` is not installed.
    """
    import torch

    on_gpu = torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true"
    if processes_asked_for()[1] == 1:
        return Processes(device="cuda" if on_gpu else "cpu")
    try:
        from accelerate import PartialState
    except ModuleNotFoundError:
        raise MissingError(
            "Several processes need the package accelerate: pip install 'distilcap[scale]' brings it."
        ) from None
    state = PartialState(cpu=not on_gpu, timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes, str(state.device))
