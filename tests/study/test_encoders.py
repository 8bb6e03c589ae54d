"""The comparison of encoders: every row at equal training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distilcap.data.scenes import draw_scenes
from distilcap.study.encoders import ENCODERS, encoder_members


def test_the_encoders_are_compared_at_equal_training(tmp_path: Path) -> None:
    draw_scenes(tmp_path, (16, 4, 4), size=64)
    members = {one.name: one.trains[0] for one in encoder_members(tmp_path)}
    assert len(members) == 9
    for name in ENCODERS:
        frozen, longer, tuned = (members[f"{name}, {kind}"] for kind in ("frozen", "frozen, longer", "tuned"))
        assert longer.start == tuned.start == frozen
        assert dataclasses.replace(tuned, tune_encoder=False, tune_stages=0) == longer
    for member in encoder_members(tmp_path, seeds=(0, 1)):
        assert member.trains[0] == members[member.name]
        assert [run.training.seed for run in member.trains] == [0, 1]
        assert [run.start.training.seed for run in member.trains if run.start] in ([], [0, 1])
