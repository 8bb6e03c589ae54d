"""Options: one declaration gives flags, help and bounds, and both ways of giving a value are judged alike."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.cli.bounds import NamedPath
from distilcap.cli.options import flags
from distilcap.errors import ConfigError
from distilcap.options import Bounds, Options, filled, option, path_of
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


@dataclass(frozen=True)
class Inner(Options):
    rate: float = option(0.5, "Rate.", above=0, most=1)
    schedule: str = option("step", "Schedule.", choices=("step", "cosine"), follows="schedule")


@dataclass(frozen=True)
class Outer(Options):
    data: Path = option(MISSING, "Data.")
    beam_size: int = option(5, "Number of hypotheses.", least=1, most=1000, aliases=("--beam",))
    schedule: str = option("step", "Schedule.", choices=("step", "cosine"))
    inner: Inner = dataclasses.field(default=Inner(), metadata={"prefix": "in_"})
    size: int | None = option(None, "Size.", least=16)
    runs: tuple[Path, ...] = option((), "Runs.")
    hidden: int = 7


def outcome(arguments: list[str], **how: Any) -> Any:
    """The object that a command gets, or what it says instead."""
    seen = []

    @click.command()
    @flags(Outer, "outer", **how)
    def command(outer: Outer) -> None:
        seen.append(outer)

    result = CliRunner().invoke(command, arguments)
    assert result.exit_code in (0, 2), result.exception
    return seen[0] if seen else result.output


def test_flags_fill_the_object() -> None:
    assert outcome(["--data", "x"]) == Outer(Path("x"))
    given = [
        "--data",
        "x",
        "--beam-size",
        "3",
        "--in-rate",
        "1",
        "--size",
        "20",
        "--runs",
        "a",
        "--runs",
        "b",
    ]
    expected = Outer(Path("x"), 3, inner=Inner(1.0), size=20, runs=(Path("a"), Path("b")))
    assert outcome(given) == expected
    assert outcome(["--data", "x", "--beam", "3"]).beam_size == 3
    assert "Missing option '--data'" in outcome([])


def test_an_option_that_follows_another() -> None:
    cosine = ["--data", "x", "--schedule", "cosine"]
    assert outcome(cosine).inner.schedule == "cosine"
    assert outcome([*cosine, "--in-schedule", "step"]).inner.schedule == "step"
    assert outcome(["--data", "x", "--in-schedule", "cosine"]).schedule == "step"


def test_fields_that_are_left_out_keep_their_defaults() -> None:
    assert "No such option '--size'" in outcome(["--data", "x", "--size", "20"], without=("size",))
    assert outcome(["--data", "x"], without=("size",)) == Outer(Path("x"))
    assert outcome(["--data", "x"], defaults={"beam_size": 9}).beam_size == 9
    assert "No such option '--hidden'" in outcome(["--data", "x", "--hidden", "1"])


NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.floats(), st.sampled_from([0, 1, 15, 16, 1000, 1001]))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from(["beam_size", "size", "inner.rate"]))
def test_the_command_line_and_the_class_judge_alike(value: float, name: str) -> None:
    flag = {"beam_size": "--beam-size", "size": "--size", "inner.rate": "--in-rate"}[name]
    shown = outcome(["--data", "x", flag, repr(value)])
    whole = name != "inner.rate"
    if whole and isinstance(value, float):
        assert "is not a valid integer" in " ".join(shown.split())
        return
    inner, outer = ({}, {name: int(value)}) if whole else ({"rate": float(value)}, {})
    try:
        expected = Outer(Path("x"), inner=Inner(**inner), **outer)
    except ConfigError:
        assert f"Invalid value for '{flag}'" in shown
    else:
        assert shown == expected


@settings(derandomize=True, max_examples=100)
@given(st.floats(), st.floats(-5, 5), st.floats(-5, 5))
def test_bounds_are_the_inequalities_that_they_say(value: float, low: float, high: float) -> None:
    assert Bounds(least=low, most=high).allow(value) == (low <= value <= high)
    assert Bounds(above=low, below=high).allow(value) == (low < value < high and math.isfinite(value))
    assert Bounds().allow(value) == math.isfinite(value)


def test_messages_name_the_option() -> None:
    with pytest.raises(ConfigError, match=r"^`rate` must be above 0 and at most 1, but is 0\.$"):
        Inner(rate=0)
    with pytest.raises(ConfigError, match=r"^`schedule` must be one of step, cosine, but is 'x'\.$"):
        Inner(schedule="x")
    with pytest.raises(ConfigError, match=r"^`samples` must be at least 2 with baseline others, but is 1"):
        SelfCriticalPhase(samples=1)


@pytest.mark.parametrize("kind", [CrossEntropyPhase, SelfCriticalPhase, TrainingOptions])
def test_everything_that_training_offers_is_a_flag(kind: type[Options]) -> None:
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        assert "help" in field.metadata or isinstance(field.default, Options), field.name


@pytest.mark.parametrize("name", ["box", "none"])
def test_a_folder_of_a_captioners_name_is_a_folder_where_a_person_says_so(name: str) -> None:
    """`Path("./box")` is `Path("box")`, which names the captioner that comes with the package."""
    here = Path.cwd() / name
    assert path_of(name) == Path(name)
    assert [path_of(written) for written in (f"./{name}", f"{name}/", str(here))] == [here] * 3
    assert path_of("./other") == Path("other")
    assert filled(Outer, {"data": f"./{name}"}).data == here
    assert NamedPath(path_type=Path).convert(f"./{name}", None, None) == here
