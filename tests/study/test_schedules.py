"""Where curves end, from training logs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from distilcap.study.schedules import curve_ends


def test_a_curve_that_still_rises_is_told_by_role_and_size(tmp_path: Path) -> None:
    curves = {
        "first": [0.40, 0.50, 0.53],  # still rises
        "second": [0.40, 0.55, 0.54],
        "alone": [0.30, None, 0.31],  # an epoch that was not validated
        "short": [0.2],
    }
    for name, curve in curves.items():
        (tmp_path / name).mkdir()
        log = [{"epoch": 1} | ({} if score is None else {"validation_cider": score}) for score in curve]
        (tmp_path / name / "log.json").write_text(json.dumps(log))
    members = [
        SimpleNamespace(role="teacher", size="big", trains=("first", "second")),
        SimpleNamespace(role="student", size="small", trains=("alone",)),
        SimpleNamespace(role="distilled", size="small", trains=("short",)),
    ]
    store = SimpleNamespace(path=lambda train: tmp_path / train)
    assert curve_ends(cast(Any, members), cast(Any, store)) == (
        "Validation CIDEr of the last epoch less the best before it, mean over runs: "
        "teacher big +1.0 (best in its last epoch: 1 of 2); "
        "undistilled small +1.0 (best in its last epoch: 1 of 1)."
    )
    assert curve_ends(cast(Any, members[2:]), cast(Any, store)) == ""
