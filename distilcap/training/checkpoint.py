"""Everything a run needs to go on as if it had never stopped, in one file that is whole or not there."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distilcap.errors import DataError
from distilcap.tensors import load_tensors, save_tensors
from distilcap.training.processes import ALONE, Processes

__all__ = ["Position", "load_checkpoint", "save_checkpoint"]


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        phase: 0 is cross-entropy, 1 self-critical.
        epoch: of the phase, from 0.
        batch: next batch of the epoch.
        step: steps taken in the phase.
        best_score: best validation CIDEr of the run so far.
        best_phase: the phase it came from; -1 where there is none yet.
        seconds: of training so far, over all runs.
        images: seen so far.
        history: what the log holds, an entry for each record.
        start_scores: of each validation image, by the weights that training began from, while these are kept.
        since_better: validations of the phase since weights were last kept.
        plain: whether the run computes by plain code alone; `models.fast` rounds differently.
        means: of the figures of the epoch's steps so far (of those since, where an older version began it).
        device: by name; those that the run was on one after another; empty where an older version began it.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float = -1.0
    best_phase: int = -1
    seconds: float = 0.0
    images: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    plain: bool = False
    start_scores: list[float] = field(default_factory=list)
    since_better: int = 0
    means: dict[str, float] = field(default_factory=dict)
    device: str = ""

    @property
    def start_score(self) -> float:
        """The mean of `start_scores`; -1 where there are none."""
        return statistics.fmean(self.start_scores) if self.start_scores else -1.0

    @property
    def phase_name(self) -> str:
        """As the log calls it."""
        return "self_critical" if self.phase else "cross_entropy"

    @property
    def goes_on(self) -> bool:
        """Whether the phase began from weights of the phase before, which hold their share of the start."""
        earlier = any(record["phase"] != self.phase_name for record in self.history)
        return earlier and not self.start_scores

    @property
    def validations(self) -> list[float]:
        """The phase's validation scores so far."""
        of_phase = (record for record in self.history if record["phase"] == self.phase_name)
        return [record["validation_cider"] for record in of_phase if "validation_cider" in record]


def save_checkpoint(
    path: Path,
    position: Position,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    processes: Processes = ALONE,
) -> None:
    """Write position, weights, optimizer and random states.

    Args:
        modules: by a short name; their state dicts are kept; frozen modules should not be among them.
        processes: all call this; the first writes, with the random states of all.
    """
    states = processes.gather(_random_states(processes))
    if not processes.first:
        return
    tensors = {name: state for state_dict in states for name, state in state_dict.items()}
    for name, module in modules.items():
        # Cloned, since a tied matrix occurs under two names and safetensors refuses shared memory.
        tensors |= {f"{name}:{key}": value.clone() for key, value in module.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer:{number}:{slot}": value.clone() for slot, value in slots.items()}
    save_tensors(path, tensors, {"position": asdict(position)})


def _random_states(processes: Processes) -> dict[str, Tensor]:
    states = {f"random{_suffix(processes)}": torch.get_rng_state()}
    if (device := torch.device(processes.device)).type != "cpu":
        states[f"random.{device.type}{_suffix(processes)}"] = torch.get_device_module(device).get_rng_state()
    return states


def _suffix(processes: Processes) -> str:
    return "" if processes.first else f":{processes.rank}"


def load_checkpoint(
    path: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer | None,
    processes: Processes = ALONE,
) -> Position:
    """Restore what `save_checkpoint` wrote, in place.

    Without `optimizer`, only weights and position are restored (the checkpoint is at a phase's beginning,
    or only its position is wanted with no modules). A process that the run did not have before keeps the
    random state that it was seeded with.

    Raises:
        DataError: the file is damaged, or belongs to a run of another shape; nothing is restored then.
    """
    tensors, content = load_tensors(path, "delete it to begin anew", older=("position",))
    try:
        position = Position(**content["position"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not a checkpoint ({error}); delete it to begin anew.") from None
    if not modules and optimizer is None:
        return position
    states = {name: _state_of(path, name, module, tensors) for name, module in modules.items()}
    for name, module in modules.items():
        module.load_state_dict(states[name])
    if optimizer is not None:
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer:"):
                _, number, slot = key.split(":")
                slots.setdefault(int(number), {})[slot] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
    if (own := f"random{_suffix(processes)}") in tensors:
        torch.set_rng_state(tensors[own])
    device = torch.device(processes.device)
    if (own := f"random.{device.type}{_suffix(processes)}") in tensors:
        torch.get_device_module(device).set_rng_state(tensors[own])
    return position


def _state_of(path: Path, name: str, module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of one module, once its names and shapes are the module's own."""
    prefix = f"{name}:"
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    saved = {key: tuple(value.shape) for key, value in state.items()}
    for key in sorted(wanted.keys() | saved.keys()):
        if saved.get(key) != wanted.get(key):
            raise DataError(
                f"{path}: checkpoint of another run: `{key}` of its {name} is {_shape(saved.get(key))}, but "
                f"{_shape(wanted.get(key))} in this run; delete it to begin anew, or train in another folder."
            )
    return state


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else " x ".join(map(str, shape)) or "a number"
