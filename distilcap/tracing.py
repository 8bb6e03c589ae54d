"""PyTorch modules to ONNX graphs, with free dimensions for images and captions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["EXAMPLES", "OPSET", "to_onnx"]

OPSET = 18
EXAMPLES = (2, 3)
"""Images and captions of the inputs that are traced: neither 0 nor 1, which would be kept as constants."""


def to_onnx(
    module: nn.Module,
    inputs: tuple[Any, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    captions: bool = False,
) -> Any:
    """Trace a module to an `onnx.ModelProto`.

    Args:
        inputs: examples with leading dimensions `EXAMPLES`: (B, …), of tokens and states (B, K, …).
        names, outputs: of the graph's inputs and outputs.
        captions: whether it is a captioner's step, which takes tokens, states and memory.
    """
    free = torch.export.Dim.DYNAMIC

    def dimensions(value: Any, kind: str) -> Any:
        if isinstance(value, tuple):
            return tuple(dimensions(item, kind) for item in value)
        return {0: free, 1: free} if captions and kind != "memory" else {0: free}

    kinds = ["tokens", "state", "memory"] if captions else list(names)
    shapes = tuple(dimensions(value, kind) for value, kind in zip(inputs, kinds, strict=True))
    with _quiet(), torch.no_grad():
        program = torch.export.export(module.eval(), inputs, dynamic_shapes=shapes, strict=False)
        exported = torch.onnx.export(
            program,
            inputs,
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    _name_dimensions(model.graph, captions)
    return model


def _name_dimensions(graph: Any, captions: bool) -> None:
    """Call the free dimensions `images` and `captions`; shapes of inner values are left to the runtime."""
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = "captions" if captions and axis == 1 else "images"
    for node in graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on its own internals from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
