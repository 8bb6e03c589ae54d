"""From PyTorch to ONNX: the encoder, the captioner's `encode` and its `step`, each as a graph.

Names and shapes are part of the bundle's format (docs/bundle.md); the leading dimensions, images B and
captions K, are free in every graph.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distilcap.encoders.base import Encoder
from distilcap.models.captioner import Captioner
from distilcap.models.fast import plain
from distilcap.shapes import Regions

__all__ = [
    "OPSET",
    "EncodeGraph",
    "EncoderGraph",
    "StepGraph",
    "export_encode",
    "export_encoder",
    "export_step",
    "fold_batch_norm",
    "foldable_encoder",
]

OPSET = 18
_IMAGES, _CAPTIONS = (
    2,
    3,
)  # of the examples that are traced: neither 0 nor 1, which would be kept as constants


class EncoderGraph(nn.Module):
    """Pixels (B, 3, S, S) to features (B, R, D) and mask (B, R)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        regions = self.encoder(pixels)
        return regions.features, regions.mask


class EncodeGraph(nn.Module):
    """Features (B, R, D) and mask (B, R) to memory."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.captioner = plain(captioner)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        # A mask given through would be input and output at once.
        return tuple(tensor.clone() for tensor in self.captioner.encode(Regions(features, mask)))


class StepGraph(nn.Module):
    """Tokens (B, K), state and memory to logits (B, K, V) and the next state."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.captioner = plain(captioner)

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Tensor, ...]) -> Any:
        """See the class."""
        logits, state = self.captioner.step(tokens, state, memory)
        return (logits, *state)


class _Clip(nn.Module):
    """ReLU6 without in-place operators, which traces in a third of the time."""

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(0, 6)


def fold_batch_norm(module: nn.Module) -> None:
    """Fold each batch normalisation into the convolution defined just before it, in place.

    Half as many nodes to trace. Definition order is call order in most networks; compare the outputs.
    """
    before = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before:
            fused = fuse_conv_bn_eval(getattr(module, before), child)
            setattr(module, before, fused)
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.ReLU6):
            setattr(module, name, _Clip())
        else:
            fold_batch_norm(child)
        before = name if isinstance(child, nn.Conv2d) else ""


def foldable_encoder(encoder: Encoder) -> nn.Module:
    """The encoder as a graph, with batch normalisation folded into convolutions where that is right."""
    network = EncoderGraph(encoder).eval()
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    size = encoder.preprocessing.size
    pixels = torch.randn(1, 3, size, size)
    with torch.no_grad():
        expected, features = network(pixels)[0], folded(pixels)[0]
    # A network that calls its layers in another order stays as it is.
    same = torch.allclose(features, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    return folded if same else network


def export_encoder(encoder: Encoder) -> Any:
    """`pixels` (B, 3, S, S) to `features` (B, R, D) and `mask` (B, R), as an `onnx.ModelProto`."""
    size = encoder.preprocessing.size
    pixels = torch.randn(_IMAGES, 3, size, size)
    return _export(foldable_encoder(encoder), (pixels,), ["pixels"], ["features", "mask"])


def export_encode(captioner: Captioner, regions: int) -> Any:
    """`features` (B, R, D) and `mask` (B, R) to `memory_0` … (B, …)."""
    example = _regions(captioner, regions)
    memory = captioner.encode(example)
    outputs = [f"memory_{index}" for index in range(len(memory))]
    return _export(EncodeGraph(captioner), (example.features, example.mask), ["features", "mask"], outputs)


def export_step(captioner: Captioner, regions: int) -> Any:
    """`tokens` (B, K), `state_0` … (B, K, H), `memory_0` … to `logits` (B, K, V) and `next_0` … ."""
    captioner = plain(captioner)  # whose state has fixed shapes
    memory = tuple(tensor.detach().clone() for tensor in captioner.encode(_regions(captioner, regions)))
    zeros = captioner.initial_state(memory, _CAPTIONS)
    # Tensors of their own: equal tensors would be merged into one input.
    state = tuple(torch.randn_like(tensor) for tensor in zeros)
    tokens = torch.randint(captioner.vocabulary_size, (_IMAGES, _CAPTIONS))
    states, memories = (
        [f"{kind}_{index}" for index in range(count)]
        for kind, count in (("state", len(state)), ("memory", len(memory)))
    )
    outputs = ["logits", *(f"next_{index}" for index in range(len(state)))]
    return _export(
        StepGraph(captioner), (tokens, state, memory), ["tokens", *states, *memories], outputs, captions=True
    )


def _regions(captioner: Captioner, regions: int) -> Regions:
    return Regions.full(torch.randn(_IMAGES, regions, captioner.region_dim))


def _export(
    module: nn.Module,
    inputs: tuple[Any, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    captions: bool = False,
) -> Any:
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
