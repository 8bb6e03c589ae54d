"""What plans made from options hold, whoever makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap.data.scenes import draw_scenes
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.pipeline.train import RunOptions, run_to_train
from distilcap.reports.results import trained_members
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions
from distilcap.training import precision
from distilcap.training.options import TrainingOptions


def test_precision_is_resolved_before_a_stage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that said "auto" would not say in what was computed."""
    draw_scenes(tmp_path / "scenes", (4, 2, 2), size=48)
    (tmp_path / "cpuinfo").write_text("flags\t\t: amx_bf16\n")
    monkeypatch.setattr(precision, "CPU_FACTS", tmp_path / "cpuinfo")
    data, auto = DataOptions(tmp_path / "scenes"), TrainingOptions(precision="auto")
    _, plan = plan_own_images(data, EncoderOptions(), DistillOptions(), auto, tmp_path / "store")
    runs = [run for member in trained_members(plan.systems) for run in member.trains]
    runs.append(run_to_train(data, EncoderOptions(), RunOptions(), auto))
    assert len(runs) == 4
    assert {run.training.precision for run in runs} == {"bfloat16"}
