"""Programs for phones: the encoder and the captioner for ExecuTorch, lowered to XNNPACK.

Two files beside a bundle's graphs: `encoder.pte` (`forward`: pixels to features and mask) and `decoder.pte`
(`encode`: features and mask to memory; `step`: tokens, state, memory to logits and state), for one image and
up to `MOST_CAPTIONS` hypotheses. ExecuTorch has no loop, so the caller loops; examples/ show how.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distilcap.encoders.base import Encoder
from distilcap.encoders.graph import foldable_encoder
from distilcap.errors import BundleError, ConfigError, MissingError
from distilcap.export.onnx.graphs import EncodeGraph, StepGraph
from distilcap.files import write_bytes
from distilcap.models.captioner import Captioner
from distilcap.models.fast import plain
from distilcap.runtime.bundle import Bundle, Seen
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.pixels import Bytes, normalise
from distilcap.runtime.search import Arrays, Floats, Ids, SearchResult
from distilcap.shapes import Regions
from distilcap.shown import first_line

__all__ = ["MOST_CAPTIONS", "PROGRAMS", "PhoneBundle", "check_programs", "step_program", "write_programs"]

PROGRAMS = {"encoder": "encoder.pte", "decoder": "decoder.pte"}
MOST_CAPTIONS = 8


def check_programs(decode: DecodeOptions) -> None:
    """Make sure that programs can be written, and search so.

    Raises:
        MissingError: ExecuTorch is not installed.
        ConfigError: the beam is wider than `MOST_CAPTIONS`.
    """
    _require()
    if decode.beam_size > MOST_CAPTIONS:
        raise ConfigError(
            f"`beam_size` must be at most {MOST_CAPTIONS} for ExecuTorch, but is {decode.beam_size}."
        )


def write_programs(encoder: Encoder, captioner: Captioner, folder: Path) -> None:
    """Write both programs, in float32, into `folder`.

    Raises:
        MissingError: ExecuTorch is not installed.
        BundleError: it cannot lower a program.
    """
    _require()
    size, captioner = encoder.preprocessing.size, plain(captioner)
    pixels = torch.randn(1, 3, size, size)
    with _quiet(), torch.no_grad():
        seen = foldable_encoder(encoder)
        write_bytes(folder / PROGRAMS["encoder"], _lowered({"forward": torch.export.export(seen, (pixels,))}))
        regions = Regions.full(torch.randn(1, encoder.regions, captioner.region_dim))
        programs = {
            "encode": torch.export.export(EncodeGraph(captioner), (regions.features, regions.mask)),
            "step": step_program(captioner, regions),
        }
        write_bytes(folder / PROGRAMS["decoder"], _lowered(programs))


def step_program(captioner: Captioner, regions: Regions) -> torch.export.ExportedProgram:
    """The step of a plain captioner for one image (1, R, D), the number of hypotheses free.

    ExecuTorch 1.5.1 fixes that number again where an operation gives a list of tensors (`chunk`, `split`,
    `unbind`) whose first size it is: its verifier takes such a tensor's length. Slices do not.
    """
    memory = tuple(tensor.clone() for tensor in captioner.encode(regions))
    state = tuple(torch.randn_like(tensor) for tensor in captioner.initial_state(memory, 3))
    captions = torch.export.Dim("captions", min=1, max=MOST_CAPTIONS)
    shapes: Any = ({1: captions}, tuple({1: captions} for _ in state), tuple({} for _ in memory))
    tokens = torch.ones(1, 3, dtype=torch.int64)
    return torch.export.export(StepGraph(captioner), (tokens, state, memory), dynamic_shapes=shapes)


def _lowered(programs: dict[str, Any]) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    partitioners = {name: [XnnpackPartitioner()] for name in programs}
    try:
        lowered = to_edge_transform_and_lower(programs, partitioner=partitioners).to_executorch()
    except Exception as error:  # ExecuTorch raises classes of its own, and Exception itself
        raise BundleError(
            f"ExecuTorch cannot lower {' and '.join(programs)} of this captioner ({first_line(error)}); "
            "leave out `--executorch`, or take another family."
        ) from None
    return bytes(lowered.buffer)


class PhoneBundle(Bundle):
    """A bundle run by its ExecuTorch programs, one image at a time, as a phone does."""

    def _method(self, program: str, method: str) -> Any:
        if not hasattr(self, "_programs"):
            _require()
            from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
            from executorch.runtime import Runtime

            _unsafe_reset_threadpool(self.threads)  # "unsafe" while a program runs; none does yet
            runtime = Runtime.get()
            self._programs: dict[str, Any] = {}
            for name, file in PROGRAMS.items():
                try:
                    self._programs[name] = runtime.load_program(self.folder / file)
                except Exception as error:  # ExecuTorch raises classes of its own, FileNotFoundError too
                    raise BundleError(
                        f"{self.folder / file}: cannot be loaded ({first_line(error)})."
                    ) from None
            self._methods: dict[str, Any] = {}
        if method not in self._methods:
            self._methods[method] = self._programs[program].load_method(method)
        return self._methods[method]

    def see(self, pixels: Bytes, names: Sequence[str] = ()) -> Seen:
        """See `Bundle.see`."""
        inputs = torch.from_numpy(normalise(pixels, self.manifest.preprocessing))
        method = self._method("encoder", "forward")
        seen = [[np.array(tensor) for tensor in method.execute((pixel[None],))] for pixel in inputs]
        return np.concatenate([tensor[0] for tensor in seen]), np.concatenate([tensor[1] for tensor in seen])

    def encode(self, seen: Seen) -> Arrays:
        """See `Bundle.encode`."""
        features, mask = torch.from_numpy(seen[0]), torch.from_numpy(seen[1])
        method = self._method("decoder", "encode")
        return tuple(np.array(tensor) for tensor in method.execute((features, mask)))

    def step(
        self, tokens: Ids, state: Arrays, memory: Arrays, names: Sequence[str] = ()
    ) -> tuple[Floats, Arrays]:
        """See `Bundle.step`; at most `MOST_CAPTIONS` hypotheses."""
        inputs = [torch.from_numpy(np.ascontiguousarray(tensor)) for tensor in (tokens, *state, *memory)]
        logits, *after = (np.array(tensor) for tensor in self._method("decoder", "step").execute(inputs))
        return logits, tuple(after)

    def greedy(self, seen: Seen, names: Sequence[str] = ()) -> SearchResult:
        """See `Bundle.greedy`; here the loop is Python's."""
        return self.search(seen, replace(self.manifest.decode, beam_size=1, length_penalty=0.0), names)


def _require() -> None:
    try:
        import executorch  # noqa: F401
    except ImportError:
        raise MissingError(
            "ExecuTorch is needed for this: `pip install 'distilcap[train,export,executorch]'`, best in an "
            "environment of its own."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
