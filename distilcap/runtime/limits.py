"""The most that a bundle may ask for: what no real captioner needs, and any computer can hold.

A bundle may come from a stranger; a number out of these ranges is refused before memory is set aside for it.
"""

from __future__ import annotations

__all__ = [
    "MAX_BEAM",
    "MAX_BYTES",
    "MAX_CIDER",
    "MAX_DIM",
    "MAX_LENGTH_PENALTY",
    "MAX_LOGIT",
    "MAX_MANIFEST_BYTES",
    "MAX_MEMORY",
    "MAX_REGIONS",
    "MAX_SEARCHED",
    "MAX_SIZE",
    "MAX_STATE",
    "MAX_STATES",
    "MAX_VOCABULARY",
    "MAX_WORDS",
]

MAX_BEAM = 1_000
"""Hypotheses of an image: captions get no better beyond 10, and each costs a row of logits."""

MAX_WORDS = 1_000
"""Words of a caption: one sentence has 10 to 30."""

MAX_LENGTH_PENALTY = 10
"""Exponent of a caption's length: 0 to 1 in use; `MAX_WORDS` to this power is still a finite number."""

MAX_SIZE = 4_096
"""Side of the encoder's input in pixels: 224 to 1,024 in use; the pixels take 200 MB as floats."""

MAX_VOCABULARY = 200_000
"""Words: COCO's captions have 10,000 that occur five times, and whole languages' vocabularies 100,000."""

MAX_STATE = 262_144
"""Numbers of a hypothesis's state, all tensors together: up to 110,592 in use (keys and values of 24 words in
the big Transformer). How many hypotheses there may be of such size, `MAX_SEARCHED` says."""

MAX_SEARCHED = 1 << 25
"""Numbers of an image's logits and states, all hypotheses together: 130 MB, and a search holds a few such."""

MAX_STATES = MAX_MEMORY = 256
"""Tensors of the state, and of what `encode` gives: each is an input of the graph."""

MAX_REGIONS, MAX_DIM = 65_536, 65_536
"""Regions of an image, and features of a region: 36 to 1,024, and some thousand, in use."""

MAX_CIDER, MAX_LOGIT = 10, 500
"""CIDEr-D of a caption, as the metric has it; and a confidence's logit: below 10 in use, and at 500 the
exponential is still a finite number."""

MAX_BYTES = 4 << 30
"""Of a file: a graph can have 2 GiB."""

MAX_MANIFEST_BYTES = 16 << 20
"""Of the manifest: `MAX_VOCABULARY` words take a few MB; 16 MiB of JSON can take 500 MB once parsed."""
