"""Bundles go to the Hub and come back, against a server on this machine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from click.testing import CliRunner

pytest.importorskip("huggingface_hub")
from hub_server import serving_hub

from distilcap.cli.main import cli
from distilcap.errors import BundleError, ConfigError, MissingError
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.hub import find_bundle, push_bundle
from distilcap.runtime.manifest import MANIFEST

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setenv("DISTILCAP_CACHE", str(tmp_path / "cache"))
        yield hub


def test_a_bundle_goes_to_the_hub_and_comes_back(exported, hub, tmp_path):
    page = push_bundle(exported.folder, "me/captioner")
    assert page.endswith("/me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    for path in exported.folder.iterdir():
        assert (fetched / path.name).read_bytes() == path.read_bytes()
    assert Bundle.open(fetched).manifest == exported.manifest
    card = hub.repositories["me/captioner"].files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: distilcap")
    assert card.endswith((exported.folder / "MODEL_CARD.md").read_text())
    # The same revision is not fetched again.
    hub.asked.clear()
    assert find_bundle_by("hf:me/captioner") == fetched
    assert not [path for path in hub.asked if "/resolve/" in path]
    assert not list((tmp_path / "cache" / "hub").rglob(".fetch-*"))


def test_an_older_bundle_is_replaced_and_nothing_else(exported, hub):
    push_bundle(exported.folder, "me/captioner")
    files = hub.repositories["me/captioner"].files
    older = json.loads(files[MANIFEST])
    older["files"]["older.onnx"] = {"sha256": "0" * 64, "bytes": 3}
    files |= {MANIFEST: json.dumps(older).encode(), "older.onnx": b"old", "notes.txt": b"mine"}
    push_bundle(exported.folder, "me/captioner")
    assert "older.onnx" not in files
    assert files["notes.txt"] == b"mine"
    del files[MANIFEST]
    before = dict(files)
    with pytest.raises(BundleError, match=r"me/captioner: holds MODEL_CARD.md and no bundle"):
        push_bundle(exported.folder, "me/captioner")
    assert files == before


def test_what_is_private_never_goes_into_a_public_repository(exported, hub):
    push_bundle(exported.folder, "me/mine", private=True)
    push_bundle(exported.folder, "me/mine", private=True)
    assert hub.repositories["me/mine"].private
    push_bundle(exported.folder, "me/captioner")
    files = hub.repositories["me/captioner"].files
    files.clear()
    with pytest.raises(BundleError, match=r"me/captioner: is public; make it private in its settings"):
        push_bundle(exported.folder, "me/captioner", private=True)
    assert not files


def test_a_bundle_that_was_damaged_since_is_fetched_again(exported, hub, monkeypatch):
    push_bundle(exported.folder, "me/captioner")
    encoder = find_bundle_by("hf:me/captioner") / "encoder.onnx"
    whole = encoder.read_bytes()
    encoder.write_bytes(whole[:-1])
    assert (find_bundle_by("hf:me/captioner") / "encoder.onnx").read_bytes() == whole
    encoder.write_bytes(whole[:-1])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # 23 s between its attempts
    with pytest.raises(BundleError, match="the Hub did not"):
        find_bundle_by("hf:me/captioner")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b'{"a": [' + b"[]," * 6_000_000 + b"[]]}", r"hf:me/captioner: its manifest.json is larger than"),
        (b'{"format": "distilcap bundle", "version": 3}', r"hf:me/captioner/manifest.json: of version 3"),
        (b"{", r"hf:me/captioner/manifest.json: damaged"),
    ],
)
def test_a_manifest_is_refused_by_the_name_of_its_repository(exported, hub, manifest, said):
    push_bundle(exported.folder, "me/captioner")
    hub.repositories["me/captioner"].files[MANIFEST] = manifest
    with pytest.raises(BundleError, match=said):
        find_bundle_by("hf:me/captioner")


def test_a_commit_never_leads_out_of_the_cache(exported, hub, tmp_path):
    push_bundle(exported.folder, "me/captioner")
    repository = hub.repositories["me/captioner"]
    repository.commits["../../../escaped"] = dict(repository.files)
    with pytest.raises(BundleError, match="must be 40 hexadecimal digits"):
        find_bundle_by("hf:me/captioner")
    assert not (tmp_path / "escaped").exists()


def find_bundle_by(name):
    from pathlib import Path

    return find_bundle(Path(name))


def test_what_is_damaged_or_missing_is_named_and_not_kept(exported, hub, tmp_path):
    with pytest.raises(BundleError, match=r"hf:me/nothing: the Hub has no such repository"):
        find_bundle_by("hf:me/nothing")
    push_bundle(exported.folder, "me/captioner")
    files = hub.repositories["me/captioner"].files
    whole = files["encoder.onnx"]
    files["encoder.onnx"] = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(BundleError, match=r"hf:me/captioner/encoder.onnx: damaged"):
        find_bundle_by("hf:me/captioner")
    del files["encoder.onnx"]
    with pytest.raises(BundleError, match=r"hf:me/captioner: holds no whole bundle"):
        find_bundle_by("hf:me/captioner")
    files["encoder.onnx"] = whole
    files[MANIFEST] = files[MANIFEST].replace(b'"encoder.onnx"', b'"../../../x.onnx"')
    with pytest.raises(BundleError):
        find_bundle_by("hf:me/captioner")
    assert not (tmp_path / "cache" / "hub" / "me--captioner" / hub.repositories["me/captioner"].sha).exists()
    damaged = tmp_path / "damaged"
    shutil.copytree(exported.folder, damaged)
    (damaged / "encoder.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"encoder.onnx: damaged"):
        push_bundle(damaged, "me/other")
    assert "me/other" not in hub.repositories


@pytest.mark.parametrize(
    "name", ["hf:", "hf:user", "hf:user/../x", "hf:a/b/c", "hf:a/b@", "hf:-a/b", "hf:a/b c"]
)
def test_other_names_are_refused(name, hub):
    with pytest.raises(ConfigError, match=r"must be of the form hf:user/name"):
        find_bundle_by(name)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["me/a--b", "me/a.git", "me/x-"])
def test_names_that_the_hub_refuses(name, hub, exported):
    for way in (lambda: find_bundle_by(f"hf:{name}"), lambda: push_bundle(exported.folder, name)):
        with pytest.raises(ConfigError, match=rf"{name}: no name that the Hub has"):
            way()


def test_a_full_disk_is_not_the_hubs_fault(exported, hub, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    push_bundle(exported.folder, "me/captioner")
    monkeypatch.setattr("shutil.copy", full)
    with pytest.raises(OSError, match="No space left") as raised:
        find_bundle_by("hf:me/captioner")
    assert not isinstance(raised.value, BundleError)


def test_a_whole_bundle_opens_from_a_cache_that_cannot_be_written(exported, hub, monkeypatch):
    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    push_bundle(exported.folder, "me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    written = (fetched.parent / "main.txt").stat().st_ino
    assert find_bundle_by("hf:me/captioner") == fetched
    assert (fetched.parent / "main.txt").stat().st_ino == written, "what it says already is not written again"
    for call in ("mkdir", "touch", "write_bytes"):
        monkeypatch.setattr(f"pathlib.Path.{call}", read_only)
    assert find_bundle_by("hf:me/captioner") == fetched
    assert find_bundle_by(f"hf:me/captioner@{fetched.name}") == fetched
    shutil.rmtree(fetched)
    with pytest.raises(OSError, match="Read-only") as raised:
        find_bundle_by("hf:me/captioner")
    assert not isinstance(raised.value, BundleError)


def test_a_pinned_bundle_where_no_cache_can_be_made(tmp_path):
    """In a process of its own: the errors of huggingface_hub are not there until they are imported."""
    (tmp_path / "cache").touch()
    script = "import sys; from distilcap.cli.main import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, "caption", "--bundle", f"hf:me/x@{40 * 'a'}", "photo.jpg"],
        env={**os.environ, "DISTILCAP_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert str(tmp_path / "cache") in done.stderr


def test_what_a_killed_download_left_goes_and_a_faster_process_keeps_its_bundle(exported, hub, monkeypatch):
    push_bundle(exported.folder, "me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    before = (fetched / "encoder.onnx").stat().st_ino
    for name, age in (("killed", 90_000), ("alive", 60)):
        (left := fetched.parent / f".fetch-{name}").mkdir()
        os.utime(left, (time.time() - age,) * 2)
    answers = iter([False, True])
    monkeypatch.setattr("distilcap.runtime.hub._is_whole", lambda folder: next(answers))
    assert find_bundle_by("hf:me/captioner") == fetched
    assert (fetched / "encoder.onnx").stat().st_ino == before
    assert [path.name for path in fetched.parent.glob(".fetch-*")] == [".fetch-alive"]


def test_without_a_server_or_the_package(exported, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BundleError, match=r"hf:me/captioner: the Hub did not answer as it should"):
        find_bundle_by("hf:me/captioner")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingError, match=r"pip install 'distilcap\[hub\]'"):
        find_bundle_by("hf:me/captioner")
    assert find_bundle_by("folder").name == "folder"


def test_what_was_fetched_opens_without_the_hub(exported, hub, monkeypatch):
    push_bundle(exported.folder, "me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert find_bundle_by("hf:me/captioner") == fetched
    assert find_bundle_by(f"hf:me/captioner@{fetched.name}") == fetched
    with pytest.raises(BundleError, match="did not answer"):
        find_bundle_by("hf:me/captioner@other")
    for damaged in (b"\xff\xfe", b""):
        (fetched.parent / "main.txt").write_bytes(damaged)
        with pytest.raises(BundleError, match="did not answer"):
            find_bundle_by("hf:me/captioner")
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    del hub.repositories["me/captioner"]
    with pytest.raises(BundleError, match="no such repository"):
        find_bundle_by("hf:me/captioner")


def test_a_hub_that_takes_the_call_and_stays_silent(exported, hub, monkeypatch):
    push_bundle(exported.folder, "me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    monkeypatch.setattr("distilcap.runtime.hub._TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are taken, and nobody reads them
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert find_bundle_by("hf:me/captioner") == fetched, "what it gave last"
        with pytest.raises(BundleError, match=r"hf:me/captioner: the Hub did not answer .*timed out"):
            find_bundle_by("hf:me/captioner@other")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Data processing error: CAS service error : error sending request for url"),  # hf_xet's
        ValueError("Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_storage_that_fails_is_no_fault_of_ours(exported, hub, monkeypatch, error):
    def fails(*_, **__):
        raise error

    push_bundle(exported.folder, "me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    said = rf"me/captioner: the Hub did not answer as it should \({error.args[0][:20]}"
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.HfApi.upload_folder", fails)
        with pytest.raises(BundleError, match=f"^{said}"):
            push_bundle(exported.folder, "me/captioner")
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.HfApi.model_info", fails)
        assert find_bundle_by("hf:me/captioner") == fetched, "what it gave last"
        with pytest.raises(BundleError, match=f"^hf:{said}"):
            find_bundle_by("hf:me/captioner@other")
    shutil.rmtree(fetched)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(BundleError, match=f"^hf:{said}"):
        find_bundle_by("hf:me/captioner")


ODD = (None, [], {}, 5, "text", [{}])


@pytest.mark.parametrize("asked", ["/repos/create", "/tree/", "/preupload/", "/commit/", "/api/models/"])
def test_json_of_another_shape_is_no_fault_of_ours(exported, hub, asked):
    """As a proxy or a portal gives it that stands in the Hub's place."""
    push_bundle(exported.folder, "me/captioner")
    files = hub.repositories["me/captioner"].files
    for odd in ODD:
        hub.instead = (asked, odd)
        files["MODEL_CARD.md"] = b"another"  # else there is nothing to send
        with suppress(BundleError):  # some answers are as good as the Hub's
            push_bundle(exported.folder, "me/captioner", private=asked == "/api/models/")
    hub.instead = ("/repos/create", {"error": "no"})
    with pytest.raises(BundleError, match=r"^me/captioner: the Hub did not answer .*KeyError: 'url'"):
        push_bundle(exported.folder, "me/captioner")


def test_a_bundle_opens_where_json_of_another_shape_stands_in_the_hubs_place(exported, hub):
    push_bundle(exported.folder, "me/captioner")
    fetched = find_bundle_by("hf:me/captioner")
    for odd in ODD:
        hub.instead = ("/api/models/", odd)
        assert find_bundle_by("hf:me/captioner") == fetched, "what it gave last"
        said = (
            rf"^hf:me/captioner: the Hub did not answer as it should \(.+\): see whether {hub.address} is one"
        )
        with pytest.raises(BundleError, match=said):
            find_bundle_by("hf:me/captioner@other")


def test_the_commands(exported, hub, tmp_path):
    run = CliRunner().invoke
    result = run(cli, ["push", str(exported.folder), "me/captioner"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "/me/captioner" in result.output
    from PIL import Image

    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "photo.jpg")
    ours = run(cli, ["caption", "--bundle", str(exported.folder), str(tmp_path / "photo.jpg")])
    theirs = run(cli, ["caption", "--bundle", "hf:me/captioner", str(tmp_path / "photo.jpg")])
    assert theirs.exit_code == 0, (theirs.output, theirs.exception)
    assert theirs.output == ours.output
