"""Processes ended by SIGKILL at any moment and started again until they are done: results are as if never."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from fault_work import Work
from forks import KILLED

MOST_STARTS = 400  # of one result; work that never comes to its end fails

FULL = {
    "training": 50,
    "training with the encoder": 25,
    "labelling a split": 50,
    "distillation from a start": 50,
    "labelling photographs": 50,
    "extraction": 50,
    "evaluation": 50,
    "evaluate": 20,
    "export": 50,
}
SAMPLE = {"labelling photographs": 3, "extraction": 3}


@pytest.mark.parametrize(
    "work, kills",
    [*SAMPLE.items(), *(pytest.param(*full, marks=pytest.mark.faults) for full in FULL.items())],
    indirect=["work"],
)
def test_killed_work_goes_on_to_the_same_result(
    work: Work, kills: int, seed: int, tmp_path: Path, figures: dict[str, Counter[str]]
) -> None:
    moments, done = random.Random(f"{seed} {work.name}"), 0
    seconds = work.done.seconds
    while done < kills:
        attempt = work.anew(tmp_path / "folder")
        for _ in range(MOST_STARTS):
            (ended,) = work.experiment.forks.together(
                attempt.call(kill_after=moments.uniform(0, 1.2 * seconds))
            )
            if ended.code != KILLED:
                break
            done += 1
        ended.checked()
        work.check(attempt)
    figures["kills"][work.name] += done
