"""Training beside other programs: the commands' way for threads to wait, against the OpenMP library's own.

`python -m benchmarks busy` trains a small captioner on drawn scenes by `distilcap train`, alone and beside a
program that keeps every processor core busy, with `GOMP_SPINCOUNT` as commands set it and as libgomp has it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from distilcap.data.scenes import draw_scenes

LIBGOMP = "300000"  # where there are no more threads than cores
SPIN = "while True: pass"


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """As many programs that do nothing but compute."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(cores)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds(scenes: Path, store: Path, spins: str | None, epochs: int) -> float:
    """Of training alone, by the run's own record."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))
    }
    if spins is not None:
        environment["GOMP_SPINCOUNT"] = spins
    command = [sys.executable, "-m", "distilcap", "train", "--data", scenes, "--store", store]
    command += ["--start", "none", "--captioner", "updown-small", "--epochs", epochs, "--scst-epochs", 0]
    subprocess.run([*map(str, command)], env=environment, check=True, capture_output=True)
    (summary,) = store.glob("train-*/training.json")
    return float(json.loads(summary.read_text())["train_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        draw_scenes(home / "scenes", (240, 20, 4), size=64)
        for others in (0, cores):
            taken: dict[str, list[float]] = {"distilcap's": [], "libgomp's": []}
            with busy(others):
                for number in range(options.rounds):
                    for name, spins in (("distilcap's", None), ("libgomp's", LIBGOMP)):
                        store = home / f"{others}-{number}-{name}"
                        taken[name].append(seconds(home / "scenes", store, spins, options.epochs))
            ours, theirs = (median(times) for times in taken.values())
            print(
                f"{cores} cores, {others} other programs: {ours:.1f} s by the commands' way to wait, "
                f"{theirs:.1f} s by libgomp's own ({theirs / ours:.2f} times)",
                flush=True,
            )


if __name__ == "__main__":
    main()
