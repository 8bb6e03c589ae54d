"""The whole program, killed with SIGKILL and started again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distilcap.data.scenes import draw_scenes

COMMAND = [sys.executable, "-m", "distilcap", "train", "--captioner", "updown-tiny", "--image-size", "64"]
COMMAND += ["--epochs", "2", "--scst-epochs", "1", "--min-count", "1", "--batch-images", "4"]


def weights(store: Path) -> bytes:
    (run,) = store.glob("train-*")
    return (run / "captioner.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "scenes", (24, 4, 4), size=64)
    arguments = [*COMMAND, "--data", str(tmp_path / "scenes"), "--store"]
    subprocess.run([*arguments, str(tmp_path / "whole")], check=True, capture_output=True, timeout=300)

    store = tmp_path / "killed"
    kills = 0
    for _ in range(20):
        with subprocess.Popen(
            [*arguments, str(store)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:  # let it come one epoch further each time
                if "epoch" in line:
                    time.sleep(0.1)
                    process.send_signal(signal.SIGKILL)
                    kills += 1
                    break
            process.stderr.read()
            process.wait(60)
        if list(store.glob("train-*")):  # it was done before the last signal came
            break
    assert kills >= 3
    assert weights(store) == weights(tmp_path / "whole")
