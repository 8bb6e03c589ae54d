"""The table of encoders in docs/encoders.md: parameters, megabytes, milliseconds per image.

`python -m benchmarks encoders` prints it, `--json` gives the rows, `--write` puts the table into the page.
CIDEr is read from docs/results/encoders/results.json, which `distilcap reproduce encoders` writes.
Each encoder runs with random weights (speed does not depend on them) on one image at a time. The fastest of
several rounds, the encoders taking turns, so that a passing load meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.pages import put_between
from distilcap.encoders.catalogue import Entry, catalogue
from distilcap.encoders.registry import create_encoder
from distilcap.files import read_json

PAGE = Path(__file__).resolve().parents[1] / "docs" / "encoders.md"
RESULTS = PAGE.parent / "results" / "encoders" / "results.json"
KINDS = {"frozen": "frozen", "longer": "frozen, longer", "tuned": "tuned"}  # as `study.encoders` names them
BEGIN = "<!-- table: python -m benchmarks encoders --write -->\n"


def measure(entries: list[Entry], threads: int, rounds: int) -> list[float]:
    """Least milliseconds of one image, in the order of `entries`."""
    torch.set_num_threads(threads)
    encoders = [create_encoder(one.name, form=one.form, weights="random") for one in entries]
    pictures = [torch.randn(1, 3, one.size, one.size) for one in entries]
    milliseconds: list[list[float]] = [[] for _ in entries]
    with torch.inference_mode():
        for number in range(rounds + 2):
            for place, (encoder, picture) in enumerate(zip(encoders, pictures, strict=True)):
                started = time.perf_counter()
                encoder(picture)
                if number >= 2:  # the first ones warm up
                    milliseconds[place].append(1000 * (time.perf_counter() - started))
    return [min(times) for times in milliseconds]


def scores_of(path: Path) -> dict[str, float]:
    """CIDEr x 100 of the best captions by a row's name."""
    return {row["name"]: 100 * row["scores"]["beam"]["cider"] for row in read_json(path)["rows"]}


def rows_of(threads: int, rounds: int, scores: dict[str, float]) -> list[dict[str, Any]]:
    entries = catalogue()
    rows = []
    for entry, milliseconds in zip(entries, measure(entries, threads, rounds), strict=True):
        row = {key: value for key, value in vars(entry).items() if key != "here"}
        row["ms_per_image"] = round(milliseconds, 1)
        for kind, named in KINDS.items():
            row[f"cider_{kind}"] = scores.get(f"{entry.name}, {named}") if entry.form == "grid" else None
        rows.append(row)
    return rows


def table_of(rows: list[dict[str, Any]], threads: int) -> str:
    lines = [
        f"| encoder | form | pixels | regions x features | parameters (M) | MB in float32 | ms per image, "
        f"{threads} threads | CIDEr frozen | CIDEr frozen, longer | CIDEr tuned | weights |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        ciders = ["–" if row[f"cider_{kind}"] is None else f"{row[f'cider_{kind}']:.1f}" for kind in KINDS]
        lines.append(
            f"| `{row['name']}` | {row['form']} | {row['size']} | {row['regions']} x {row['dim']} "
            f"| {row['parameters'] / 1e6:.2f} | {row['megabytes']:.1f} | {row['ms_per_image']:.1f} "
            f"| {' | '.join(ciders)} | {row['weights']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS, help="of `distilcap reproduce encoders`")
    options = parser.parse_args()
    rows = rows_of(options.threads, options.rounds, scores_of(options.results))
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "threads": options.threads,
        "load": [round(value, 1) for value in os.getloadavg()],
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}, indent=1))
    else:
        print(table_of(rows, options.threads))
    if options.write:
        load = f"Measured at a load of {machine['load'][0]} on the machine, PyTorch {machine['torch']}."
        put_between(PAGE, BEGIN, f"{table_of(rows, options.threads)}\n\n{load}\n")
