"""Scenes that are not drawn yet: whoever draws them by hand draws what the preset would."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from distilcap.cli.main import main
from distilcap.data.readers import read_dataset
from distilcap.data.scenes import draw_scenes
from distilcap.study.presets import table_preset


def test_a_plan_names_the_scenes_of_its_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["reproduce", "table1", "--data", "scenes", "--preset", "smoke", "--plan"])
    command = shlex.split("".join(capsys.readouterr()).replace("\n", " ").split("`")[1])
    assert command[:5] == ["distilcap", "data", "scenes", "--to", "data/scenes"]
    main(command[1:])
    by_hand, (counts, size) = tmp_path / "data" / "scenes", table_preset("smoke").scenes
    draw_scenes(tmp_path / "drawn" / "scenes", counts, size=size)
    by_preset = tmp_path / "drawn" / "scenes"
    assert read_dataset(by_hand).fingerprint() == read_dataset(by_preset).fingerprint()
