"""How many cores a process takes for its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap import cores


@pytest.mark.parametrize(
    "quota, expected",
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8), ("", 8), (None, 8)],
)
def test_a_quota_counts_in_whole_cores(
    quota: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(cores, "_QUOTA", file)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert cores.usable_cores() == expected
