"""`distilcap generate --model … --images …`: a model of transformers captions any photographs, in shards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_models import save_model

from distilcap.cli.main import cli
from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import draw_scenes
from distilcap.errors import ConfigError, DataError
from distilcap.runtime.pixels import read_image
from distilcap.teachers.pretrained import PretrainedTeacher

pytestmark = pytest.mark.filterwarnings("default")  # the warnings of transformers are not ours


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models, five photographs and one that is damaged."""
    folder = tmp_path_factory.mktemp("label")
    for kind in ("blip", "vit-gpt2"):
        save_model(kind, folder / kind)
    draw_scenes(folder / "scenes", (5, 1, 1), size=64)
    (folder / "photos").mkdir()
    for path in sorted((folder / "scenes").rglob("*.jpg"))[:5]:
        shutil.copy(path, folder / "photos")
    (folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    return folder


def generate(home: Path, *options: str) -> str:
    arguments = ["generate", *options, "--images", str(home / "photos"), "--beam", "2", "--batch-images", "2"]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).output


def test_photographs_get_the_model_s_captions_and_a_bad_one_is_named(home: Path, tmp_path: Path) -> None:
    model = str(home / "blip")
    outputs = [
        generate(home, "--model", model, "--to", str(tmp_path), "--shards", "2", "--shard", number)
        for number in ("0", "1")
    ]
    assert "broken" in "".join(outputs)
    CliRunner().invoke(cli, ["merge", str(tmp_path), "--to", str(tmp_path / "all.jsonl")])
    found = CaptionSet.load(tmp_path / "all.jsonl")
    photos = sorted(path for path in (home / "photos").iterdir() if path.stem != "broken")
    assert sorted(found) == [path.stem for path in photos]
    teacher = PretrainedTeacher.load(home / "blip")
    for path in photos:
        ((expected,),) = teacher.caption([read_image(path)], beam=2)
        (caption,) = found[path.stem]
        assert caption.text == expected.text
        assert caption.log_prob == pytest.approx(expected.log_prob, abs=1e-3)


def test_a_shard_is_not_continued_by_another_model(home: Path, tmp_path: Path) -> None:
    generate(home, "--model", str(home / "blip"), "--to", str(tmp_path))
    with pytest.raises(DataError, match="begun with other options"):
        generate(home, "--model", str(home / "vit-gpt2"), "--to", str(tmp_path))


def test_what_captions_must_be_said_once(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either a RUN of the store or a `--model`"):
        generate(home, "--to", str(tmp_path))
    with pytest.raises(ConfigError, match="either a RUN of the store or a `--model`"):
        generate(home, str(home), "--model", str(home / "blip"), "--to", str(tmp_path))
    with pytest.raises(ConfigError, match="`length_penalty` is for a run"):
        generate(home, "--model", str(home / "blip"), "--to", str(tmp_path), "--length-penalty", "1")
    arguments = ["generate", "--model", str(home / "blip"), "--to", str(tmp_path)]
    with pytest.raises(ConfigError, match="`--model` captions `--images`"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
