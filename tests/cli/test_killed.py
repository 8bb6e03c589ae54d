"""The whole program, killed with SIGKILL and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distilcap.data.scenes import draw_scenes

OPTIONS = ["train", "--captioner", "updown-tiny", "--image-size", "64", "--batch-images", "4"]
OPTIONS += ["--epochs", "2", "--scst-epochs", "1", "--min-count", "1"]
PROGRAM = """
import os, signal
from distilcap.cli.main import main
from distilcap.training import loop
checkpoints, save = int(os.environ["CHECKPOINTS"]), loop.save_checkpoint
def save_or_die(*arguments):
    global checkpoints
    checkpoints -= 1
    if checkpoints < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)
loop.save_checkpoint = save_or_die
main()
"""
"""The program, killed when it is about to write one more than so many checkpoints."""


def run(options: list[str], checkpoints: int) -> int:
    command = [sys.executable, "-c", PROGRAM, *options]
    environment = os.environ | {"CHECKPOINTS": str(checkpoints)}
    return subprocess.run(command, env=environment, capture_output=True).returncode


def weights(store: Path) -> bytes:
    (run,) = store.glob("train-*")
    return (run / "captioner.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (24, 4, 4), size=64)
    options = [*OPTIONS, "--data", str(tmp_path / "scenes"), "--store"]
    assert run([*options, str(tmp_path / "whole")], 99) == 0
    killed = [*options, str(tmp_path / "killed")]
    # A checkpoint begins each phase and ends each epoch; the last of them is that of the third epoch.
    for checkpoints in (2, 1, 1):
        assert run(killed, checkpoints) == -signal.SIGKILL
        assert not list((tmp_path / "killed").glob("train-*"))
    assert run(killed, 99) == 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
