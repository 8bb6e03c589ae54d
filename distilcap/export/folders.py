"""Folders that are either whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distilcap.errors import ConfigError

__all__ = ["check_replaceable", "whole_folder"]


def check_replaceable(to: Path, mark: str) -> None:
    """Make sure that nothing of a person's is lost when `to` is written anew.

    Args:
        to: a folder that may exist.
        mark: a file that an older folder of the same kind holds.

    Raises:
        ConfigError: `to` exists, is not empty and does not hold `mark`.
    """
    if to.is_dir() and ((to / mark).is_file() or not any(to.iterdir())):
        return
    if to.exists() or to.is_symlink():
        raise ConfigError(f"`to` must be a new folder or one written before, but {to} holds something else.")


@contextmanager
def whole_folder(to: Path, mark: str) -> Iterator[Path]:
    """Give a scratch folder beside `to`; on a clean exit it becomes `to`, and an older one is deleted.

    Raises:
        ConfigError: as `check_replaceable`.
    """
    check_replaceable(to, mark)
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as scratch:
        new, older = Path(scratch) / "new", Path(scratch) / "older"
        new.mkdir()
        yield new
        if to.exists():
            os.replace(to, older)
        os.replace(new, to)
        shutil.rmtree(older, ignore_errors=True)
