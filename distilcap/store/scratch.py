"""What the scratch folder of a build says of it, also of one that was killed: what is made, for how long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distilcap.files import expected
from distilcap.integrity import read_sealed_json, write_sealed_json

__all__ = ["SCRATCH", "timed"]

SCRATCH = "seconds.json"
"""The file; it is not part of the artifact."""
EVERY = 60.0
"""Seconds between two writings: at most so many are lost with a killed process."""


@contextlib.contextmanager
def timed(scratch: Path, made_by: Any) -> Iterator[Callable[[], float]]:
    """Within, a stage is built; gives how many seconds that has taken, with those of earlier processes.

    Args:
        made_by: the stage as `store.record.to_json` writes it.

    Raises:
        DataError: the file is damaged.
    """
    path, before = scratch / SCRATCH, 0.0
    if path.exists():
        fix = f"delete the folder {scratch}"
        with expected(path, f"the seconds of a build; {fix}"):
            before = float(read_sealed_json(path, fix)["seconds"])
    started, ended = time.perf_counter(), threading.Event()

    def seconds() -> float:
        return round(before + time.perf_counter() - started, 3)

    def write() -> None:
        with contextlib.suppress(OSError):  # a full disk is reported by the build
            write_sealed_json(path, {"seconds": seconds(), "made_by": made_by})

    def write_again() -> None:
        while not ended.wait(EVERY):
            write()

    write()
    clock = threading.Thread(target=write_again, daemon=True)
    clock.start()
    try:
        yield seconds
    finally:
        ended.set()
        clock.join()
        write()
