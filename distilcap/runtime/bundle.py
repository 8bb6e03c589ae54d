"""Captions from a bundle with ONNX Runtime, numpy and Pillow: no PyTorch.

from distilcap.runtime.bundle import Bundle
print(Bundle.open(Path("bundle")).caption(Path("photo.jpg"))[0])
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.errors import BundleError, MissingError
from distilcap.runtime.manifest import GRAPHS, DecodeOptions, Manifest, read_manifest
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.runtime.search import Arrays, Floats, Found, Ids, search

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Bundle", "BundleCaption", "Seen"]

Seen: TypeAlias = tuple[Floats, NDArray[np.bool_]]
"""What an encoder saw: features (B, R, D), and a mask (B, R) that is True where a region is real."""


@dataclass(frozen=True)
class BundleCaption:
    """One caption of one image.

    Attributes:
        text: its words.
        log_prob: its log-probability with the end token, in nats.
        tokens: its ids, the end token included where it ended by itself.
    """

    text: str
    log_prob: float
    tokens: tuple[int, ...]


class Bundle:
    """An opened bundle; its graphs are loaded when first used.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        self.folder, self.manifest, self.threads = folder, manifest, threads
        self._sessions: dict[str, InferenceSession] = {}

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1, verify: bool = True) -> Self:
        """Open a bundle.

        Args:
            folder: as `distilcap export` wrote it.
            threads: of each operation.
            verify: check all files against the manifest's checksums first.

        Raises:
            BundleError: missing, damaged or of a newer version; one line that names the file.
        """
        return cls(folder, read_manifest(folder, verify), threads)

    def session(self, graph: str) -> InferenceSession:
        """The ONNX Runtime session of one of `GRAPHS`."""
        if graph not in self._sessions:
            self._sessions[graph] = _load(self.folder / GRAPHS[graph], self.threads)
        return self._sessions[graph]

    def see(self, pixels: Bytes) -> Seen:
        """Run the encoder on images (B, S, S, 3), bytes."""
        inputs = {"pixels": normalise(pixels, self.manifest.preprocessing)}
        features, mask = self.session("encoder").run(["features", "mask"], inputs)
        return features, mask

    def encode(self, seen: Seen) -> Arrays:
        """Compute all that does not depend on words."""
        names = [f"memory_{place}" for place in range(self.manifest.memory)]
        return tuple(self.session("encode").run(names, {"features": seen[0], "mask": seen[1]}))

    def initial_state(self, memory: Arrays, captions: int) -> Arrays:
        """The state before the first word of `captions` captions (K) of each image: zeros (B, K, H)."""
        images = len(memory[0])
        return tuple(np.zeros((images, captions, width), np.float32) for width in self.manifest.state)

    def step(self, tokens: Ids, state: Arrays, memory: Arrays) -> tuple[Floats, Arrays]:
        """Read one word of each caption (B, K); give logits (B, K, V) and the state after it."""
        inputs: dict[str, Any] = {"tokens": tokens}
        inputs |= {f"state_{place}": tensor for place, tensor in enumerate(state)}
        inputs |= {f"memory_{place}": tensor for place, tensor in enumerate(memory)}
        logits, *state_after = self.session("step").run(None, inputs)
        return logits, tuple(state_after)

    def search(self, seen: Seen, options: DecodeOptions | None = None) -> Found:
        """Find the best captions of images; None takes the bundle's own options."""
        options = options or self.manifest.decode
        memory = self.encode(seen)
        return search(self.step, self.initial_state(memory, options.width), memory, options)

    def greedy(self, seen: Seen) -> Found:
        """Greedy captions (B, 1, T) in a single run of one graph; T is the longest of them."""
        inputs = {"features": seen[0], "mask": seen[1]}
        tokens, log_probs = self.session("greedy").run(["tokens", "log_probs"], inputs)
        return Found(tokens[:, None], log_probs[:, None])

    def caption(
        self, photo: Path | bytes, *, beam: int | None = None, n_best: int | None = None
    ) -> list[str]:
        """Caption one image file (or its bytes), best caption first; what `alternatives` gives, as text.

        Args:
            photo: any image that Pillow reads.
            beam: hypotheses kept while searching; None takes the bundle's own number.
            n_best: how many captions; None gives the whole beam.

        Raises:
            DataError: the image cannot be read.
        """
        options = self.manifest.decode
        if beam is not None:
            options = dataclasses.replace(options, width=beam)
        return [one.text for one in self.alternatives(photo, options)[:n_best]]

    def alternatives(self, photo: Path | bytes, options: DecodeOptions | None = None) -> list[BundleCaption]:
        """The captions of one image that the beam ended with, best first.

        Raises:
            DataError: the image cannot be read.
        """
        pixels = load_pixels(photo, self.manifest.preprocessing)
        return self.captions_of(self.search(self.see(pixels[None]), options))[0]

    def greedy_caption(self, photo: Path | bytes) -> BundleCaption:
        """The greedy caption of one image, by the single greedy graph.

        Raises:
            DataError: the image cannot be read.
        """
        pixels = load_pixels(photo, self.manifest.preprocessing)
        return self.captions_of(self.greedy(self.see(pixels[None])))[0][0]

    def captions_of(self, found: Found) -> list[list[BundleCaption]]:
        """What was found, as text."""
        words = self.manifest.vocabulary
        return [
            [
                BundleCaption(
                    words.decode(tokens), float(log_prob), tuple(token for token in tokens if token)
                )
                for tokens, log_prob in zip(several.tolist(), log_probs, strict=True)
            ]
            for several, log_probs in zip(found.tokens, found.log_probs, strict=True)
        ]


def _load(path: Path, threads: int) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise MissingError("Bundles need ONNX Runtime: `pip install 'distilcap[runtime]'`.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Each graph has threads of its own: those that spin after their work would hold up the next graph's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise BundleError(f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0]}).") from None
