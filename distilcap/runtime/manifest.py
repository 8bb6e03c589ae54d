"""`manifest.json`: what a bundle holds, how it was made, and the checksums that prove it whole.

The manifest lists every other file of the bundle with its SHA-256; `manifest.json.sha256` vouches for the
manifest itself, in the form that `sha256sum --check` reads. No PyTorch here: the runtime reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilcap.errors import BundleError, ConfigError, DataError
from distilcap.files import bare_name, parse_json, sha256_of, write_checksum, write_json
from distilcap.runtime.calibration import Calibration
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.fields import Fields, described
from distilcap.runtime.limits import (
    MAX_BYTES,
    MAX_DIM,
    MAX_MANIFEST_BYTES,
    MAX_MEMORY,
    MAX_REGIONS,
    MAX_SEARCHED,
    MAX_SIZE,
    MAX_STATE,
    MAX_STATES,
    MAX_VOCABULARY,
)
from distilcap.runtime.pixels import DECODINGS, Preprocessing
from distilcap.text.tokenizers import PTB
from distilcap.text.vocabulary import Vocabulary

__all__ = [
    "CARD",
    "CHECKSUM",
    "FORMAT",
    "GRAPHS",
    "MANIFEST",
    "VERSION",
    "WEIGHTS",
    "Manifest",
    "manifest_content",
    "read_listed",
    "read_manifest",
    "write_manifest",
]

FORMAT, VERSION = "distilcap bundle", 2
"""Version 1 had neither words that are never written nor a calibration; it is still read."""

MANIFEST, CHECKSUM, CARD = "manifest.json", "manifest.json.sha256", "MODEL_CARD.md"
GRAPHS = {"encoder": "encoder.onnx", "encode": "encode.onnx", "step": "step.onnx", "greedy": "greedy.onnx"}
"""Pixels to regions, regions to memory, one step of the captioner, and regions to a greedy caption."""

WEIGHTS = "decoder.bin"
"""The weights of the last three graphs, which name it as their external data."""


@dataclass(frozen=True)
class Manifest:
    """All that a runtime must know beside the graphs.

    Attributes:
        precision: of the weights on disk: "float32", "float16" or "int8".
        preprocessing: how a picture becomes the encoder's input.
        vocabulary: the words; an id is an index. Beside them a bundle names their `tokenizer`, and says
            whether captions are `spaced` (see `text.unspaced.join_words`); without, English and spaced.
        regions: most regions of an image (R). dim: features of a region (D).
        state: width of each tensor of the captioner's state (B, K, width), zeros at first.
        memory: the number of tensors that `encode` gives.
        decode: how to search by default, and which words are never written.
        calibration: of the captions' confidence; None where it was not fitted.
        model: architecture, options, encoder and its recipe.
        scores: of this bundle, with signatures and what they were measured on; empty where nothing was.
        licence: of the weights, by part.
        files: SHA-256 and bytes of each other file, by name.
        made_by: the program and its version.
    """

    precision: str
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    regions: int
    dim: int
    state: tuple[int, ...]
    memory: int
    decode: DecodeOptions
    model: Mapping[str, Any]
    calibration: Calibration | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    licence: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; `from_json` reads it back equal."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain |= {"preprocessing": self.preprocessing.to_json()}
        plain |= {"decode": self.decode.to_json(self.vocabulary)}
        plain |= {"calibration": self.calibration and self.calibration.to_json()}
        plain |= {"vocabulary": list(self.vocabulary.words), "state": list(self.state)}
        plain |= {"tokenizer": self.vocabulary.tokenizer, "spaced": self.vocabulary.spaced}
        return {"format": FORMAT, "version": VERSION} | plain

    @staticmethod
    def from_json(content: Any, where: str | Path = MANIFEST) -> Manifest:
        """Read what `to_json` gave, in this version or an older one.

        Raises:
            BundleError: a field is missing, of another type or out of its range; one line that names it.
        """
        fields = Fields(content, where)
        state = fields.integers("state", MAX_STATES, 1, MAX_STATE)
        version = fields.integer("version", 1, VERSION)
        words = fields.texts("vocabulary", MAX_VOCABULARY)
        tokenizer = fields.text("tokenizer") if version > 1 or "tokenizer" in fields.content else PTB
        spaced = fields.boolean("spaced") if version > 1 or "spaced" in fields.content else True
        calibrated = version > 1 and fields.has("calibration")
        try:
            vocabulary = Vocabulary(words, tokenizer, spaced)
        except ConfigError as error:
            raise BundleError(f"{where}: {error}") from None
        decode = DecodeOptions.from_json(fields.object("decode"), vocabulary, version)
        if sum(state) > MAX_STATE or decode.beam_size * (len(words) + sum(state)) > MAX_SEARCHED:
            raise BundleError(
                f"{where}: a state of {sum(state):,} numbers and {len(words):,} words, `decode.width` "
                f"{decode.beam_size} times, are more than a search can hold."
            )
        model, licence = fields.object("model"), fields.object("licence")
        model.text("architecture")
        for name in ("encoder", "weights"):
            model.object("encoder").text(name)
        try:
            return Manifest(
                precision=fields.text("precision"),
                preprocessing=_preprocessing(fields.object("preprocessing")),
                vocabulary=vocabulary,
                regions=fields.integer("regions", 1, MAX_REGIONS),
                dim=fields.integer("dim", 1, MAX_DIM),
                state=state,
                memory=fields.integer("memory", 1, MAX_MEMORY),
                decode=decode,
                calibration=Calibration.from_json(fields.object("calibration")) if calibrated else None,
                model=model.content,
                scores=fields.object("scores").content,
                licence={part: licence.text(part) for part in licence.content},
                files=_files(fields.object("files")),
                made_by=fields.text("made_by"),
            )
        except (ConfigError, DataError) as error:
            raise BundleError(f"{where}: {error}") from None

    def megabytes(self) -> float:
        """Size of the listed files, in megabytes (10^6 bytes)."""
        return float(sum(file["bytes"] for file in self.files.values())) / 1e6


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """List the files of `folder` in the manifest and write it there; returns it completed."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name not in (MANIFEST, CHECKSUM)
    }
    complete = dataclasses.replace(manifest, files=files)
    write_json(folder / MANIFEST, complete.to_json())
    write_checksum(folder / MANIFEST)
    return complete


