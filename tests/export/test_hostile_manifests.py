"""Manifests from strangers: whatever they say, one line of BundleError, and not a byte outside is touched."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilcap.errors import BundleError, ConfigError
from distilcap.export.browser.site import write_web
from distilcap.files import sha256_of
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.calibration import BINS, Calibration, Reliability
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.limits import MAX_MANIFEST_BYTES
from distilcap.runtime.manifest import GRAPHS, Manifest, read_manifest, write_manifest
from distilcap.runtime.pixels import Preprocessing
from distilcap.text.vocabulary import SPECIALS, Vocabulary

VALID = Manifest(
    precision="float32",
    preprocessing=Preprocessing(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    vocabulary=Vocabulary((*SPECIALS, "dog", "हैं\u200d", "naïve", "🐕")),
    regions=16,
    dim=24,
    state=(48, 48),
    memory=2,
    decode=DecodeOptions(blocked=((4, 0), (5, 6)), avoid_repeats=True),
    calibration=Calibration(
        2.5, -1.0, 0.6, 100, Reliability((3,) * BINS, (0.5,) * BINS, (0.25,) * BINS), "other images"
    ),
    model={"architecture": "updown", "options": {}, "encoder": {"encoder": "small", "weights": "random"}},
    licence={"program": "Apache-2.0"},
    made_by="distilcap",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graphs are no graphs: only its manifest is read here."""
    folder = tmp_path_factory.mktemp("bundle")
    for name in (*GRAPHS.values(), "decoder.bin", "MODEL_CARD.md"):
        (folder / name).write_bytes(name.encode())
    write_manifest(folder, VALID)
    return folder


@pytest.fixture
def content(folder: Path) -> Iterator[dict[str, Any]]:
    """The valid manifest as JSON; put back afterwards."""
    text = (folder / "manifest.json").read_bytes()
    yield json.loads(text)
    write_text(folder, text)


def write_text(folder: Path, text: bytes) -> None:
    """Write a manifest, and the checksum that vouches for it: a stranger computes it as well as anyone."""
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.json.sha256").write_text(f"{sha256_of(folder / 'manifest.json')}  manifest.json\n")


def refused(folder: Path, text: bytes) -> str:
    """The one line by which a manifest is refused, however it is opened."""
    write_text(folder, text)
    with pytest.raises(BundleError) as raised:
        read_manifest(folder)
    with pytest.raises(BundleError) as unverified:
        read_manifest(folder, verify=False)
    assert str(unverified.value) == str(raised.value)
    line = str(raised.value)
    assert line.isprintable()
    assert len(line) < 1_000 + len(str(folder))
    return line


def test_a_valid_manifest_is_read_as_it_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.to_json() | {"files": {}} == VALID.to_json()
    assert set(manifest.files) == {*GRAPHS.values(), "decoder.bin", "MODEL_CARD.md"}


def test_values_that_are_no_defaults_are_read_as_they_were_written() -> None:
    other = replace(
        VALID,
        preprocessing=replace(VALID.preprocessing, filter="bilinear", decoding="reduced"),
        vocabulary=Vocabulary(VALID.vocabulary.words, "somebody's", spaced=False),
        state=(47, 48),
        memory=3,
        decode=DecodeOptions(2, 17, -0.4, allow_unk=True, blocked=((5, 6),), avoid_repeats=True),
        scores={"data": "mine"},
    )
    assert Manifest.from_json(json.loads(json.dumps(other.to_json()))) == other


