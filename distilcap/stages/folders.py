"""From a store's folder back to the stage that made it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from distilcap import stages
from distilcap.box import NAME as BOX
from distilcap.errors import DataError
from distilcap.integrity import left_out
from distilcap.stages.train import Train
from distilcap.store.record import check_artifact, has_checksums
from distilcap.store.stage import Stage, stage_of
from distilcap.store.store import Store

__all__ = ["import_stages", "run_of", "stage_at"]


def import_stages() -> None:
    """Import all modules of stages: these register themselves."""
    for module in pkgutil.iter_modules(stages.__path__, f"{stages.__name__}."):
        importlib.import_module(module.name)


def stage_at(folder: Path) -> Stage:
    """The stage that a store's folder was made by; of the folder's files, only its record is checked.

    Raises:
        DataError: it is no such folder.
    """
    if str(folder) == BOX and not folder.exists():
        raise DataError(
            f"{BOX} names the captioner that comes with the package, and is no folder here: `caption` takes "
            f"it as `--bundle {BOX}`, `train` and `distill` as `--start {BOX}`."
        )
    import_stages()
    return stage_of(folder)


def run_of(folder: Path, whole: bool = False) -> Train:
    """The recipe of a trained run, from its folder in a store, all of whose files are checked.

    Args:
        whole: the captioner itself is wanted; where the store holds results only, it is trained again.

    Raises:
        DataError: it is no such folder, or damaged.
    """
    run = stage_at(folder)
    if not isinstance(run, Train):
        raise DataError(f"{folder}: holds no trained captioner, but {type(run).__name__}.")
    check_artifact(folder)
    if whole and has_checksums(folder) and left_out(folder):
        Store(folder.resolve().parent).open(run)
    return run
