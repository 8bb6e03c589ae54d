"""The table of docs/own-photos.md compares by pairs, and never mixes what began from two boxes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks import own_photos_page
from benchmarks.own_photos_page import RESULTS, difference, on_other_devices, table, write_page
from benchmarks.pages import read_lines
from distilcap.metrics.resampling import FEW_IMAGES

IMAGES = 30


def cell(seed: int, box: str | None, **cider: int) -> dict[str, Any]:
    chances = np.random.default_rng(seed).integers(-40, 40, IMAGES)  # of the images: the same for all
    named = {role: [int(value + chance) for chance in chances] for role, value in cider.items()}
    common = {"kind": "scenes", "size": 200, "captions": "five", "unlabelled": 0}
    return {**common, "seed": seed, "start": "box" if box else "none", "box": box, "cider": named}


def rows_of(cells: list[dict[str, Any]]) -> list[list[str]]:
    return [[part.strip() for part in line.split("|")[1:-1]] for line in table(cells).splitlines()[2:]]


def test_each_box_has_its_row_beside_the_same_start_from_nothing() -> None:
    cells = [cell(seed, None, student=20, distilled=30 + seed) for seed in (1, 0)]
    cells += [cell(seed, "old", start=10, student=40, teacher=45, distilled=50) for seed in (0, 1)]
    assert [row[3] for row in rows_of(cells[:2])] == ["0, 1"]
    cells += [cell(2, "new", start=10, student=60, teacher=73, distilled=70)]
    new, old = rows_of(cells)
    assert [new[3], old[3]] == ["2", "0, 1"]
    assert new[8].startswith("+60.0 (+60.0 to +60.0)")
    assert new[9:11] == ["+10.0 (+10.0 to +10.0)", "-3.0 (-3.0 to -3.0)"]  # undistilled, and its teacher
    assert new[5].endswith(" (seeds 0, 1)")
    assert "seed" not in new[4] + old[5] + old[11]
    assert new[11] == ""  # no start from nothing has its seed
    # Images differ by far more than systems do, pairs do not: 20 over nothing by seed 0, 19 by seed 1, and
    # Student's t of these two, with one degree of freedom, is 12.7 times 0.5.
    assert old[11] == "+19.5 (+13.1 to +25.9)"
    assert old[8] == "+40.0 (+40.0 to +40.0)"
    (fewer,) = rows_of(
        [one for one in cells if (one["seed"], one["box"]) in {(0, None), (0, "old"), (1, "old")}]
    )
    assert [fewer[3], fewer[11]] == ["0, 1", "+20.0 (+20.0 to +20.0) (seed 0)"]
    assert fewer[5].endswith(" (seed 0)")


def test_only_what_another_device_trained_is_named() -> None:
    cpu, card = (
        cell(seed, None, distilled=30) | {"device": name} for seed, name in enumerate(("CPU", "GPU"))
    )
    assert on_other_devices([cell(2, "old", distilled=1), cpu]) == ""
    said = "Trained on a CPU, but for: 200 scenes, five, seed 1, from nothing (GPU)."
    assert on_other_devices([cpu, card]) == said


@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.lists(st.lists(st.integers(-300, 300), min_size=IMAGES, max_size=IMAGES), min_size=1, max_size=3))
def test_the_interval_is_about_the_mean_of_all_pairs(gains: list[list[int]]) -> None:
    said = difference([(gain, [0] * IMAGES) for gain in gains])
    mean, low, high = (float(part.strip("()")) for part in said.replace(" to ", " ").split())
    assert abs(mean - np.mean(gains)) <= 0.05 + 1e-9
    assert low - 0.1 <= mean <= high + 0.1
    if len(gains) == 1 and np.count_nonzero(gains) >= FEW_IMAGES:  # Student's t may go beyond
        assert min(map(min, gains)) - 0.1 <= low <= high <= max(map(max, gains)) + 0.1


@pytest.mark.parametrize("boxes", [0, 2])
def test_rows_without_any_box_stand_once(boxes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_photos_page, "KEPT", tmp_path / "kept")
    put: list[str] = []
    monkeypatch.setattr(own_photos_page, "put_between", lambda *given: put.append(given[2]))
    cells = [cell(0, None, student=20, distilled=30) | {"kind": "training"}]
    cells += [
        cell(0, f"box{number}", start=10, student=40, teacher=45, distilled=50) for number in range(boxes)
    ]
    other = [cell(0, None, distilled=1), cell(0, "box0", start=1, student=4, teacher=3, distilled=5)]
    cells += [one | {"kind": "photographs"} for one in other[: 2 if boxes else 0]]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in cells))
    write_page(path)
    assert put[0].count("| training |") == 1
    assert put[0].count("| photographs | 200 |") == min(boxes, 1)  # no row below the box that has none
    assert put[0].count("The box is") == boxes


def test_lines_that_were_kept_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_photos_page, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(own_photos_page, "put_between", lambda *_: None)
    for number, cells in enumerate(
        (
            [cell(0, None, student=20, distilled=30), cell(1, None, student=20, distilled=31)],
            [cell(1, None, student=20, distilled=40), cell(2, None, student=20, distilled=32)],
        )
    ):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in cells))
        write_page(path)
    kept = read_lines(tmp_path / "kept" / RESULTS)
    assert kept == [cell(seed, None, student=20, distilled=to) for seed, to in ((0, 30), (1, 40), (2, 32))]
