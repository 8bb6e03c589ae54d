"""What all fault tests share: a warm process, a tiny experiment that is complete, and the figures.

DISTILCAP_FAULT_SEED chooses other moments, bits and inputs (default 0); DISTILCAP_FAULT_REPORT names a JSON
file for the figures.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_work import Experiment, Work
from forks import Forks

SEED = int(os.environ.get("DISTILCAP_FAULT_SEED", "0"))
FIGURES: dict[str, Counter[str]] = {}
_STARTED = time.time()


@pytest.fixture(scope="session")
def seed() -> int:
    """Of everything that is random here."""
    return SEED


@pytest.fixture(scope="session")
def figures() -> dict[str, Counter[str]]:
    """What was done, to be told at the end: counts by kind of fault and by what it was done to."""
    for kind in ("kills", "flips", "broken inputs", "peak megabytes", "other faults"):
        FIGURES.setdefault(kind, Counter())
    return FIGURES


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures, and write them where DISTILCAP_FAULT_REPORT says."""
    if not FIGURES:
        return
    failed = sum("tests/faults/" in report.nodeid for report in terminalreporter.stats.get("failed", ()))
    terminalreporter.section("faults")
    for kind, counts in FIGURES.items():
        what = ", ".join(f"{name} {count}" for name, count in counts.items())
        terminalreporter.write_line(f"{kind}: {_together(kind, counts)} ({what})")
    terminalreporter.write_line(f"seed {SEED}; failed tests: {failed}")
    if path := os.environ.get("DISTILCAP_FAULT_REPORT"):
        report = {
            "seed": SEED,
            "failed": failed,
            "seconds": round(time.time() - _STARTED),
            "processors": os.cpu_count(),
            "load": round(os.getloadavg()[1], 1),
            **{kind: {"all": _together(kind, counts), **counts} for kind, counts in FIGURES.items()},
        }
        Path(path).write_text(json.dumps(report, indent=1) + "\n")


def _together(kind: str, counts: Counter[str]) -> int:
    return max(counts.values(), default=0) if kind == "peak megabytes" else counts.total()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """The warm process."""
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def experiment(forks: Forks) -> Iterator[Experiment]:
    """A tiny experiment without its bundle, since tracing networks takes seconds."""
    with tempfile.TemporaryDirectory(prefix="distilcap-faults-") as name:
        yield Experiment.make(forks, Path(name))


@pytest.fixture(scope="session")
def bundled(experiment: Experiment) -> Experiment:
    """And the bundle; the warm process keeps what was traced."""
    experiment.forks.prepare("trace", experiment.scenes, experiment.store)
    experiment.forks.run("build", experiment.scenes, experiment.store, "bundle").checked()
    return experiment


@pytest.fixture
def work(request: pytest.FixtureRequest, experiment: Experiment) -> Work:
    """The work that a test is parametrized with, by name."""
    if request.param == "export":
        request.getfixturevalue("bundled")
    return Work(experiment, request.param)
