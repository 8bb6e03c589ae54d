"""The engines that all tests of this folder use; one Ray cluster, on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilcap.store import side_by_side

LIMIT = 900  # seconds for a test; a cluster that hangs must not hang them all


@contextlib.contextmanager
def within_limit() -> Iterator[None]:
    """Give up what takes longer than LIMIT."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"not done in {LIMIT} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


HEAD = """
import sys, ray
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
STARTS = 10
"""Ray gives up where its helpers, four Python programs, are not there in 15 s, and has no option for it: on a
busy machine one start in several fails, with "The current node timed out during startup"."""


@pytest.fixture(scope="session")
def cluster_variables() -> Iterator[dict[str, str]]:
    """What leads to a cluster of two workers on this machine.

    A process of its own holds it, and ends with this one; all that it has started ends with it, so that
    another try finds nothing of the last.
    """
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # read when Ray is imported
    mine = token | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_register_timeout_seconds": str(LIMIT)}
    mine["RAY_worker_niceness"] = "0"  # else a busy machine starves them
    searched = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))  # the workers find these stages
    mine["PYTHONPATH"] = os.pathsep.join(filter(None, searched))
    for _ in range(STARTS):
        with (
            subprocess.Popen(
                [sys.executable, "-c", HEAD],
                env=os.environ | mine,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as head,
            within_limit(),
        ):
            assert head.stdout is not None
            if address := head.stdout.readline().strip():
                signal.alarm(0)
                yield token | {"RAY_ADDRESS": address}
                return
    pytest.fail(f"Ray did not start in {STARTS} tries; see the logs in its session folder")


@pytest.fixture
def workers(cluster_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The cluster, for a test that must come to an end."""
    for name, value in cluster_variables.items():
        monkeypatch.setenv(name, value)
    with within_limit():
        yield


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two workers, for a test that must come to an end."""
    if request.param == "ray":
        request.getfixturevalue("workers")
    else:
        monkeypatch.setattr(side_by_side, "usable_cores", lambda: 2)
    return str(request.param)
