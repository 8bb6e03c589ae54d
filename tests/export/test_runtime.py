"""Captions from a bundle without PyTorch, and what is said of bundles that are not whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilcap.errors import BundleError, DataError, MissingError
from distilcap.export.pictures import sample_pictures
from distilcap.files import sha256_of
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[2]

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "timm", "safetensors"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from pathlib import Path
from distilcap.runtime.bundle import Bundle
bundle = Bundle.open(Path(sys.argv[1]))
for photo in sys.argv[2:]:
    print(*bundle.alternatives(Path(photo))[0].tokens)
assert "torch" not in sys.modules
"""


@pytest.fixture
def photos(tmp_path):
    paths = []
    for number, (_, picture) in enumerate(sample_pictures(3, 32)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


@pytest.fixture
def copied(exported, tmp_path):
    return Path(shutil.copytree(exported.folder, tmp_path / "copied"))


def test_captions_without_pytorch(exported, photos):
    command = [sys.executable, "-c", WITHOUT_TORCH, str(exported.folder), *map(str, photos)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    opened = Bundle.open(exported.folder)
    expected = [opened.alternatives(photo)[0].tokens for photo in photos]
    assert [tuple(map(int, line.split())) for line in done.stdout.splitlines()] == expected


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """The interpreter of a fresh environment that holds `distilcap[runtime]` and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    source = folder / "source"  # pip builds in the tree that it is given
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "distilcap", source / "distilcap", ignore=shutil.ignore_patterns("__pycache__"))
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", f"{source}[runtime]"]
    if (done := subprocess.run(install, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"no package registry here: {done.stderr.strip().splitlines()[-1]}")
    return python


def run_bare(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=python.parent)


@pytest.mark.slow
def test_the_runtime_extra_alone_is_enough(bare_python, exported, photos):
    for package in ("torch", "timm", "onnx"):
        assert run_bare(bare_python, "-c", f"import {package}").returncode == 1
    done = run_bare(bare_python, "-c", WITHOUT_TORCH, exported.folder, *photos)
    assert done.returncode == 0, done.stderr
    expected = [Bundle.open(exported.folder).alternatives(photo)[0] for photo in photos]
    assert [tuple(map(int, line.split())) for line in done.stdout.splitlines()] == [
        one.tokens for one in expected
    ]
    # The command says the same words.
    done = run_bare(
        bare_python, "-m", "distilcap", "caption", "--beam", 4, "--bundle", exported.folder, *photos
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{photo}\t{one.text}" for photo, one in zip(photos, expected, strict=True)
    ]


@pytest.mark.slow
def test_the_command_names_a_broken_bundle_in_one_line(bare_python, copied, photos):
    def refused() -> str:
        done = run_bare(bare_python, "-m", "distilcap", "caption", "--bundle", copied, photos[0])
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        return line

    content = (copied / "decoder.bin").read_bytes()
    (copied / "decoder.bin").write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    assert refused().endswith("decoder.bin: damaged (its checksum differs); copy the bundle anew.")
    (copied / "decoder.bin").unlink()
    assert refused().endswith("decoder.bin: missing; copy the bundle anew.")
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps(manifest | {"version": 3}))
    assert refused().endswith("of version 3, but this program reads 2; update distilcap.")


def test_captions_of_a_file(bundle, photos):
    several = bundle.alternatives(photos[0])
    assert len(several) == bundle.manifest.decode.beam_size == 4
    assert bundle.alternatives(photos[0].read_bytes()) == several
    unranked = [one.log_prob for one in bundle.alternatives(photos[0], DecodeOptions(4, length_penalty=0))]
    assert unranked == sorted(unranked, reverse=True)
    assert bundle.caption(photos[0]) == [one.text for one in several]
    assert len(bundle.caption(photos[0], beam=3)) == 3
    assert bundle.caption(photos[0], n_best=2) == [one.text for one in several[:2]]


def test_the_greedy_caption_of_a_file(bundle, photos):
    one = bundle.greedy_caption(photos[0])
    assert [one.text] == bundle.caption(photos[0], beam=1)
    assert one.tokens[-1] == 2
    assert one.text == " ".join(f"word{token - 4}" for token in one.tokens[:-1])


def test_a_picture_that_cannot_be_read_is_named(bundle, tmp_path):
    with pytest.raises(DataError, match=r"gone.jpg: there is no such image"):
        bundle.caption(tmp_path / "gone.jpg")


def test_any_flipped_byte_is_found(copied):
    generator = np.random.default_rng(0)
    for path in sorted(copied.iterdir()):
        content = path.read_bytes()
        place = int(generator.integers(min(len(content), 64 if path.suffix == ".sha256" else len(content))))
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(
            BundleError, match=r"copy the bundle anew\.$|not a bundle's manifest|update distilcap"
        ):
            Bundle.open(copied)
        path.write_bytes(content)
    Bundle.open(copied)


def test_a_graph_that_was_damaged_after_the_bundle_was_opened_is_found(copied, photos):
    """The greedy graph is loaded when it is first used, of the bytes that are checked then."""
    for name in ("greedy.onnx", "decoder.bin"):
        opened, content = Bundle.open(copied), (copied / name).read_bytes()
        expected = Bundle.open(copied).greedy_caption(photos[0])
        (copied / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=rf"{name}: damaged \(its checksum differs\)"):
            opened.greedy_caption(photos[0])
        (copied / name).write_bytes(content)
        assert opened.greedy_caption(photos[0]) == expected


def test_every_byte_of_the_manifest_counts(copied):
    """One bit flipped anywhere in the manifest is always one BundleError."""
    path = copied / "manifest.json"
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(BundleError) as raised:
            Bundle.open(copied)
        assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(copied):
    for name in ["step.onnx", "decoder.bin", "manifest.json.sha256"]:
        moved = (copied / name).rename(copied.parent / name)
        with pytest.raises(BundleError, match=f"{name}: missing; copy the bundle anew."):
            Bundle.open(copied)
        moved.rename(copied / name)


def test_what_is_no_bundle_is_told(tmp_path, copied):
    with pytest.raises(
        BundleError, match=r"not a bundle .it has no manifest.json.; make a bundle by `distilcap export`"
    ):
        Bundle.open(tmp_path / "nowhere")
    for content, message in [
        ({"format": "something else", "version": 1}, "its format is 'something else'"),
        (
            {"format": "distilcap bundle", "version": 3},
            "of version 3, but this program reads 2; update distilcap",
        ),
        ([1, 2], "damaged or not a bundle's manifest"),
    ]:
        (copied / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(BundleError, match=message):
            Bundle.open(copied)


def test_a_manifest_that_lacks_a_part(copied):
    path = copied / "manifest.json"
    content = json.loads(path.read_text())

    def rewritten(changed):
        path.write_text(json.dumps(changed))
        (copied / "manifest.json.sha256").write_text(f"{sha256_of(path)}  manifest.json\n")

    rewritten({key: value for key, value in content.items() if key != "state"})
    with pytest.raises(BundleError, match=r"manifest.json: it has no `state`"):
        Bundle.open(copied)
    rewritten(content | {"preprocessing": content["preprocessing"] | {"size": 0}})
    with pytest.raises(
        BundleError, match=r"`preprocessing.size` must be a whole number from 1 to 4,096, but is 0"
    ):
        Bundle.open(copied)
    files = {name: value for name, value in content["files"].items() if name != "greedy.onnx"}
    rewritten(content | {"files": files})
    with pytest.raises(BundleError, match=r"the manifest lists no greedy.onnx"):
        Bundle.open(copied)


def test_a_graph_that_is_no_graph(copied):
    (copied / "encoder.onnx").write_bytes(b"nonsense")
    opened = Bundle.open(copied, verify=False)
    with pytest.raises(BundleError, match=r"encoder.onnx: ONNX Runtime cannot load it"):
        opened.see(np.zeros((1, 32, 32, 3), np.uint8))


def test_without_onnx_runtime(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingError, match=r"Bundles need ONNX Runtime: `pip install 'distilcap.runtime.'`"):
        Bundle.open(exported.folder).session("encoder")


def test_verification_can_be_left_out(copied):
    (copied / "MODEL_CARD.md").write_text("changed")
    assert read_manifest(copied, verify=False).files
