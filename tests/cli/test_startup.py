"""`distilcap --help` answers at once: little is imported before a command is called, and nothing heavy."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

HEAVY = {
    "torch",
    "numpy",
    "timm",
    "PIL",
    "matplotlib",
    "onnxruntime",
    "ray",
    "accelerate",
    "safetensors",
    "jinja2",
}


@pytest.mark.parametrize("asked", [["--help"], ["models", "--encoders"]])
def test_a_reader_that_has_gone_is_no_error(asked: list[str]) -> None:
    """As of `| head`: by click's lines and by Rich's tables."""
    command = [sys.executable, "-m", "distilcap", *asked]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("bars", [False, True])
@pytest.mark.parametrize("gone", [("stderr",), ("stdout",), ("stdout", "stderr")])
def test_files_are_written_and_failures_count_whoever_listens(
    tmp_path: Path, gone: tuple[str, ...], bars: bool
) -> None:
    """Progress, as lines or as bars, remarks and errors are no output, without which the work is in vain."""
    Image.new("RGB", (32, 32)).save(good := tmp_path / "good.png")
    (bad := tmp_path / "bad.png").write_bytes(b"no picture")
    environment = {**os.environ, "DISTILCAP_CACHE": str(tmp_path), **({"FORCE_COLOR": "1"} if bars else {})}
    for photos, code in ([good], 0), ([good, bad], 2):
        to = tmp_path / f"{code}.csv"
        command = [sys.executable, "-m", "distilcap", "caption", *photos, "--to", to]
        reading, writing = os.pipe()
        os.close(reading)
        streams = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE) | dict.fromkeys(gone, writing)
        done = subprocess.run(command, env=environment, **streams)  # type: ignore[call-overload]
        os.close(writing)
        assert done.returncode == code, done.stderr
        assert to.read_text().count("good.png") == 1
        if "stderr" not in gone:
            assert (b"bad.png" in done.stderr) == (code == 2)
            assert b"Broken" not in done.stderr


def test_scores_are_written_whoever_reads_the_table(tmp_path: Path) -> None:
    (captions := tmp_path / "captions.csv").write_text("image,caption\na,a dog runs\nb,a cat sits\n")
    files = {f"--{form}": tmp_path / f"scores.{form}" for form in ("json", "csv", "latex")}
    asked = ["--references", captions, "--metrics", "rouge_l", *itertools.chain(*files.items())]
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "distilcap", "evaluate", captions, *asked]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert [path.exists() for path in files.values()] == [True] * 3


def test_no_output_at_all_is_no_error() -> None:
    command = f"exec {sys.executable} -m distilcap models --encoders >&-"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_little() -> None:
    """Modules are counted, not seconds: on a busy machine those say little."""
    code = (
        "import sys\n"
        "from distilcap.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"found = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'{len(sys.modules)} modules, {sorted(found)}' if found or len(sys.modules) > 200 else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
)
def test_pytorchs_threads_are_told_how_to_wait_before_it_is_imported(
    given: dict[str, str], expected: str
) -> None:
    """And what a person has set stays."""
    code = (
        "import os, sys; from distilcap.cli import main as module\n"
        "module._run = lambda _: print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)\n"
        "module.main([])"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True)
    assert done.stdout.split() == [expected, "False"], done.stderr
