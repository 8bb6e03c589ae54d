"""Numbers of options have bounds, and what goes wrong at the command line is reported in one line."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from distilcap.cli.main import cli, main
from distilcap.decode.beam import BeamSearch
from distilcap.errors import ConfigError, DataError
from distilcap.training.options import (
    CrossEntropyPhase,
    SelfCriticalPhase,
    TokenDistillation,
    TrainingOptions,
)

EXPORTING = ("export", "web", "serve", "bench")  # have tests of their own


def commands(
    command: click.Command, way: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with their names."""
    if not isinstance(command, click.Group):
        yield way, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from commands(inner, (*way, name))


NUMBERS = [
    pytest.param(way, option, id=f"{' '.join(way)} {option.opts[0]}")
    for way, command in commands(cli)
    if way[0] not in EXPORTING
    for option in command.params
    if isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    err = capsys.readouterr().err
    assert left.value.code == 2, err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("way, option", NUMBERS)
def test_numbers_that_cannot_work_are_refused_by_the_options_name(
    way: tuple[str, ...], option: click.Option, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = option.type
    assert isinstance(kind, (click.IntRange, click.FloatRange)), "a number has bounds"
    assert kind.min is not None
    wrong = ["nan", "inf", "-inf", "1e400", "x", "", "9" * 5000, str(kind.min - 1)]
    if kind.min_open:
        wrong.append(str(kind.min))
    if kind.max is not None:
        wrong += [str(kind.max + 1), "1" + "0" * 30]
    for value in wrong:
        assert option.opts[0] in refused(capsys, *way, f"{option.opts[0]}={value}"), value


def test_defaults_are_within_their_bounds() -> None:
    for parameter in NUMBERS:
        way, option = parameter.values
        assert isinstance(option, click.Option), way
        default = option.get_default(click.Context(click.Command(way[0])))
        for value in default if isinstance(default, tuple) else [default]:
            if isinstance(value, (int, float)):  # else it is not given
                assert option.type.convert(value, option, None) == value


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, -math.inf])
def test_rates_are_above_0_and_finite(value: float) -> None:
    for make in (
        lambda: CrossEntropyPhase(learning_rate=value),
        lambda: SelfCriticalPhase(learning_rate=value),
        lambda: TrainingOptions(encoder_learning_rate=value),
        lambda: TokenDistillation(temperature=value),
    ):
        with pytest.raises(ConfigError, match=r"^`\w+` must be above 0(?: and at most 100)?, but is "):
            make()


def test_other_options_of_the_library_have_bounds() -> None:
    for make, message in (
        (lambda: BeamSearch(0), "`beam_size` must be at least 1 and at most 1000, but is 0."),
        (lambda: BeamSearch(10**9), "`beam_size` must be at least 1 and at most 1000, but is 1000000000."),
        (
            lambda: BeamSearch(max_words=10**9),
            "`max_words` must be at least 1 and at most 1000, but is 1000000000.",
        ),
        (
            lambda: BeamSearch(length_penalty=math.nan),
            "`length_penalty` must be at least -10 and at most 10, but is nan.",
        ),
        (
            lambda: TrainingOptions(seed=-1),
            f"`seed` must be at least 0 and at most {2**63 - 1}, but is -1.",
        ),
        (
            lambda: TrainingOptions(validation_beam=0),
            "`validation_beam` must be at least 1 and at most 1000, but is 0.",
        ),
        (lambda: TrainingOptions(validation_images=-1), "`validation_images` must be at least 0, but is -1."),
        (lambda: CrossEntropyPhase(warmup_steps=-1), "`warmup_steps` must be at least 0, but is -1."),
    ):
        with pytest.raises(ConfigError) as caught:
            make()
        assert str(caught.value) == message


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("distilcap.cli.main.cli", fail)


def test_bugs_are_one_line_unless_the_traceback_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTILCAP_TRACEBACK", raising=False)
    raising(monkeypatch, KeyError("a\nb\x1b[31m"))
    with pytest.raises(SystemExit) as left:
        main(["models"])
    err = capsys.readouterr().err
    assert left.value.code == 1
    assert err.startswith("Error: This is a bug in distilcap: KeyError in main.py:")
    assert err.endswith("DISTILCAP_TRACEBACK=1 shows the traceback.\n")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    monkeypatch.setenv("DISTILCAP_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["models"])


def test_messages_are_one_line_that_controls_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, DataError("x\n\x1b[2J\u202e\udcff.json: is\tdamaged."))
    assert refused(capsys, "models") == "Error: x \\x1b[2J\\u202e\\udcff.json: is damaged.\n"
    raising(monkeypatch, MemoryError())
    assert "not enough memory" in refused(capsys, "models")
    raising(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"))
    said = refused(capsys, "models")
    assert said.startswith(
        "Error: There is not enough memory (CUDA out of memory. Tried to allocate 2 GiB). "
    )
    assert "--batch-images" in said


def test_arguments_of_any_bytes_are_shown(tmp_path: Path) -> None:
    """In a process of its own: only there are the streams those of a terminal that knows no UTF-8."""
    code = "from distilcap.cli.main import main; main()"
    name = b"\xff\x1b[31m[/b].json"
    for command in (["data", "check"], ["caption", "--bundle"], ["--no-such"], ["train", "--data"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *command, name, name],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"},
            check=False,
        )
        assert done.returncode == 2, done
        assert done.stderr.startswith(b"Error: "), done
        assert done.stderr.count(b"\n") == 1
        assert b"\x1b" not in done.stderr
