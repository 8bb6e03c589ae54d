"""The tables of docs/bundle.md and README from what `distilcap bench --json` measured.

    distilcap bench int8 float16 float32 --photos photos/ --json bench.json
    python -m benchmarks bundle bench.json

The first precision is README's. The figures are kept in docs/results/bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.pages import put_between
from distilcap.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results" / "bundle" / "bench.json"
BEGIN = "<!-- table: python -m benchmarks bundle -->\n"
PARTS = ("pixels", "12 MP", "encoder", "greedy", "beam", "all")
NAMES = {"onnxruntime": "ONNX Runtime", "chromium-wasm": "Chromium, wasm", "executorch": "ExecuTorch"}


def row(fields: list[str]) -> str:
    return "| " + " | ".join(fields) + " |\n"


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: a row for each runtime, precision and number of threads."""
    head = ["runtime", "precision", "threads", "MB", *PARTS, "peak MB"]
    text = row(head) + "|---" * len(head) + "|\n"
    for line in lines:
        spreads = [line["ms_per_image"][part] for part in PARTS]
        milliseconds = [f"{spread['median']:.1f} ({spread['p95']:.1f})" for spread in spreads]
        fields = [NAMES[line["runtime"]], line["precision"], str(line["threads"])]
        text += row(
            [*fields, f"{line['megabytes']['all']:.2f}", *milliseconds, f"{line['peak_megabytes']:.0f}"]
        )
    return text


def short_table(lines: list[dict[str, Any]]) -> str:
    """Markdown: milliseconds from file to caption, greedy and by beam search, of the first precision."""
    head = [
        "runtime",
        "threads",
        "MB",
        "a small photograph, ms: greedy / beam of 3",
        "12 megapixels, ms",
        "peak MB",
    ]
    text = row(head) + "|---" * len(head) + "|\n"
    for line in lines:
        if line["precision"] == lines[0]["precision"]:
            parts = ("pixels", "12 MP", "all", "encoder", "beam")
            read, read_large, greedy, encoder, search = (
                line["ms_per_image"][part]["median"] for part in parts
            )
            fields = [NAMES[line["runtime"]], str(line["threads"]), f"{line['megabytes']['all']:.2f}"]
            fields += [
                f"{first + greedy:.0f} / {first + encoder + search:.0f}" for first in (read, read_large)
            ]
            text += row([*fields, f"{line['peak_megabytes']:.0f}"])
    return text


def write_pages(lines: list[dict[str, Any]]) -> None:
    """Put the tables between the pages' marks, and keep the figures, if all that the tables had is there."""
    kept, now = ({(line["runtime"], line["precision"]) for line in of} for of in (read_json(KEPT), lines))
    if kept - now:
        lacking = ", ".join(" ".join(one) for one in sorted(kept - now))
        raise SystemExit(f"the tables would lose {lacking}; measure these too (`distilcap bench`)")
    long, short = table(lines), short_table(lines)
    put_between(ROOT / "docs" / "bundle.md", BEGIN, long)
    put_between(ROOT / "README.md", BEGIN, short)
    write_json(KEPT, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("measured", type=Path, nargs="?", default=KEPT, help="written by `distilcap bench`")
    lines = read_json(parser.parse_args().measured)
    write_pages(lines)


if __name__ == "__main__":
    main()
