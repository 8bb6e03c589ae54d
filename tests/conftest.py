"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Reference data that is not part of the project: Flickr8k and the official scores' example."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DISTILCAP_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"the reference data are not at {folder}; name their folder in DISTILCAP_SHARED_DATA")
    return folder
