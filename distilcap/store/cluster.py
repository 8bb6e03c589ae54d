"""Calls on a Ray cluster, each a task with its CPUs and GPUs.

All machines must see the store and the data under the same paths. A call whose worker dies is made again;
Ray moves it to another machine.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distilcap.errors import ConfigError, DistilCapError, MissingError
from distilcap.shown import first_line
from distilcap.store.side_by_side import NO_GPU, RETRIES, call_here

__all__ = ["RayWorkers", "ray_workers"]


class RayWorkers:
    """Ray's, as many as the cluster has room for."""

    def __init__(self, ray: Any, cpus: int, gpus: float | None) -> None:
        self._ray, self._cpus, self._gpus = ray, cpus, _gpus(ray, cpus, gpus)
        self._task = ray.remote(call_here)
        self._running: dict[Any, str] = {}

    def start(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], on_gpu: bool
    ) -> None:
        """Make a call as soon as there is room; `name` is for people."""
        # Workers on other machines have their own environment; DISTILCAP_PLAIN must hold there, too.
        own_variables = {key: value for key, value in os.environ.items() if key.startswith("DISTILCAP_")}
        own_variables |= {} if self._gpus else NO_GPU  # Ray hides them too, but warns that it will not
        task = self._task.options(
            name=name,
            num_cpus=self._cpus,
            num_gpus=self._gpus if on_gpu else 0,
            max_retries=RETRIES,
            runtime_env={"env_vars": own_variables},
        )
        pickled = self._ray.cloudpickle.dumps((function, arguments))
        self._running[task.remote(pickled, Path.cwd(), self._cpus)] = name

    def ended(self) -> tuple[str, Any]:
        """Wait for the next call to end: its name, and what it gave.

        Raises:
            ConfigError: its workers died again and again.
            DistilCapError: of the call, as it raised it.
        """
        done, _ = self._ray.wait(list(self._running), num_returns=1)
        name = self._running.pop(done[0])
        errors = self._ray.exceptions
        try:
            return name, self._ray.get(done[0])
        except errors.RayTaskError as error:
            if isinstance(error.cause, DistilCapError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            raise ConfigError(
                f"{name}: its worker died {RETRIES + 1} times ({first_line(error)}); if memory was short, "
                "`--cpus-per-stage` lets fewer stages share a machine."
            ) from None


@contextmanager
def ray_workers(cpus: int, gpus: float | None) -> Iterator[RayWorkers]:
    """Workers of the cluster of RAY_ADDRESS, or the one running on this machine, or else this machine.

    Args:
        cpus: threads of each call. gpus: of a call that computes on one; None is one where there are GPUs,
            and 0 is the CPU.

    Raises:
        MissingError: Ray is not installed.
        ConfigError: there is no cluster and none can be started, or no machine has what a call needs.
    """
    with _connected() as ray:
        yield RayWorkers(ray, cpus, gpus)


def _gpus(ray: Any, cpus: int, asked: float | None) -> float:
    """GPUs of a call, once it is sure that some machine has what a call needs."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most_cpus, most_gpus = (max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    gpus = min(1.0, most_gpus) if asked is None else asked
    if cpus > most_cpus or gpus > most_gpus:
        raise ConfigError(
            f"No machine of the cluster has {cpus} CPUs and {gpus:g} GPUs for a stage; "
            f"the largest have {most_cpus:g} and {most_gpus:g}."
        )
    return gpus


@contextmanager
def _connected() -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingError(
            "The engine ray needs the package ray: pip install 'distilcap[scale]' brings it."
        ) from None
    if ray.is_initialized():
        yield ray
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _init(ray)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray sets its own, which exits with code 15
        yield ray
    finally:
        ray.shutdown()


def _init(ray: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises of all kinds here, also plain `Exception`
        reason = first_line(error).rstrip(".")
        if address := os.environ.get("RAY_ADDRESS"):
            raise ConfigError(f"No Ray cluster answers at {address}: {reason}.") from error
        raise ConfigError(
            f"Ray did not start on this machine: {reason}. Its helpers have 15 s to start; where the machine "
            "is busy, run the command again."
        ) from error
