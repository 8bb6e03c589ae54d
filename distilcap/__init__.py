"""DistilCap: image captioners small enough for a phone, by sequence-level knowledge distillation.

    import distilcap
    print(distilcap.load("bundle").caption("photo.jpg").text)

The functions are in `distilcap.api`; each name is imported when it is first used. See docs/api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from distilcap.api import (
        Caption,
        Captioned,
        CaptionSet,
        Dataset,
        DistilCapError,
        ImageCaptioner,
        compare,
        distill,
        evaluate,
        label,
        load,
        read_dataset,
        train,
    )
else:  # type checkers must not see this, or every name would exist

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from distilcap import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Caption",
    "CaptionSet",
    "Captioned",
    "Dataset",
    "DistilCapError",
    "ImageCaptioner",
    "compare",
    "distill",
    "evaluate",
    "label",
    "load",
    "read_dataset",
    "train",
]
