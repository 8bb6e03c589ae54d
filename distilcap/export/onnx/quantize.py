"""Static int8 for an encoder: weights and activations in 8 bits, ranges measured on training images.

Jacob et al. 2018 (arXiv 1712.05877), as ONNX Runtime's quantizer does it: a scale for each output channel of
weights, one scale and zero point for each activation.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from distilcap.export.folders import scratch_folder

__all__ = ["quantize_encoder"]


class _Reader:
    """Gives batches one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, batches: Iterable[NDArray[np.float32]]) -> None:
        self.batches: Iterator[NDArray[np.float32]] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError


def quantize_encoder(encoder: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> onnx.ModelProto:
    """Quantize an encoder's graph.

    Args:
        encoder: `pixels` to `features` and `mask`, in float32.
        batches: normalised pixels (B, 3, S, S) to find the ranges of activations on.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    logger = logging.getLogger()
    level, usual = logger.level, tempfile.tempdir
    logger.setLevel(logging.ERROR)  # it recommends a preprocessing that the exporter has done
    try:
        with scratch_folder() as scratch:
            tempfile.tempdir = str(scratch)  # ONNX Runtime makes temporary folders of its own
            output = scratch / "quantized.onnx"
            quantize_static(
                encoder,
                output,
                _Reader(batches),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
            return onnx.load(output)
    finally:
        tempfile.tempdir = usual
        logger.setLevel(level)
