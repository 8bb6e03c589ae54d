"""Captions from a bundle with ONNX Runtime, numpy and Pillow: no PyTorch.

from distilcap.runtime.bundle import Bundle
print(Bundle.open(Path("bundle")).caption(Path("photo.jpg"))[0])
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.errors import BundleError
from distilcap.runtime.calibration import mean_log_prob
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.graphs import Shape, check_names, load_session, run_graph
from distilcap.runtime.manifest import GRAPHS, WEIGHTS, Manifest, read_listed, read_manifest
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.runtime.search import Arrays, Floats, Ids, SearchResult, search

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
        confidence: how often such captions are right (see `runtime.calibration`), 0 to 1; None where the
            bundle has no calibration. It was fitted on best captions.
    """

    text: str
    log_prob: float
    tokens: tuple[int, ...]
    confidence: float | None = None

    @property
    def mean_log_prob(self) -> float:
        """See `runtime.calibration.mean_log_prob`."""
        return mean_log_prob(self.log_prob, len(self.tokens))


class Bundle:
    """An opened bundle; its graphs are loaded when first used, or by `session` before.

    Attributes:
        folder: where it lies; absolute, since a program may change its working directory.
        manifest: what it holds.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int, verify: bool = True) -> None:
        self.folder, self.manifest, self.threads = folder.absolute(), manifest, threads
        self._verify = verify
        self._sessions: dict[str, InferenceSession] = {}
        self._loading = threading.Lock()

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1, verify: bool = True) -> Self:
        """Open a bundle.

        Args:
            folder: as `distilcap export` wrote it.
            threads: of each operation.
            verify: check all files against the manifest's checksums, now and when a graph is loaded of them:
                they may have been replaced since.

        Raises:
            BundleError: missing, damaged or of a newer version; one line that names the file.
        """
        return cls(folder, read_manifest(folder, verify), threads, verify)

    def session(self, graph: str) -> InferenceSession:
        """The ONNX Runtime session of one of `GRAPHS`.

        Raises:
            BundleError: the graph cannot be loaded, was damaged since the bundle was opened, or is another
                than the manifest says.
        """
        with self._loading:
            if graph not in self._sessions:
                path = self.folder / GRAPHS[graph]
                session = load_session(
                    path, self.threads, self._read(path.name), {WEIGHTS: self._read(WEIGHTS)}
                )
                check_names(path, session, *self._names(graph))
                self._sessions[graph] = session
            return self._sessions[graph]

    def _read(self, name: str) -> bytes:
        listed = name in self.manifest.files  # a stranger's bundle may have its weights in the graphs
        return read_listed(self.folder, self.manifest, name, self._verify) if listed else b""

    def _names(self, graph: str) -> tuple[list[str], list[str]]:
        """What a graph takes, and what it gives."""
        states, memory = range(len(self.manifest.state)), range(self.manifest.memory)
        memories = [f"memory_{index}" for index in memory]
        return {
            "encoder": (["pixels"], ["features", "mask"]),
            "encode": (["features", "mask"], memories),
            "step": (
                ["tokens", *(f"state_{index}" for index in states), *memories],
                ["logits", *(f"next_{index}" for index in states)],
            ),
            "greedy": (["features", "mask"], ["tokens", "log_probs"]),
        }[graph]

    def _run(self, graph: str, inputs: dict[str, Any], *expected: Shape) -> list[NDArray[Any]]:
        """Run a graph, and hold what it gives against the types and shapes it should have."""
        path = self.folder / GRAPHS[graph]
        return run_graph(path, self.session(graph), inputs, self._names(graph)[1], expected)

    def _refuse_nan(self, graph: str, values: Floats, names: Sequence[str] = ()) -> None:
        """Make sure that what came of a graph, (B, …), is finite; else name the image, if names are known."""
        finite = np.isfinite(values)
        if finite.all():
            return
        row = int(finite.reshape(len(values), -1).all(axis=1).argmin())
        image = f" for {names[row]}" if names else ""
        raise BundleError(
            f"{self.folder / GRAPHS[graph]}: it gave NaN or infinity{image}; "
            "its weights are damaged, export the bundle anew."
        )

    def see(self, pixels: Bytes, names: Sequence[str] = ()) -> Seen:
        """Run the encoder on images (B, S, S, 3), bytes; `names` are for errors.

        Raises:
            BundleError: it gives NaN, or something else than the manifest says.
        """
        seen = [
            self.see_normalised(
                normalise(pixels[at : at + 1], self.manifest.preprocessing), names[at : at + 1]
            )
            for at in range(len(pixels))  # hardly slower than together, and activations of one image alone
        ]
        features, masks = zip(*seen, strict=True)
        return np.concatenate(features), np.concatenate(masks)

    def see_normalised(self, pixels: Floats, names: Sequence[str] = ()) -> Seen:
        """`see`, from pixels (B, 3, S, S) that are normalised already."""
        shape = (len(pixels), self.manifest.regions)
        expected = (np.float32, (*shape, self.manifest.dim)), (np.bool_, shape)
        features, mask = self._run("encoder", {"pixels": pixels}, *expected)
        self._refuse_nan("encoder", features, names)
        return features, mask

    def encode(self, seen: Seen) -> Arrays:
        """Compute all that does not depend on words."""
        inputs = {"features": seen[0], "mask": seen[1]}
        return tuple(self._run("encode", inputs, *[(None, (len(seen[0]), ...))] * self.manifest.memory))

    def initial_state(self, memory: Arrays, captions: int) -> Arrays:
        """The state before the first word of `captions` captions (K) of each image: zeros (B, K, H)."""
        images = len(memory[0])
        return tuple(np.zeros((images, captions, width), np.float32) for width in self.manifest.state)

    def step(
        self, tokens: Ids, state: Arrays, memory: Arrays, names: Sequence[str] = ()
    ) -> tuple[Floats, Arrays]:
        """Read one word of each caption (B, K); give logits (B, K, V) and the state after it.

        Raises:
            BundleError: the logits are not finite, or something else than the manifest says.
        """
        inputs: dict[str, Any] = {"tokens": tokens}
        inputs |= {f"state_{index}": tensor for index, tensor in enumerate(state)}
        inputs |= {f"memory_{index}": tensor for index, tensor in enumerate(memory)}
        widths = (len(self.manifest.vocabulary), *self.manifest.state)
        expected = [(np.float32, (*tokens.shape, width)) for width in widths]
        logits, *state_after = self._run("step", inputs, *expected)
        self._refuse_nan("step", logits.max(axis=-1), names)  # NaN and infinity are the highest
        return logits, tuple(state_after)

    def search(
        self, seen: Seen, options: DecodeOptions | None = None, names: Sequence[str] = ()
    ) -> SearchResult:
        """Find the best captions of images; None takes the bundle's own options, `names` are for errors.

        Raises:
            BundleError: see `step`; or no caption of an image has a probability.
        """
        options = options or self.manifest.decode
        memory = self.encode(seen)

        def step(tokens: Ids, state: Arrays, kept: Arrays) -> tuple[Floats, Arrays]:
            *memory, rows = kept
            return self.step(tokens, state, tuple(memory), [names[row] for row in rows] if names else ())

        # Images leave the search as their captions end; each one's place stays with its memory.
        state, rows = self.initial_state(memory, options.beam_size), np.arange(len(seen[0]))
        result = search(step, state, (*memory, rows), options)
        self._refuse_nan("step", result.log_probs[:, 0], names)
        return result

    def greedy(self, seen: Seen, names: Sequence[str] = ()) -> SearchResult:
        """Greedy captions (B, 1, T) in a single run of one graph; T is the longest of them.

        The graph holds the words that the bundle never writes; `search` can leave out more.

        Raises:
            BundleError: a log-probability is not finite, or a word is none of the vocabulary or blocked.
        """
        inputs, images = {"features": seen[0], "mask": seen[1]}, len(seen[0])
        expected = (np.int64, (images, None)), (np.float32, (images,))
        tokens, log_probs = self._run("greedy", inputs, *expected)
        self._refuse_nan("greedy", log_probs, names)
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(self.manifest.vocabulary):
            raise BundleError(f"{self.folder / GRAPHS['greedy']}: it writes words that the manifest lacks.")
        if np.isin(tokens, [word for word, _ in self.manifest.decode.blocked]).any():
            raise BundleError(
                f"{self.folder / GRAPHS['greedy']}: it writes words that the manifest says are never written."
            )
        return SearchResult(tokens[:, None], log_probs[:, None])

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
            BundleError: the bundle gives NaN for it, or its graphs are not what the manifest says.
        """
        options = self.manifest.decode
        if beam is not None:
            options = dataclasses.replace(options, beam_size=beam)
        return [caption.text for caption in self.alternatives(photo, options)[:n_best]]

    def alternatives(self, photo: Path | bytes, options: DecodeOptions | None = None) -> list[BundleCaption]:
        """The captions of one image that the beam ended with, best first.

        Raises:
            DataError: the image cannot be read.
            BundleError: the bundle gives NaN for it, or its graphs are not what the manifest says.
        """
        pixels = load_pixels(photo, self.manifest.preprocessing)
        names = [_name(photo)]
        return self.captions_of(self.search(self.see(pixels[None], names), options, names))[0]

    def greedy_caption(self, photo: Path | bytes) -> BundleCaption:
        """The greedy caption of one image, by the single greedy graph.

        Raises:
            DataError: the image cannot be read.
            BundleError: the bundle gives NaN for it, or its graphs are not what the manifest says.
        """
        pixels, names = load_pixels(photo, self.manifest.preprocessing), [_name(photo)]
        return self.captions_of(self.greedy(self.see(pixels[None], names), names))[0][0]

    def captions_of(self, result: SearchResult) -> list[list[BundleCaption]]:
        """The captions of a search, as text."""
        return [
            [self._caption(*both) for both in zip(beam.tolist(), log_probs.tolist(), strict=True)]
            for beam, log_probs in zip(result.tokens, result.log_probs, strict=True)
        ]

    def _caption(self, ids: Sequence[int], log_prob: float) -> BundleCaption:
        text, calibration = self.manifest.vocabulary.decode(ids), self.manifest.calibration
        caption = BundleCaption(text, log_prob, tuple(token for token in ids if token))
        if calibration is None:
            return caption
        return dataclasses.replace(caption, confidence=calibration.confidence(caption.mean_log_prob))


def _name(photo: Path | bytes) -> str:
    return str(photo) if isinstance(photo, Path) else "image"
