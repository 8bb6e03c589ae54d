"""Options and helpers that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from distilcap.cli.bounds import IMAGE_SIZE, THREADS, Real
from distilcap.cli.progress import PlainConsole, TerminalProgress
from distilcap.errors import ConfigError
from distilcap.training.processes import processes_asked_for

if TYPE_CHECKING:
    from distilcap.store.cluster import Share
    from distilcap.store.stage import Stage, Store

__all__ = [
    "CONSOLE",
    "FIRST",
    "PROGRESS",
    "captioner_name",
    "data_options",
    "encoder_options",
    "engine_of",
    "engine_options",
    "judge_data",
    "open_store",
    "store_option",
]

FIRST = processes_asked_for()[0] == 0
"""Whether this is the first process of its launch: it alone prints, and writes results."""
# A file or a pipe has no width of its own: tables keep their columns there.
CONSOLE = PlainConsole(width=None if sys.stdout.isatty() else 140, quiet=not FIRST)
PROGRESS = TerminalProgress(PlainConsole(stderr=True, quiet=not FIRST))


Function = TypeVar("Function", bound=Callable[..., Any])


def open_store(root: Path) -> Store:
    """A store in which all processes of the launch build together, on GPUs where there are any."""
    from distilcap.store.stage import Store
    from distilcap.training.processes import launched

    return Store(root, launched())


def judge_data(stages: Iterable[Stage], store: Store) -> None:
    """Build the vocabularies of a plan first: data that can teach nothing is refused before hours of work."""
    from distilcap.stages.data import BuildVocabulary

    for planned in store.plan(stages):
        if isinstance(planned.stage, BuildVocabulary):
            store.build(planned.stage, PROGRESS)


def store_option(function: Function) -> Function:
    """--store: where artifacts are kept."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("runs"),
        show_default=True,
        envvar="DISTILCAP_STORE",
        help="Folder of all artifacts; what is in it already is not made again.",
    )(function)


def engine_options(function: Function) -> Function:
    """--engine: who runs the stages."""
    function = click.option(
        "--gpus-per-stage",
        type=Real(0, 1024),
        help="With ray: such as 0.25. [default: 1 where there are GPUs]",
    )(function)
    function = click.option(
        "--cpus-per-stage", type=THREADS, default=1, show_default=True, help="With ray: and so many threads."
    )(function)
    return click.option(
        "--engine",
        type=click.Choice(["serial", "ray"]),
        default="serial",
        show_default=True,
        help="serial runs one stage after another here; ray many at once, on a cluster or this machine.",
    )(function)


def engine_of(engine: str, cpus_per_stage: int, gpus_per_stage: float | None) -> Share | None:
    """What a stage gets on a cluster; None for no cluster.

    Raises:
        ConfigError: a launch of several processes asks for a cluster.
    """
    if engine == "serial":
        return None
    from distilcap.store.cluster import Share

    if processes_asked_for()[1] > 1:
        raise ConfigError("`engine` ray starts processes itself: run the command without a launcher.")
    return Share(cpus_per_stage, gpus_per_stage)


def data_options(function: Function) -> Function:
    """--data, --images: a person's data set."""
    function = click.option(
        "--images", type=click.Path(path_type=Path), help="Where the images lie, if not beside the captions."
    )(function)
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        required=True,
        help="Captions file (Karpathy JSON, COCO JSON, CSV, TSV, JSONL) or a folder.",
    )(function)


def encoder_options(function: Function) -> Function:
    """--encoder and how it looks at images."""
    function = click.option(
        "--encoder-weights", type=click.Path(path_type=Path), help="File of the encoder's weights."
    )(function)
    function = click.option(
        "--encoder-form",
        default="grid",
        show_default=True,
        help="See `distilcap models --encoders`.",
    )(function)
    function = click.option("--image-size", type=IMAGE_SIZE, help="Side of the encoder's input in pixels.")(
        function
    )
    return click.option(
        "--encoder", default="efficientnet-lite0", show_default=True, help="Sees the images."
    )(function)


def captioner_name(text: str) -> tuple[str, str]:
    """Split "updown-small" into architecture and size.

    Raises:
        ConfigError: it names no preset.
    """
    from distilcap.models.presets import ARCHITECTURES, SIZES, preset

    architecture, _, size = text.partition("-")
    if architecture not in ARCHITECTURES or size not in SIZES:
        names = ", ".join(f"{one}-{size}" for one in ARCHITECTURES for size in SIZES)
        raise ConfigError(f"A captioner is one of {names}, but is {text!r}.")
    preset(architecture, size)
    return architecture, size
