"""docs/api.md is run: its blocks of Python in their order, on drawn photographs, with small numbers."""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import distilcap
from distilcap import api
from distilcap.data.scenes import draw_scenes
from distilcap.export.bundle import Exported
from distilcap.pipeline.distill import distill

ONE_BUNDLE = pytest.mark.parametrize("trained", ["updown"], indirect=True)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"
SMALL = {
    "image_size": 64,
    "epochs": 1,
    "scst_epochs": 0,
    "learning_rate": 1e-4,  # captioners that have learnt a little say nothing yet
    "min_count": 1,
    "max_words": 4,
}


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Exported) -> Path:
    """A folder with photographs, a bundle, and a file that is no image, where the examples are run."""
    draw_scenes(tmp_path / "photos", (12, 4, 6), size=64)
    shutil.copy(tmp_path / "photos" / "images" / "test_00000.jpg", tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.jpg").write_text("no image")
    shutil.copytree(exported.folder, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(distill.__kwdefaults__, "metrics", ("bleu", "rouge_l", "cider"))  # METEOR is slow
    return tmp_path / "photos"


def small(function: Any, **more: Any) -> Any:
    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        sizes = {
            name: re.sub("medium|small", "tiny", value)
            for name, value in options.items()
            if name in ("teacher", "student", "captioner")
        }
        return function(*arguments, **{**options, **SMALL, **sizes, **more})

    return called


def run_examples(monkeypatch: pytest.MonkeyPatch, export: bool) -> tuple[str, dict[str, Any]]:
    """What the examples print, and their variables."""
    monkeypatch.setattr(api, "train", small(distilcap.train))
    monkeypatch.setattr(api, "distill", small(distilcap.distill, export=export))
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        for number, block in enumerate(blocks()):
            exec(compile(block, f"docs/api.md, block {number}", "exec"), names)
    return printed.getvalue(), names


@ONE_BUNDLE
def test_examples_run(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed, names = run_examples(monkeypatch, export=False)
    assert "\nphotos/b.jpg: not an image Pillow can read.\n" in printed
    assert printed.endswith("There is no option `epoch`; did you mean `epochs`?\n")
    for line in ("# photos/b.jpg: not an image Pillow can read.", "# There is no option `epoch`; did"):
        assert line in DOCS.read_text(encoding="utf-8")
    assert [row.role for row in names["distilled"].rows] == ["teacher", "student", "distilled"]
    assert (photos.parent / "distilled" / "report.html").is_file()
    assert names["labels"] == distilcap.CaptionSet.load("labels.jsonl")
    assert set(names["labels"]) == {image.id for image in names["data"].split("train")}
    assert set(names["after"]) == {image.id for image in names["data"].split("test")}

    # A run is opened like a bundle, and says what it says of its data set.
    run = distilcap.load(names["student"].folder, beam_size=3)
    images = names["data"].split("test")
    captioned = run.caption([image.path for image in images])
    for image, result in zip(images, captioned, strict=True):
        expected = names["after"][image.id][0]
        # Features in a store are rounded to float16: captions that are nearly tied may change places.
        assert result.text == expected.text or result.log_prob == pytest.approx(expected.log_prob, abs=1e-2)
    alone = run.caption(Image.open(images[0].path))
    assert alone.log_prob == pytest.approx(captioned[0].log_prob, abs=1e-3)


@pytest.mark.slow
@ONE_BUNDLE
def test_examples_run_to_the_bundle(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, names = run_examples(monkeypatch, export=True)
    assert names["distilled"].bundle == Path("distilled/bundle")
    images = [image.path for image in names["data"].split("test")]
    texts = [result.text for result in distilcap.load("distilled/bundle").caption(images)]
    assert all(texts)


@pytest.mark.slow
def test_examples_are_typed(tmp_path: Path) -> None:
    """As someone's script, under `mypy --strict`; and a name that is not there is an error."""
    (tmp_path / "script.py").write_text("\n".join(blocks()[:-1]), encoding="utf-8")
    (tmp_path / "wrong.py").write_text(
        "import distilcap\n"
        "distilcap.laod('x')\n"
        "distilcap.train('x', epoch=1)\n"
        "distilcap.distill('x', seeds='1')\n"
        "x: int = distilcap.load('x').caption('a.jpg').text\n"
        "y: str = distilcap.load('x').caption(['a.jpg'])\n"
    )
    environment = {**os.environ, "MYPYPATH": str(DOCS.parents[1])}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]

    def mypy(script: str) -> str:
        done = subprocess.run(
            [*command, script], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        return "\n".join(line for line in done.stdout.splitlines() if line.startswith(script))

    assert mypy("script.py") == ""
    assert re.findall(r"wrong\.py:(\d+): error", mypy("wrong.py")) == ["2", "3", "4", "5", "6"]
