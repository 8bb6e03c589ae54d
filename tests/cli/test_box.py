"""The captioner in the box: there, whole, small, and the default."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import distilcap
from distilcap.box import box_bundle, box_training
from distilcap.cli.main import cli
from distilcap.errors import MissingError
from distilcap.models.weights import load_captioner
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.manifest import read_manifest


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


def test_it_knows_photographs() -> None:
    """Not a score: that it is a captioner of photographs, not of stickers or of nothing."""
    manifest = Bundle.open(box_bundle()).manifest
    assert {"dog", "water", "man", "street"} <= set(manifest.vocabulary.words)