WRONG_TYPES: tuple[Any, ...] = (None, True, -1, 10**30, 1e999, "\x1b[2J", [], {}, [[]], {"a": {}})
NOT_WRONG = {
    # What these fields may well be.
    "scores": ({}, {"a": {}}),
    "state": ([],),
    "licence": ({},),
    "decode.allow_unk": (True,),
    "decode.avoid_repeats": (True,),
    "decode.length_penalty": (-1,),
    "decode.never_write": ({},),
    "decode.never_write.dog": (None,),
    "spaced": (True,),
    "tokenizer": ("\x1b",),
    "calibration": (None,),
    "calibration.slope": (),
    "calibration.intercept": (-1,),
    "preprocessing.mean.0": (-1,),
}
FIELDS = [
    *("format", "version", "precision", "preprocessing", "vocabulary", "regions", "dim", "state", "memory"),
    *("decode", "model", "scores", "licence", "files", "made_by", "tokenizer", "spaced", "calibration"),
    *(f"preprocessing.{name}" for name in ("size", "mean", "std", "resize", "filter")),
    *(f"decode.{name}" for name in ("width", "max_words", "length_penalty", "allow_unk", "never_write")),
    *("decode.avoid_repeats", "decode.never_write.dog"),
    *(f"calibration.{name}" for name in ("slope", "intercept", "threshold", "images", "measured_on")),
    *(f"calibration.reliability.{name}" for name in ("captions", "confidence", "right")),
    *("calibration.reliability", "calibration.reliability.captions.9", "calibration.reliability.right.0"),
    *("model.architecture", "model.encoder", "model.encoder.encoder", "model.encoder.weights"),
    *("licence.program", "files.step%onnx", "files.step%onnx.sha256", "files.step%onnx.bytes"),
    *("vocabulary.0", "vocabulary.4", "state.0", "preprocessing.mean.0", "preprocessing.std.2"),
]


def changed(content: dict[str, Any], field: str, value: Any, remove: bool = False) -> bytes:
    """The manifest with another value at a field such as "decode.width"."""
    content = copy.deepcopy(content)
    *parents, last = field.split(".")
    at: Any = content
    for name in parents:
        at = at[int(name) if isinstance(at, list) else name.replace("%", ".")]
    if remove:
        del at[last.replace("%", ".")]
    else:
        at[int(last) if isinstance(at, list) else last.replace("%", ".")] = value
    return json.dumps(content).replace("Infinity", "1e999").encode()


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_may_be_of_another_type(folder: Path, content: dict[str, Any], field: str) -> None:
    for value in WRONG_TYPES:
        if not any(value == fine and type(value) is type(fine) for fine in NOT_WRONG.get(field, ())):
            refused(folder, changed(content, field, value))


