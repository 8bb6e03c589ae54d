"""Hostile files at the command line: one line and exit code 2, never a traceback, whatever they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import UNUSABLE

from distilcap.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as left:
        code = int(left.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must end in one line and exit code 2; return the line."""
    code, out, err = run(capsys, *arguments)
    assert code == 2, (code, out, err)
    assert "Traceback" not in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "\x1b" not in out + err
    err.encode()
    return err


COMMANDS: dict[str, tuple[str, list[str]]] = {
    "train": ("x.json", ["train", "--data", "x.json"]),
    "train, lines": ("x.jsonl", ["train", "--data", "x.jsonl"]),
    "train, table": ("x.csv", ["train", "--data", "x.csv"]),
    "distill": ("x.json", ["distill", "--data", "x.json"]),
    "frequencies": ("df.json", ["evaluate", "c.json", "--references", "r.json", "--df", "df.json"]),
    "words": ("words.json", ["metrics", "df", "r.jsonl", "--words", "words.json", "--to", "y.json"]),
    "scenes": ("dataset_scenes.json", ["data", "scenes", "--to", "."]),
    "report": ("results.json", ["report", "results.json"]),
    "compare": ("s.json", ["compare", "s.json", "s.json", "--references", "r.json"]),
}


@pytest.mark.parametrize("content", UNUSABLE)
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_not_of_their_form(
    command: str,
    content: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.json").write_text('[{"image_id": 1, "caption": "a dog"}]')
    Path("r.json").write_text('{"1": ["a dog"]}')
    Path("r.jsonl").write_text('{"image": "a.jpg", "caption": "a dog", "split": "train"}')
    name, arguments = COMMANDS[command]
    Path(name).write_bytes(UNUSABLE[content])
    assert name.split(".")[0] in refused(capsys, *arguments)


@pytest.mark.parametrize("content", UNUSABLE)
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.tsv", "x.txt", "folder/x.txt"])
def test_data_check_names_what_is_wrong(
    name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(UNUSABLE[content])
    code, out, err = run(capsys, "data", "check", path if path.parent == tmp_path else path.parent)
    assert code == 2
    assert "Traceback" not in err
    assert "x." in out + err
    assert "\x1b" not in out + err


def test_names_and_captions_cannot_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids, captions and file names with escapes, markup and bytes that are no UTF-8."""
    hostile = "\x1b]0;owned\x07[/b]\u202egpj"
    lines = [{"image": f"{hostile}{n}.jpg", "caption": f"{hostile} dog", "split": "train"} for n in (0, 0, 1)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    folder = os.fsencode(tmp_path) + b"/\xff[red]"
    os.mkdir(folder)
    os.rename(tmp_path / "captions.jsonl", folder + b"/captions.jsonl")
    for arguments in (
        ["data", "check"],
        ["data", "check", "--json"],
        ["train", "--data"],
        ["distill", "--data"],
    ):
        code, out, err = run(capsys, *arguments, os.fsdecode(folder))
        assert code == 2
        assert not {"\x1b", "\x07", "\u202e", "\udcff"} & set(out + err)
        (out + err).encode()
        assert "Traceback" not in err


def test_a_report_of_markup_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "name": "[/red]\x1b[2J", "role": "[bold]", "architecture": None, "size": None, "teacher": None,
        "labels": "[/]", "seeds": [0], "parameters": 1, "megabytes": 1.0, "ms_per_image": 1.0,
        "train_seconds": 1.0, "images_seen": 1, "runs": [], "beam": 5, "scores": {"greedy": {}, "beam": {}},
        "deviations": {"greedy": {}, "beam": {}}, "unavailable": {"meteor": "[/x]"}, "signature": {},
    }  # fmt: skip
    results = {"title": "[/b]", "rows": [row], "verdict": "[/i]\x1b[31m", "curves": {}, "samples": []}
    path = tmp_path / "[red]results.json"
    path.write_text(json.dumps(results))
    code, out, err = run(capsys, "report", path)
    assert code == 0, err
    assert "[/i]\\x1b[31m" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.tsv", "x.txt"])
def test_a_line_of_many_megabytes_is_no_entry(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("distilcap.data.readers.text.LONGEST_LINE", 1 << 20)
    for content in (b"a," * (1 << 20), b"[" + b"[]," * (1 << 19), b"\n" + b'"' * (1 << 21)):
        (tmp_path / name).write_bytes(content)
        message = refused(capsys, "train", "--data", tmp_path / name)
        assert "this line is longer than 1 MB; no entry is." in message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.txt"])
def test_a_line_of_200_megabytes_needs_no_gigabyte(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from distilcap.cli.main import main\n"
        "try: main(['data', 'check', sys.argv[1]])\n"
        # Not getrusage, whose peak a child takes over from the process that started it.
        "finally: print(next(int(l.split()[1]) >> 10 for l in open('/proc/self/status') if 'VmHWM' in l))"
    )
    for content in (b'["' + b"a" * (200 << 20) + b'"]', b"a," * (100 << 20)):
        (tmp_path / name).write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / name], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert int(done.stdout.split()[-1]) < 1000
