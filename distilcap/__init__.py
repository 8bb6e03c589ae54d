"""DistilCap: image captioners small enough for a phone, by sequence-level knowledge distillation."""

__version__ = "0.1.0"
