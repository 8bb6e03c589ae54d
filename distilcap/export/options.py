"""Options of an export, readable without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from distilcap.options import Options, option

__all__ = ["PRECISIONS", "ExportOptions"]

PRECISIONS = ("float32", "float16", "int8", "int8-static")


@dataclass(frozen=True)
class ExportOptions(Options):
    """How a bundle is written, and held to its run."""

    precision: str = option("float32", "Precision of the weights on disk.", choices=PRECISIONS)
    split: str = option("val", "Split of the data set that is captioned and scored.")
    limit: int | None = option(
        None, "Number of its images to caption, the first.  [default: all]", least=1, most=2**31 - 1
    )
    max_loss: float = option(
        0.01,
        "Largest share of PyTorch's CIDEr that may be lost; a bundle is refused where the 95 % interval of "
        "its loss lies above.",
        least=0,
        most=1,
    )
    executorch: bool = option(False, "Write float32 programs for ExecuTorch too.")
