"""The captioner in the box: there, whole, small, and the default."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import distilcap
from distilcap.box import LICENCE, box_bundle, box_card, box_limits, box_training
from distilcap.cli.main import cli
from distilcap.data.scenes import draw_scenes
from distilcap.errors import DataError, MissingError
from distilcap.models.weights import load_captioner
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.manifest import read_manifest
from distilcap.stages.captioner import ImportCaptioner
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_it_comes_whole_with_the_package_in_at_most_8_mb() -> None:
    manifest = read_manifest(box_bundle(), verify=True)  # every file against its checksum
    assert manifest.megabytes() <= 8
    packed = {path.name for path in (resources.files("distilcap.box") / "bundle").iterdir()}
    assert packed == {*manifest.files, "manifest.json", "manifest.json.sha256"}


def test_its_bundle_says_what_it_gets_wrong_and_who_should_not_use_it() -> None:
    card = (box_bundle() / "MODEL_CARD.md").read_text("utf-8")
    assert box_limits() in card
    assert "## Who should not use it" in card


def test_without_a_bundle_it_captions_and_says_its_terms_once(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    first, second = (CliRunner().invoke(cli, ["caption", str(photo)]) for _ in range(2))
    named = CliRunner().invoke(cli, ["caption", "--bundle", str(box_bundle()), str(photo)])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout == second.stdout == named.stdout
    assert first.stderr.count("For research") == 1
    assert second.stderr == named.stderr == ""


def test_a_cache_that_cannot_be_written_only_repeats_the_terms(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "file" / "below"))
    for _ in range(2):
        result = CliRunner().invoke(cli, ["caption", str(photo)])
        assert result.exit_code == 0
        assert "For research" in result.stderr


def test_python_opens_it_without_a_path_and_without_pytorch(photo: Path) -> None:
    script = (
        "import distilcap, json, sys; text = distilcap.load().caption(sys.argv[1]).text; "
        "print(json.dumps([text, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(photo)], capture_output=True, check=True)
    assert json.loads(done.stdout) == [distilcap.load(box_bundle()).caption(photo).text, False]


def test_an_installation_without_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilcap.box._HERE", tmp_path)
    with pytest.raises(MissingError, match="the captioner in the box is not there"):
        box_bundle()


def test_its_page_is_written_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm: the page comes without ONNX Runtime Web
    result = CliRunner().invoke(cli, ["web", "--to", str(tmp_path / "site")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "site" / "bundle" / "decoder.bin").read_bytes() == (
        box_bundle() / "decoder.bin"
    ).read_bytes()


def test_what_training_begins_from_has_the_words_of_the_bundle() -> None:
    start = load_captioner(box_training())
    assert start.vocabulary == read_manifest(box_bundle()).vocabulary
    assert {path.name for path in box_training().iterdir()} == {
        "captioner.json",
        "captioner.safetensors",
        "encoder-tuned.safetensors",
    }


def test_its_card_comes_with_the_package() -> None:
    assert "Who should not use it" in box_card().read_text(encoding="utf-8")
    listed = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "CARD.md" in listed["tool"]["setuptools"]["package-data"]["distilcap.box"]


def test_its_licence_stays_with_what_learns_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of a run that began from it is no freer than it is."""
    monkeypatch.delenv("DISTILCAP_BOX")
    draw_scenes(tmp_path / "scenes", (8, 4, 4), size=32)
    data, encoder = DataOptions(tmp_path / "scenes"), EncoderOptions()
    _, plan = plan_own_images(data, encoder, DistillOptions(), {}, tmp_path / "store")
    learnt = plan.exported.captioner.licence
    assert learnt is not None
    assert learnt["encoder"] == LICENCE["encoder"]
    assert learnt["captioner"].startswith(LICENCE["captioner"])
    assert read_manifest(box_bundle()).licence == LICENCE
    shutil.copytree(box_training(), tmp_path / "copy")
    assert ImportCaptioner.of(tmp_path / "copy", "copy").licence == LICENCE
    alone = DistillOptions(start=Path("none"), student="updown-tiny", teacher="updown-tiny")
    small = EncoderOptions(encoder_weights="random", image_size=32)
    _, plan = plan_own_images(data, small, alone, {}, tmp_path / "store")
    assert plan.exported.captioner.licence is None


def test_its_terms_are_said_where_training_begins_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTILCAP_BOX")
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    drawn = draw_scenes(tmp_path / "scenes", (8, 4, 4), size=32)
    drawn.images[0].path.unlink()
    store = tmp_path / "store"
    asked = ["distill", "--data", str(tmp_path / "scenes"), "--store", str(store), "--plan"]
    result = CliRunner().invoke(cli, asked)
    assert result.exit_code == 0, result.output
    assert "For research, not for commercial use" in result.stderr
    said = " ".join(result.stderr.split())
    assert "8 training images" in said
    assert "All that is to be done takes at most about" in said
    assert "different words occur 1 time or more" in said
    assert "1 of 16 image files are not there and would be skipped" in said
    said = " ".join(result.stdout.split())
    assert re.search(r"to do \d+ (s|min) \d+\.\d MB train-\w+ \w+ \d+ wide", said), (
        "each stage with what it takes"
    )
    assert re.search(r"stages, \d+ there\. To do: at most about \d+ (s|min) of one process", said)
    assert not store.exists(), "a plan leaves nothing behind"


@pytest.mark.parametrize(
    "asked", [["caption", "--run", "box", "a.jpg"], ["generate", "box", "--images", "a", "--to", "b"]]
)
def test_its_name_where_a_run_is_asked_for(asked: list[str]) -> None:
    error = CliRunner().invoke(cli, asked).exception
    assert isinstance(error, DataError)
    assert "`--bundle box`" in str(error)
    assert "`--start box`" in str(error)


def test_it_knows_photographs() -> None:
    """Not a score: that it is a captioner of photographs, not of stickers or of nothing."""
    manifest = Bundle.open(box_bundle()).manifest
    assert {"dog", "water", "man", "street"} <= set(manifest.vocabulary.words)


@pytest.mark.parametrize("name", [None, "box", "link"])
def test_an_export_of_it_keeps_its_terms_and_searches_as_its_bundle(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
    given: dict[str, object] = {}

    def export_bundle(run: Path, to: Path, options: object, **others: object) -> None:
        given.update(others, run=run)
        raise DataError("far enough")

    monkeypatch.setattr("distilcap.export.bundle.export_bundle", export_bundle)
    (tmp_path / "link").symlink_to(box_training())
    run = {None: str(box_training()), "link": str(tmp_path / "link")}.get(name, "box")
    result = CliRunner().invoke(cli, ["export", run, "--to", str(tmp_path / "bundle")])
    assert "far enough" in str(result.exception)
    assert load_captioner(Path(str(given["run"]))).vocabulary == load_captioner(box_training()).vocabulary
    assert (given["licence"], given["limits"]) == (LICENCE, box_limits())
    assert given["decode"] == read_manifest(box_bundle()).decode
