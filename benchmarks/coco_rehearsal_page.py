"""The tables of docs/scale.md, from the lines that `python -m benchmarks coco_rehearsal` recorded."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.features import COCO_IMAGES
from benchmarks.pages import put_between, read_lines
from distilcap.data.features import store_bytes
from distilcap.encoders.registry import create_encoder

__all__ = ["MEASURED", "table", "write_page"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
MEASURED = "measured.jsonl"
KEPT = PAGE.parent / "results" / "coco-rehearsal"
BEGIN = "<!-- table: python -m benchmarks coco_rehearsal --write -->\n"
ENCODERS = ("efficientdet-d0", "regions"), ("efficientnet-lite0", "grid")


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: a row for each kind of stage, in the order of their first; seconds and bytes are sums."""
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    # A stage is built once; anything else may have been measured again, and the last counts.
    counted = {number if "bytes" in line else line["what"]: line for number, line in enumerate(lines)}
    for line in counted.values():
        kinds[re.sub(r",? (by|of|labels) [a-z-]+-[0-9a-f]{12}", "", line["what"])].append(line)
    rows = [
        "| what | times | seconds | CPU seconds | peak memory, MB | of it anonymous | on disk, MB |",
        "|---" * 7 + "|",
    ]
    for kind, group in kinds.items():
        seconds, cpu = (sum(line[name] for line in group) for name in ("seconds", "cpu_seconds"))
        peak = max(line["peak"] for line in group)
        anonymous = max((line["anonymous"] for line in group if "anonymous" in line), default=None)
        disk = sum(line.get("bytes", 0) for line in group) / 1e6
        ended = " (ended in an error)" if any("failed" in line for line in group) else ""
        fields = [kind + ended, len(group), f"{seconds:,.0f}", f"{cpu:,.0f}", f"{peak:,}"]
        fields += ["" if anonymous is None else f"{anonymous:,}", f"{disk:,.1f}" if disk else ""]
        rows.append("| " + " | ".join(map(str, fields)) + " |")
    return "\n".join(rows)


def feature_sizes() -> str:
    """What features of COCO take at the encoders' own sizes, in words."""
    sizes = []
    for name, form in ENCODERS:
        encoder = create_encoder(name, form=form, weights="random")
        gigabytes = store_bytes(COCO_IMAGES, encoder.regions, encoder.dim) / 1e9
        sizes.append(f"{gigabytes:.1f} GB by {name} ({encoder.regions} x {encoder.dim})")
    return (
        f"COCO's features at the encoders' own sizes take {' and '.join(sizes)}: computed, not written here."
    )


def write_page(folder: Path, images: int) -> None:
    """Keep the recorded lines beside the page, and put a table for each size between the page's marks."""
    KEPT.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / MEASURED, KEPT / f"{images}.jsonl")
    parts = [
        f"{int(path.stem):,} images:\n\n{table(read_lines(path))}\n"
        for path in sorted(KEPT.glob("*.jsonl"), key=lambda path: -int(path.stem))
    ]
    put_between(PAGE, BEGIN, "\n".join(["", *parts, feature_sizes(), "", ""]))