def manifest_content(text: bytes, where: str | Path) -> Any:
    """The JSON of a manifest whose format and version this program reads; `Manifest.from_json` takes it.

    Raises:
        BundleError: no manifest, a damaged one, or one of a newer version.
    """
    try:
        content = parse_json(text, where)
        named, version = content["format"], content["version"]
    except (DataError, KeyError, TypeError):
        raise BundleError(f"{where}: damaged or not a bundle's manifest; copy the bundle anew.") from None
    if named != FORMAT:
        raise BundleError(f"{where}: not a bundle's manifest: its format is {described(named)}.")
    if Fields(content, where).integer("version", 1, 1_000_000) > VERSION:
        raise BundleError(
            f"{where}: of version {version}, but this program reads {VERSION}; update distilcap."
        )
    return content


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read a bundle's manifest and, by default, check every file's checksum.

    Whatever the folder holds, nothing outside is read: a bundle with a link, a pipe or a file name that
    leads out of it is refused, and so are fields that no program could work with.

    Raises:
        BundleError: not a bundle, of a newer version, or a file is missing or damaged; the message names it.
    """
    path = folder / MANIFEST
    if not path.is_symlink() and not path.is_file():
        raise BundleError(
            f"{folder}: not a bundle (it has no {MANIFEST}); make a bundle by `distilcap export`."
        )
    _check_folder(folder)
    text = _read(path, MAX_MANIFEST_BYTES)
    content = manifest_content(text, path)
    if verify and _read(folder / CHECKSUM, 1_000).split()[:1] != [hashlib.sha256(text).hexdigest().encode()]:
        raise _damaged(path)
    manifest = Manifest.from_json(content, path)
    _check_files(folder, manifest, verify)
    return manifest


def read_listed(folder: Path, manifest: Manifest, name: str, verify: bool = True) -> bytes:
    """Read a file that the manifest lists: what is checked is what is given, whatever happens to the file.

    Raises:
        BundleError: it is missing, or damaged since the manifest was read.
    """
    content = _read(folder / name, MAX_BYTES)
    if verify and hashlib.sha256(content).hexdigest() != manifest.files[name]["sha256"]:
        raise _damaged(folder / name)
    return content


def _damaged(path: Path) -> BundleError:
    return BundleError(f"{path}: damaged (its checksum differs); copy the bundle anew.")


def _preprocessing(content: Fields) -> Preprocessing:
    content.only("size", "mean", "std", "resize", "filter", "decoding")
    content.choice("resize", "squash")
    mean, std = content.numbers("mean", 3, -1e3, 1e3), content.numbers("std", 3, 1e-6, 1e6)
    return Preprocessing(
        size=content.integer("size", 1, MAX_SIZE),
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        filter=content.choice("filter", "bicubic", "bilinear"),
        decoding=content.choice("decoding", *DECODINGS) if "decoding" in content.content else "whole",
    )


def _files(content: Fields) -> dict[str, dict[str, Any]]:
    """Checksums and sizes by file name: none may lead out of the folder."""
    files = {}
    for name in content.content:
        if len(name) > 255:
            content.refuse("files", "of names of at most 255 characters", name)
        entry = content.object(bare_name(name, content.where))
        entry.only("sha256", "bytes")
        digest = entry.text("sha256")
        if not re.fullmatch("[0-9a-f]{64}", digest):
            entry.refuse(f"files.{name}.sha256", "64 hexadecimal digits", digest)
        files[name] = {"sha256": digest, "bytes": entry.integer("bytes", 0, MAX_BYTES)}
    return files


def _check_folder(folder: Path) -> None:
    """Make sure that a folder holds regular files only, at any depth.

    A link may lead anywhere, a pipe never ends, and a graph can name files that the manifest does not.
    """
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise BundleError(f"{path}: not a regular file; a bundle may hold no link, pipe or device.")


def _read(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            raise BundleError(f"{path}: larger than {most:,} bytes; this is not a bundle's.")
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: missing; copy the bundle anew.") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}).") from None


def _check_files(folder: Path, manifest: Manifest, verify: bool) -> None:
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: missing; copy the bundle anew.")
        if not verify:
            continue
        try:
            whole = path.stat().st_size == expected["bytes"] and sha256_of(path) == expected["sha256"]
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}).") from None
        if not whole:
            raise _damaged(path)
    if missing := sorted(set(GRAPHS.values()) - set(manifest.files)):
        raise BundleError(f"{folder}: the manifest lists no {missing[0]}; export the bundle anew.")
