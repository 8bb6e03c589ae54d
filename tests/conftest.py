"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# The gate must not fail by chance on a change that has nothing to do with it: there the examples are fixed.
# Everywhere else hypothesis goes on looking for new ones. A busy machine is slow: time is never an error.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
# A test that begins from the captioner in the box says so, and brings a small captioner as the box.
os.environ["DISTILCAP_BOX"] = "no box"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws, its fixtures included, does not depend on which tests ran before it: processes share
    out the files of tests differently each time. Another seed must do as well (CONTRIBUTING.md)."""
    torch.manual_seed(int(os.environ.get("DISTILCAP_TEST_SEED", "0")))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data that is not part of the project: Flickr8k and the official scores' example."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DISTILCAP_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the reference data are not at {folder}; name their folder in DISTILCAP_SHARED_DATA")
    return folder
