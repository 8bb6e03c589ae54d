"""A grid of stages on a Ray cluster: each stage whose inputs are there is a task with its CPUs and GPUs.

All machines must see the store and the data under the same paths. A stage whose worker dies is run again,
and goes on where it was; Ray moves it to another machine.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distilcap.errors import ConfigError, DistilCapError, MissingError
from distilcap.options import Options, option
from distilcap.progress import Progress
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.training.processes import ALONE, launched, processes_asked_for

__all__ = ["EngineOptions", "build_ahead", "build_on_ray", "call_on_ray"]

T = TypeVar("T")
RETRIES = 3  # of a stage whose worker died


@dataclass(frozen=True)
class EngineOptions(Options):
    """Who runs the stages, and what each gets of a machine."""

    engine: str = option(
        "serial",
        "How stages run: serial, one after another; ray, many at once, on a cluster or this machine.",
        choices=("serial", "ray"),
    )
    cpus_per_stage: int = option(1, "With ray: number of threads of a stage.", least=1, most=256)
    gpus_per_stage: float | None = option(
        None,
        "With ray: number of GPUs of a stage, such as 0.25.  [default: 1 where there are GPUs]",
        least=0,
        most=1024,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine == "ray" and processes_asked_for()[1] > 1:
            raise ConfigError("`engine` ray starts processes itself: run the command without a launcher.")


def build_ahead(stages: Iterable[Stage], store: Store, progress: Progress, engine: EngineOptions) -> None:
    """Build stages where an engine builds them; in a serial run each is built when it is asked for."""
    if engine.engine == "ray":
        build_on_ray(stages, store, progress, engine)


def build_on_ray(stages: Iterable[Stage], store: Store, progress: Progress, engine: EngineOptions) -> None:
    """Build stages and what they need, as many at a time as the cluster has room for.

    Stages that measure the machine are left out: they must run alone. The cluster is that of RAY_ADDRESS, or
    the cluster running on this machine, or else this machine.

    Raises:
        MissingError: Ray is not installed.
        ConfigError: there is no cluster and none can be started, no machine has what a stage needs, or a
            stage's workers died again and again.
        DistilCapError: of a stage, as it raised it; the others are given up.
    """
    todo = {
        planned.stage.key: planned.stage
        for planned in store.plan(stages)
        if not (planned.complete or planned.stage.alone)
    }
    if not todo:
        return
    with _connected() as ray:
        build = ray.remote(_build)
        for stage in progress.track(_built(ray, build, todo, store, engine), "Stages on Ray", len(todo)):
            progress.note(f"{stage.key}: {store.seconds(stage):.0f} s")


def _built(
    ray: Any, build: Any, todo: dict[str, Stage], store: Store, engine: EngineOptions
) -> Iterator[Stage]:
    """Yield stages as they are done, having begun all whose inputs are."""
    gpus = _gpus(ray, engine)
    waiting = {key: {needed.key for needed in stage.inputs()} & todo.keys() for key, stage in todo.items()}
    running: dict[Any, Stage] = {}
    while waiting or running:
        for key in [key for key, inputs in waiting.items() if not inputs]:
            del waiting[key]
            stage = todo[key]
            task = build.options(**_options(key, engine, gpus if stage.on_gpu else 0))
            running[task.remote(stage, store.root.resolve(), Path.cwd(), engine.cpus_per_stage)] = stage
        done, _ = ray.wait(list(running), num_returns=1)
        stage = running.pop(done[0])
        _result(ray, done[0], stage.key)
        for inputs in waiting.values():
            inputs.discard(stage.key)
        yield stage


def _build(stage: Stage, root: Path, home: Path, threads: int) -> None:
    """Build one stage, whose inputs are there, on a worker."""
    import torch

    os.chdir(home)  # the data's paths may be relative
    torch.set_num_threads(threads)
    Store(root, launched() if stage.on_gpu else ALONE).build(stage)


def _options(name: str, engine: EngineOptions, gpus: float) -> dict[str, Any]:
    """Of a task."""
    # Workers on other machines have their own environment; DISTILCAP_PLAIN must hold there, too.
    own_variables = {name: value for name, value in os.environ.items() if name.startswith("DISTILCAP_")}
    return {
        "name": name,
        "num_cpus": engine.cpus_per_stage,
        "num_gpus": gpus,
        "max_retries": RETRIES,
        "runtime_env": {"env_vars": own_variables},
    }


def call_on_ray(
    function: Callable[..., T],
    calls: Mapping[str, tuple[Any, ...]],
    engine: EngineOptions,
    progress: Progress,
    description: str,
) -> dict[str, T]:
    """Call a module's function with each of the arguments, as many calls at a time as there is room for.

    Workers have this process's folder as theirs. A call whose worker dies is made again.

    Args:
        calls: arguments by a name for people.

    Returns:
        what each call gave.

    Raises:
        as `build_on_ray`.
    """
    with _connected() as ray:
        gpus = _gpus(ray, engine)
        task = ray.remote(_call)
        running = {
            task.options(**_options(name, engine, gpus)).remote(
                function, arguments, Path.cwd(), engine.cpus_per_stage
            ): name
            for name, arguments in calls.items()
        }

        def finished() -> Iterator[str]:
            while running:
                done, _ = ray.wait(list(running), num_returns=1)
                name = running.pop(done[0])
                results[name] = _result(ray, done[0], name)
                yield name

        results: dict[str, T] = {}
        for _ in progress.track(finished(), description, len(calls)):
            pass
        return results


def _call(function: Callable[..., T], arguments: tuple[Any, ...], home: Path, threads: int) -> T:
    """Call a function on a worker."""
    import torch

    os.chdir(home)
    torch.set_num_threads(threads)
    return function(*arguments)


def _result(ray: Any, done: Any, name: str) -> Any:
    """What a task gave; or its error as it raised it."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, DistilCapError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{name}: its worker died {RETRIES + 1} times ({reason}); if memory was short, "
            "`--cpus-per-stage` lets fewer stages share a machine."
        ) from None


def _gpus(ray: Any, engine: EngineOptions) -> float:
    """GPUs of a stage, once it is sure that some machine has what a stage needs."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most_cpus, most_gpus = (max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    gpus = min(1.0, most_gpus) if engine.gpus_per_stage is None else engine.gpus_per_stage
    if engine.cpus_per_stage > most_cpus or gpus > most_gpus:
        raise ConfigError(
            f"No machine of the cluster has {engine.cpus_per_stage} CPUs and {gpus:g} GPUs for a stage; "
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
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        if address := os.environ.get("RAY_ADDRESS"):
            raise ConfigError(f"No Ray cluster answers at {address}: {reason}.") from error
        raise ConfigError(
            f"Ray did not start on this machine: {reason}. Its helpers have 15 s to start; where the machine "
            "is busy, run the command again."
        ) from error
