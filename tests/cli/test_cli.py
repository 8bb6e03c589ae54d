"""The command line as people meet it: help with examples, one line and exit code 2 for what they can fix."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from distilcap.cli.main import COMMANDS, cli, main
from distilcap.cli.models import models
from distilcap.errors import ConfigError, DistilCapError
from distilcap.models.families import families
from distilcap.models.fast import plain_asked_for


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = 0
    try:
        main(list(arguments))
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    shown = result.output
    if "Commands:" in shown:  # a group: its commands have the examples
        return
    assert f"distilcap {name}" in shown.split("Example")[1]


def test_help_lists_all_commands_without_importing_torch() -> None:
    code = "import sys; from distilcap.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'PIL', 'rich'} & set(sys.modules), 'heavy import'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_plain_asks_all_processes_for_plain_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILCAP_PLAIN", "")  # restored afterwards
    assert CliRunner().invoke(cli, ["models", "--help"]).exit_code == 0
    assert not plain_asked_for()
    assert CliRunner().invoke(cli, ["--plain", "models"]).exit_code == 0
    assert plain_asked_for()


def test_unknown_commands_and_options_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("destil", capsys=capsys)
    assert code == 2
    assert "No such command 'destil'" in err
    code, _, err = run("train", "--dta", "x", capsys=capsys)
    assert code == 2
    assert "No such option" in err


def test_what_a_person_can_mend_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.json")
    for arguments in (
        ["train", "--data", missing],
        ["distill", "--data", missing],
        ["distill", "--data", missing, "--teacher", "lstm-big"],
        ["distill", "--data", missing, "--n-best", "9"],
        ["caption", "photo.jpg", "--bundle", missing],
        ["caption", "photo.jpg", "--run", str(tmp_path)],
        ["generate", str(tmp_path), "--to", "x.jsonl"],
        ["report", missing],
    ):
        code, _, err = run(*arguments, capsys=capsys)
        assert code == 2, arguments
        assert err.startswith("Error: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    "given, said",
    [
        (["--run", "run", "--workers", "2"], "`--workers` is for a bundle, and does nothing with `--run`"),
        (["--overwrite"], "`--overwrite` is for the files of `--to` and `--side-files`"),
        (["--run", "run", "--overwrite"], "`--overwrite` is for the files of"),
    ],
)
def test_caption_refuses_options_that_would_do_nothing(given: list[str], said: str) -> None:
    error = CliRunner().invoke(cli, ["caption", "photo.jpg", *given]).exception
    assert isinstance(error, ConfigError)
    assert str(error).startswith(said)
    assert str(error).endswith("leave it out.")


def test_interrupts_full_disks_and_missing_packages_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[tuple[BaseException, int, str]] = [
        (KeyboardInterrupt(), 130, "goes on from what was kept"),
        (OSError(28, "No space left on device", "big"), 2, "big: No space left on device; free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "big"), 2, "big: Disk quota exceeded; free some space"),
        (ModuleNotFoundError("No module named 'onnx'", name="onnx"), 2, "The package onnx is needed"),
        (DistilCapError("two\nlines"), 2, "Error: two lines"),
    ]
    for error, expected, words in cases:

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("distilcap.cli.main.cli", fail)
        code, _, err = run("models", capsys=capsys)
        assert code == expected
        assert words in err


def test_only_a_reader_of_the_output_may_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe to another program that ended, or that captions go into, is a failure."""

    def fail(**_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe", "a.pipe")

    monkeypatch.setattr(models, "callback", fail)
    code, out, err = run("models", capsys=capsys)
    assert (code, out) == (2, "")
    assert err == "Error: a.pipe: Broken pipe; check the path.\n"


@pytest.mark.parametrize("boxed", [True, False])
def test_models_prints_parameters_and_megabytes(
    boxed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not boxed:
        monkeypatch.setattr("distilcap.box._HERE", tmp_path)
    result = CliRunner().invoke(cli, ["models", "--vocabulary", "9488", "--region-dim", "64"])
    assert result.exit_code == 0
    assert ("In the box" in result.output) == boxed
    for expected in ("48.08", "17.37", "6.79", "2.92", "83.53", "25.78", "8.90", "3.45", "4.36", "4.10"):
        assert expected in result.output
    for family in families().values():
        for size in family.sizes:
            assert f"{family.name}-{size} " in result.output


def test_report_prints_the_table_of_results(tmp_path: Path) -> None:
    row = {
        "name": "updown-small", "role": "student", "architecture": "updown", "size": "small", "teacher": None,
        "labels": "references", "seeds": [0], "parameters": 1_000_000, "megabytes": 4.0, "ms_per_image": 7.5,
        "train_seconds": 60.0, "images_seen": 8, "runs": ["train-0"], "beam": 5,
        "scores": {"greedy": {"cider": 0.5}, "beam": {"cider": 0.55}}, "unavailable": {"meteor": "no Java"},
        "deviations": {"greedy": {}, "beam": {}}, "signature": {"cider": "cider-d|refs:5"},
    }  # fmt: skip
    results = {"title": "t", "rows": [row], "verdict": "gained", "curves": {}, "samples": []}
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = CliRunner().invoke(
        cli, ["report", str(tmp_path / "results.json"), "--to", str(tmp_path / "page.html")]
    )
    assert result.exit_code == 0, result.output
    assert "55.0" in result.output
    assert "gained" in (tmp_path / "page.html").read_text()
