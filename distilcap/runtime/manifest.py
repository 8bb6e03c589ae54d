"""`manifest.json`: what a bundle holds, how it was made, and the checksums that prove it whole.

The manifest lists every other file of the bundle with its SHA-256; `manifest.json.sha256` vouches for the
manifest itself, in the form that `sha256sum --check` reads. No PyTorch here: the runtime reads it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distilcap.errors import BundleError, ConfigError, DataError
from distilcap.files import sha256_of, write_checksum, write_json
from distilcap.runtime.pixels import Preprocessing
from distilcap.text.vocabulary import Vocabulary

__all__ = [
    "FORMAT",
    "GRAPHS",
    "MANIFEST",
    "VERSION",
    "DecodeOptions",
    "Manifest",
    "read_manifest",
    "write_manifest",
]

FORMAT, VERSION = "distilcap bundle", 1
MANIFEST, CHECKSUM = "manifest.json", "manifest.json.sha256"
GRAPHS = {"encoder": "encoder.onnx", "encode": "encode.onnx", "step": "step.onnx", "greedy": "greedy.onnx"}
"""Pixels to regions, regions to memory, one step of the captioner, and regions to a greedy caption."""


@dataclass(frozen=True)
class DecodeOptions:
    """How captions are searched for, from training (`decode.beam.BeamSearch`) to the bundle.

    Attributes:
        width: hypotheses kept per image (K); 1 is greedy decoding.
        max_words: captions stop there, with or without an end token.
        length_penalty: finished captions are ranked by log-probability / length ** length_penalty, the end
            token counted (Wu et al. 2016 use a similar form); 0 ranks by log-probability alone.
        allow_unk: whether `<unk>` may be written.
    """

    width: int = 3
    max_words: int = 20
    length_penalty: float = 0.7
    allow_unk: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"`beam_size` must be at least 1, but is {self.width}.")
        if self.max_words < 1:
            raise ConfigError(f"`max_words` must be at least 1, but is {self.max_words}.")


@dataclass(frozen=True)
class Manifest:
    """All that a runtime must know beside the graphs.

    Attributes:
        precision: of the weights on disk: "float32", "float16" or "int8".
        preprocessing: how a picture becomes the encoder's input.
        vocabulary: the words; an id is a place.
        regions: most regions of an image (R). dim: features of a region (D).
        state: width of each tensor of the captioner's state (B, K, width), zeros at first.
        memory: the number of tensors that `encode` gives.
        decode: how to search unless told otherwise.
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
    scores: Mapping[str, Any] = field(default_factory=dict)
    licence: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    made_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; `from_json` reads it back equal."""
        plain = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        plain |= {"preprocessing": self.preprocessing.to_json(), "decode": dataclasses.asdict(self.decode)}
        plain |= {"vocabulary": list(self.vocabulary.words), "state": list(self.state)}
        return {"format": FORMAT, "version": VERSION} | plain

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` gave; KeyError, TypeError or a `DistilCapError` where it is something else."""
        plain = {one.name: content[one.name] for one in dataclasses.fields(Manifest)}
        plain |= {"preprocessing": Preprocessing.from_json(content["preprocessing"])}
        plain |= {"decode": DecodeOptions(**content["decode"]), "state": tuple(content["state"])}
        return Manifest(**plain | {"vocabulary": Vocabulary(tuple(content["vocabulary"]))})

    def megabytes(self) -> float:
        """Size of the listed files, in megabytes (10^6 bytes)."""
        return float(sum(one["bytes"] for one in self.files.values())) / 1e6


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


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read a bundle's manifest and, unless told otherwise, check every file against it.

    Raises:
        BundleError: not a bundle, of a newer version, or a file is missing or damaged; the message names it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: not a bundle (it has no {MANIFEST}); make one by `distilcap export`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        named, version = content["format"], content["version"]
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path}: damaged or not a bundle's manifest; copy the bundle anew.") from None
    if named != FORMAT:
        raise BundleError(f"{path}: not a bundle's manifest: its format is {named!r}.")
    if not isinstance(version, int) or version > VERSION:
        raise BundleError(
            f"{path}: of version {version}, but this program reads {VERSION}; update distilcap."
        )
    if verify:
        _check_manifest(folder)
    try:
        manifest = Manifest.from_json(content)
    except (KeyError, TypeError, ConfigError, DataError) as error:
        raise BundleError(f"{path}: not a manifest of version {VERSION} ({error}).") from None
    if verify:
        _check_files(folder, manifest)
    return manifest


def _check_manifest(folder: Path) -> None:
    path = folder / CHECKSUM
    if not path.is_file():
        raise BundleError(f"{path}: missing; copy the bundle anew.")
    if path.read_bytes().split()[:1] != [sha256_of(folder / MANIFEST).encode()]:
        raise BundleError(f"{folder / MANIFEST}: damaged (its checksum differs); copy the bundle anew.")


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: missing; copy the bundle anew.")
        if path.stat().st_size != expected["bytes"] or sha256_of(path) != expected["sha256"]:
            raise BundleError(f"{path}: damaged (its checksum differs); copy the bundle anew.")
    if missing := sorted(set(GRAPHS.values()) - set(manifest.files)):
        raise BundleError(f"{folder}: the manifest lists no {missing[0]}; export the bundle anew.")
