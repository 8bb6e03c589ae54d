"""The graphs of a captioner with its encoder, ready to be written in any precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from distilcap.encoders.base import Encoder
from distilcap.encoders.graph import export_encoder
from distilcap.encoders.registry import create_encoder
from distilcap.errors import DataError
from distilcap.export.onnx.graphs import export_encode, export_step
from distilcap.export.onnx.greedy import greedy_graph
from distilcap.export.onnx.quantize import quantize_encoder
from distilcap.export.onnx.weights import SharedWeights, store_weights
from distilcap.files import write_bytes
from distilcap.models.weights import TrainedCaptioner
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import GRAPHS, WEIGHTS
from distilcap.runtime.pixels import Bytes, Preprocessing, normalise

__all__ = ["PRECISIONS", "Parts", "load_encoder"]

TUNED = "encoder-tuned.safetensors"
PRECISIONS = {
    "float32": ("float32", "float32"),
    "float16": ("float16", "float16"),
    "int8": ("int8", "int8"),
    "int8-static": ("static", "int8"),
}
"""How the encoder and the decoder keep their weights.

Small weights are for disk and download: they compute in float32. The "static" encoder computes in int8.
"""


def load_encoder(run: Path, features: Mapping[str, Any]) -> Encoder:
    """The encoder whose features a captioner reads: the run's own if it tuned it, or the published encoder.

    Raises:
        DataError: the recipe names no encoder.
        MissingError: its weights are not installed.
    """
    if (run / TUNED).is_file():
        return create_encoder(str(run / TUNED))
    try:
        name, form, pictures = features["encoder"], features["form"], features["preprocessing"]
        size, decoding = pictures["size"], pictures.get("decoding", "whole")
        regions = int(features["regions"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(
            f"{run}: the recipe of its features names no encoder; it cannot be exported."
        ) from None
    encoder = create_encoder(name, size=size, form=form, decoding=decoding)
    if encoder.regions == regions:
        return encoder
    return create_encoder(name, size=size, form=form, regions=regions, decoding=decoding)


@dataclass(frozen=True)
class Parts:
    """Float32 graphs, by the names of `GRAPHS`.

    Attributes:
        state: width of each tensor of the captioner's state.
        memory: the number of tensors that `encode` gives.
        preprocessing: of the encoder's pictures.
    """

    graphs: dict[str, onnx.ModelProto]
    state: tuple[int, ...]
    memory: int
    preprocessing: Preprocessing

    @staticmethod
    def trace(encoder: Encoder, trained: TrainedCaptioner, options: DecodeOptions) -> Parts:
        """Trace both networks; takes about ten seconds, most of it for the encoder."""
        captioner, words = trained.captioner, len(trained.vocabulary)
        encode, step = export_encode(captioner, encoder.regions), export_step(captioner, encoder.regions)
        state = tuple(
            value.type.tensor_type.shape.dim[2].dim_value
            for value in step.graph.input
            if value.name.startswith("state_")
        )
        graphs = {"encoder": export_encoder(encoder), "encode": encode, "step": step}
        graphs["greedy"] = greedy_graph(encode, step, state, words, options)
        return Parts(graphs, state, len(encode.graph.output), encoder.preprocessing)

    def save(
        self, folder: Path, precision: str, calibration: Callable[[], Iterable[Bytes]] = lambda: ()
    ) -> None:
        """Write the graphs and the weights that the decoder's three share.

        Args:
            folder: made if missing.
            precision: one of `PRECISIONS`.
            calibration: gives pictures (S, S, 3), for an encoder in int8.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shared = SharedWeights(WEIGHTS)
        encoder, decoder = PRECISIONS[precision]
        for name, graph in self.graphs.items():
            if name != "encoder":
                stored = store_weights(graph, decoder, shared)
            else:
                pictures = (normalise(image[None], self.preprocessing) for image in calibration())
                stored = (
                    quantize_encoder(graph, pictures)
                    if encoder == "static"
                    else store_weights(graph, encoder, pictures=pictures)
                )
            write_bytes(folder / GRAPHS[name], stored.SerializeToString(deterministic=True))
        shared.save(folder)
