"""Costs on several GPUs: against schedules worked out by hand; rates; the command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from distilcap.cli.main import cli
from distilcap.errors import ConfigError
from distilcap.progress import Progress
from distilcap.store.stage import Stage
from distilcap.store.store import Planned, Store
from distilcap.study.costs import Bill, bill
from distilcap.study.estimate import Cost


@dataclass(frozen=True)
class Work(Stage):
    on_gpu: ClassVar[bool] = True
    name: str
    after: tuple[Stage, ...] = ()

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        raise AssertionError


@dataclass(frozen=True)
class Score(Work):
    on_gpu: ClassVar[bool] = False


def priced(hours: dict[Stage, float], there: tuple[Stage, ...] = ()) -> list[Cost]:
    return [Cost(Planned(stage, stage not in there), 3600 * time, 1, False) for stage, time in hours.items()]


def test_bills_are_those_worked_out_by_hand() -> None:
    teacher = Work("teacher")
    students = tuple(Work(f"student{n}", (teacher,)) for n in range(3))
    score = Score("score", (students[2],))
    hours: dict[Stage, float] = {teacher: 4, students[0]: 2, students[1]: 2, students[2]: 1, score: 5}
    # One GPU: 4 + 2 + 2 + 1, then the score without it. Two: the third student waits for the first.
    assert bill(priced(hours), 1, 2.0) == Bill(1, pytest.approx(14), pytest.approx(9 / 14), pytest.approx(28))
    assert bill(priced(hours), 2, 2.0) == Bill(2, pytest.approx(12), pytest.approx(9 / 24), pytest.approx(48))
    assert bill(priced(hours), 8, 0.5) == Bill(8, pytest.approx(10), pytest.approx(9 / 80), pytest.approx(40))
    assert bill(priced(hours, (teacher, *students)), 1, 1.0).hours == pytest.approx(5)
    assert bill(priced(hours, (teacher, *students, score)), 4, 1.0) == Bill(4, 0.0, 0.0, 0.0)


def test_impossible_bills_are_refused() -> None:
    with pytest.raises(ConfigError, match="`gpus` must be at least 1, but is 0"):
        bill([], 0, 1.0)
    with pytest.raises(ConfigError, match="`price` must be at least 0, but is -1"):
        bill([], 1, -1.0)


def test_the_command_prices_all_tables_without_data(tmp_path: Path) -> None:
    arguments = ["costs", "--preset", "smoke", "--seeds", "1", "--store", str(tmp_path / "none")]
    slow = CliRunner().invoke(cli, [*arguments, "--gpus", "2", "--price", "3"], catch_exceptions=False)
    rows = [line for line in slow.output.splitlines() if "table4" in line or "│ all" in line]
    assert len(rows) == 2
    assert "train=2e+10 (of one CPU core)" in " ".join(slow.output.split())
    fast = CliRunner().invoke(
        cli, [*arguments, "--gpus", "2", "--rate", "train=1e30"], catch_exceptions=False
    )

    assert "train=1e+30 (given)" in fast.output

    def hours(output: str) -> float:
        row = next(line for line in output.splitlines() if "│ all" in line)
        return float(row.split("│")[3].replace(",", ""))

    assert hours(fast.output) < hours(slow.output)
    for wrong, message in (
        ("train", "`rate` must be one of train, label, features, score, = and a number, but is 'train'"),
        ("walk=3", "but is 'walk=3'"),
        ("train=-1", "`rate` of train must be above 0, but is -1"),
    ):
        done = CliRunner().invoke(cli, [*arguments, "--rate", wrong])
        assert message in str(done.exception)
    none = CliRunner().invoke(cli, ["costs", "--seeds", "0"])
    assert "'--seeds': 0 is not in the range" in none.output