@pytest.mark.parametrize("field", [name for name in FIELDS if not name.rpartition(".")[2].isdigit()])
def test_no_field_may_be_missing(folder: Path, content: dict[str, Any], field: str) -> None:
    text = changed(content, field, None, remove=True)
    if field in ("licence.program", "files.step%onnx", "decode.avoid_repeats", "decode.never_write.dog"):
        if field == "files.step%onnx":
            assert "the manifest lists no step.onnx" in refused(folder, text)
        return
    refused(folder, text)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("version", 0, "`version` must be a whole number from 1"),
        ("version", 3, "of version 3, but this program reads 2; update distilcap"),
        ("decode.never_write.cat", None, "`decode.never_write` must be words of the vocabulary"),
        ("decode.never_write.<eos>", None, "`decode.never_write` must be words of the vocabulary"),
        ("decode.never_write.naïve", "dog", "`decode.never_write` must be words of the vocabulary"),
        ("decode.never_write", ["dog"], "`decode.never_write` must be an object, but is a list of 1"),
        ("calibration.slope", -0.1, "`calibration.slope` must be a number from 0 to 500, but is -0.1"),
        ("calibration.threshold", 11, "`calibration.threshold` must be a number from 0 to 10, but is 11"),
        ("calibration.extra", 1, "`calibration` has an unknown field 'extra'"),
        ("calibration.reliability.captions", [1] * 9, "must be a list of 10, but is a list of 9"),
        ("calibration.reliability.right", [2] * 10, "`calibration.reliability.right[0]` must be a number"),
        ("preprocessing.size", 0, "`preprocessing.size` must be a whole number from 1 to 4,096, but is 0"),
        ("preprocessing.size", 4_097, "from 1 to 4,096, but is 4097"),
        ("preprocessing.std", [0.2, 0, 0.2], "`preprocessing.std[1]` must be a number from 1e-06"),
        ("preprocessing.std", [0.2, 1e-300, 0.2], "`preprocessing.std[1]`"),
        ("preprocessing.mean", [0.5, 0.5], "`preprocessing.mean` must be a list of 3, but is a list of 2"),
        ("preprocessing.mean", [0.5, 1e999, 0.5], "damaged or not a bundle's manifest"),
        ("preprocessing.resize", "stretch", '`preprocessing.resize` must be "squash"'),
        ("preprocessing.extra", 1, "`preprocessing` has an unknown field 'extra'"),
        ("decode.extra", 1, "`decode` has an unknown field 'extra'"),
        ("decode.width", 1_001, "`decode.width` must be a whole number from 1 to 1,000, but is 1001"),
        ("decode.max_words", 10**9, "`decode.max_words` must be a whole number from 1 to 1,000"),
        ("decode.length_penalty", 1e300, "`decode.length_penalty` must be a number from -10 to 10"),
        ("state", [262_145], "`state[0]` must be a whole number from 1 to 262,144, but is 262145"),
        ("state", [262_144, 1], "more than a search can hold"),
        ("state", [1] * 257, "`state` must be a list of at most 256"),
        ("memory", 0, "`memory` must be a whole number from 1 to 256, but is 0"),
        ("regions", 10**9, "`regions` must be"),
        ("dim", 10**9, "`dim` must be"),
        ("vocabulary", list(SPECIALS[:3]), "must begin with <pad> <bos> <eos> <unk>"),
        ("vocabulary", [*SPECIALS, "dog", "dog"], "must be distinct"),
        ("vocabulary", [*SPECIALS, "two\nlines"], r"`vocabulary[4]` must be printable text"),
        ("vocabulary", [*SPECIALS, "a\u2028b"], "`vocabulary[4]`"),
        ("vocabulary", [*SPECIALS, "\ud800"], "damaged or not a bundle's manifest"),
        ("vocabulary", [*SPECIALS, "x" * 1_001], "`vocabulary[4]`"),
        (
            "vocabulary",
            [*SPECIALS, 7],
            "`vocabulary[4]` must be printable text of at most 1,000 characters, but is 7",
        ),
        ("vocabulary", list(map(str, range(200_001))), "a list of at most 200,000, but is a list of 200,001"),
        ("licence", {"a\nb": "c"}, "whose fields have short, printable names"),
        (
            "licence",
            {str(n): "" for n in range(1_001)},
            "`licence` must be an object of at most 1,000 fields",
        ),
        ("files.step%onnx.sha256", "F" * 64, "must be 64 hexadecimal digits"),
        ("files.step%onnx.sha256", "0" * 63, "must be 64 hexadecimal digits"),
        ("files.step%onnx.bytes", 5 << 30, "`files.step.onnx.bytes` must be a whole number from 0"),
        ("files.step%onnx.bytes", 8.0, "`files.step.onnx.bytes` must be a whole number from 0"),
    ],
)
def test_values_out_of_range_are_named(
    folder: Path, content: dict[str, Any], field: str, value: Any, message: str
) -> None:
    assert message in refused(folder, changed(content, field, value))


def test_a_search_that_fits_no_memory_is_refused(folder: Path, content: dict[str, Any]) -> None:
    words = [*SPECIALS, *(f"w{n}" for n in range(60_000))]
    content["decode"]["never_write"] = {}
    text = changed(content | {"vocabulary": words}, "decode.width", 1_000)
    assert "60,004 words, `decode.width` 1000 times, are more than a search can hold" in refused(folder, text)
    write_text(folder, changed(content | {"vocabulary": words}, "decode.width", 100))
    assert len(read_manifest(folder).vocabulary) == 60_004


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": ' * 50_000 + b"1" + b"}" * 50_000,
        b'{"format": "distilcap bundle", "version": ' + b"9" * 5_000 + b"}",
        b'{"format": "distilcap bundle", "version": NaN}',
        b"null",
        b"7",
        b'"distilcap bundle"',
        b'["format", "version"]',
        b'{"format": "distilcap bundle", "version": 1}',
        b" " * (MAX_MANIFEST_BYTES + 1),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_hardly_json_is_refused(folder: Path, content: dict[str, Any], text: bytes) -> None:
    refused(folder, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(field=st.sampled_from(FIELDS), value=JSON)
def test_any_json_in_any_field_is_refused_or_read(
    folder: Path, content: dict[str, Any], field: str, value: Any
) -> None:
    write_text(folder, changed(content, field, value))
    try:
        manifest = read_manifest(folder)
    except BundleError:
        refused(folder, (folder / "manifest.json").read_bytes())
        return
    # What is read is what a runtime can work with.
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert json.dumps(manifest.to_json(), allow_nan=False)


# Nothing outside ------------------------------------------------------------------------------------------


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    to = tmp_path / "copied"
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


NAMES = [
    *("../victim.txt", "../../../victim.txt", "/etc/hostname", "sub/victim.txt", "..", ".", "", ".hidden"),
    *("..\\victim.txt", "C:victim.txt", "victim\n.txt", "victim\x00", "a|b", "x" * 300, "step.onnx/"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_names_that_lead_out_are_refused_before_a_byte_is_copied(
    copied: Path, runtime: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "victim.txt").write_text("dear")
    content = json.loads((copied / "manifest.json").read_text())
    victim = {"sha256": sha256_of(tmp_path / "victim.txt"), "bytes": 4}
    write_text(copied, json.dumps(content | {"files": content["files"] | {name: victim}}).encode())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError) as raised:
        write_web(copied, tmp_path / "deep" / "site", runtime=runtime)
    assert str(raised.value).isprintable()
    with pytest.raises(BundleError):
        Bundle.open(copied, verify=False)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "victim.txt").read_text() == "dear"


@pytest.mark.parametrize(
    "name",
    ["step.onnx", "decoder.bin", "MODEL_CARD.md", "manifest.json", "manifest.json.sha256", "unlisted.bin"],
)
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "link to a folder"])
def test_links_and_pipes_are_refused(
    copied: Path, runtime: Path, tmp_path: Path, name: str, kind: str
) -> None:
    """A link with the very bytes that the manifest vouches for, too; a pipe does not hang."""
    path, outside = copied / name, tmp_path / "outside"
    outside.write_bytes(path.read_bytes() if path.exists() else b"secret")
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        target = {"link": outside, "dangling": tmp_path / "nowhere", "link to a folder": tmp_path}[kind]
        path.symlink_to(target)
    for verify in (True, False):
        with pytest.raises(BundleError, match=r"not a regular file|not a bundle"):
            Bundle.open(copied, verify=verify)
    with pytest.raises(BundleError):
        write_web(copied, tmp_path / "site", runtime=runtime)
    assert not (tmp_path / "site").exists()


def test_links_in_folders_of_a_bundle_are_refused(copied: Path) -> None:
    """A graph could name them."""
    (copied / "sub").mkdir()
    (copied / "sub" / "link").symlink_to("/etc")
    with pytest.raises(
        BundleError, match=r"link: not a regular file; a bundle may hold no link, pipe or device"
    ):
        read_manifest(copied)


def test_a_bundle_may_be_reached_by_a_link(copied: Path, tmp_path: Path) -> None:
    """The path is a person's own; what lies behind it is the stranger's."""
    (tmp_path / "link").symlink_to(copied)
    assert read_manifest(tmp_path / "link").regions == 16


def test_a_bundle_of_pages_and_scripts_gives_the_site_none_of_them(
    copied: Path, runtime: Path, tmp_path: Path
) -> None:
    for name in ("page.html", "evil.js", "picture.svg", "page.xhtml"):
        (copied / name).write_text("<script>alert(1)</script>")
    write_manifest(copied, VALID)
    site = write_web(copied, tmp_path / "site", runtime=runtime)
    assert sorted(path.name for path in (site.folder / "bundle").iterdir()) == sorted(
        {*GRAPHS.values(), "decoder.bin", "MODEL_CARD.md", "manifest.json", "manifest.json.sha256"}
    )


@pytest.mark.parametrize(
    "field, value", [("beam_size", 1_001), ("max_words", 1_001), ("length_penalty", float("nan"))]
)
def test_searches_that_cannot_work_are_no_options(field: str, value: float) -> None:
    with pytest.raises(
        ConfigError, match=r"at least 1 and at most 1000, but is 1001|at least -10 and at most 10, but is nan"
    ):
        DecodeOptions(**{field: value})  # type: ignore[arg-type]
