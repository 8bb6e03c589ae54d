"""A page for people from measured results: table, verdict, loss curves, pictures with every caption.

Everything shown is read from `results.json`; nothing is typed here.
"""

from __future__ import annotations

import base64
import html
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilcap.errors import DataError
from distilcap.files import read_json, write_json, write_text
from distilcap.reports.results import System, trained_members
from distilcap.store.stage import Store

__all__ = [
    "STYLE",
    "collect_results",
    "data_uri",
    "figure_of",
    "keep_results",
    "read_results",
    "table_of",
    "write_page",
    "write_results",
]

COLUMNS = (
    ("bleu_4", "BLEU-4"),
    ("meteor", "METEOR"),
    ("rouge_l", "ROUGE-L"),
    ("cider", "CIDEr"),
)
PICTURES = 12


def collect_results(
    title: str, members: Sequence[System], rows: list[dict[str, Any]], verdict: str, store: Store
) -> dict[str, Any]:
    """Gather what a page shows: rows, verdict, training histories and captions of some test images."""
    from distilcap.training.loop import LOG

    trained = trained_members(members)
    curves = {member.name: read_json(store.open(member.trains[0], LOG) / LOG) for member in trained}
    dataset = members[0].scored("beam")[0].source.load(store)
    captions = {member.name: member.scored("beam")[0].load(store) for member in members}
    described = set.intersection(*(set(several) for several in captions.values()))
    shown = [image for image in dataset.split("test") if image.id in described][:PICTURES]
    samples = [
        {
            "image": image.id,
            "path": str(image.path),
            "references": dataset.captions.texts(image.id),
            "captions": {name: several[image.id][0].text for name, several in captions.items()},
        }
        for image in shown
    ]
    return {"title": title, "rows": rows, "verdict": verdict, "curves": curves, "samples": samples}


def write_results(results: dict[str, Any], folder: Path, photos: bool = True) -> None:
    """Write `results.json`, with the sample pictures beside it, and `report.html`."""
    write_page(keep_results(results, folder, photos), folder, folder / "report.html")


def keep_results(results: dict[str, Any], folder: Path, photos: bool = True) -> dict[str, Any]:
    """Write `results.json`, with the sample pictures beside it, and return it with their new paths.

    Without `photos` the samples are captions alone, for reports of pictures that may not be passed on.
    """
    if not photos:
        results = {**results, "samples": [{**sample, "path": ""} for sample in results["samples"]]}
        write_json(folder / "results.json", results)
        return results
    (folder / "images").mkdir(parents=True, exist_ok=True)
    samples = []
    for sample in results["samples"]:
        source = Path(sample["path"])
        copied = Path("images") / source.name
        if (folder / copied).resolve() != source.resolve():
            shutil.copyfile(source, folder / copied)
        samples.append({**sample, "path": str(copied)})
    results = {**results, "samples": samples}
    write_json(folder / "results.json", results)
    return results


def read_results(path: Path) -> dict[str, Any]:
    """Read what `write_results` wrote.

    Raises:
        DataError: it is missing or not of that form.
    """
    results = read_json(path)
    expected = {"title", "rows", "verdict", "curves", "samples"}
    if not isinstance(results, dict) or not expected <= results.keys():
        raise DataError(f"{path}: not results of distilcap (expected {', '.join(sorted(expected))}).")
    return results


def table_of(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells for people: scores times 100, "greedy / beam" in one cell."""
    headings = ["system", "role", "labels", "M par.", "MB", "ms/image", "train s"]
    headings += [name for _, name in COLUMNS]
    cells = []
    for row in rows:
        line = [
            row["name"],
            row["role"],
            row["labels"] or "–",
            _number(row["parameters"], 2, 1e-6),
            _number(row["megabytes"], 1),
            _number(row["ms_per_image"], 1),
            _number(row["train_seconds"], 0),
        ]
        cells.append(line + [_cell(row, key) for key, _ in COLUMNS])
    return headings, cells


def _number(value: float | None, digits: int, factor: float = 1) -> str:
    return "–" if value is None else f"{factor * value:.{digits}f}"


def _cell(row: dict[str, Any], key: str) -> str:
    values = [row["scores"][column].get(key) for column in ("greedy", "beam")]
    if None in values:
        return f"n/a ({row.get('unavailable', {}).get(key, 'not measured')})"
    deviations = [(row.get("deviations") or {}).get(column, {}).get(key) for column in ("greedy", "beam")]
    return " / ".join(
        f"{100 * value:.1f}" + (f" ± {100 * deviation:.1f}" if deviation is not None else "")
        for value, deviation in zip(values, deviations, strict=True)
    )


def write_page(results: dict[str, Any], folder: Path, to: Path) -> None:
    """Write the page, whole in one file: pictures and plots are embedded. `folder` holds the pictures."""
    headings, cells = table_of(results["rows"])
    head = "".join(f"<th scope=col>{html.escape(one)}</th>" for one in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in line) + "</tr>" for line in cells
    )
    signatures = "".join(
        f"<li><code>{html.escape(signature)}</code></li>"
        for signature in dict.fromkeys(results["rows"][0]["signature"].values())
    )
    curves = data_uri(_curves(results["curves"]), "image/png")
    gallery = "".join(figure_of(sample, folder) for sample in results["samples"])
    title = html.escape(results["title"])
    write_text(
        to,
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
<main><h1>{title}</h1>
<p class="verdict">{html.escape(results["verdict"])}</p>
<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>
<p class="small">{html.escape(_legend(results["rows"]))}</p>
<details><summary>How each score is made</summary><ul>{signatures}</ul></details>
<h2>Training</h2><img class="curves" src="{curves}" alt="Loss and validation CIDEr of every system by epoch">
<h2>Captions of test images</h2><div class="gallery">{gallery}</div></main></html>
""",
    )


def _legend(rows: list[dict[str, Any]]) -> str:
    seeds = len(rows[-1]["seeds"])
    beams = sorted({row["beam"] for row in rows})
    runs = f"students are means of {seeds} seeds ± deviation" if seeds > 1 else "one run each"
    return (
        f"Scores on the test split, times 100, greedy / beam of width {', '.join(map(str, beams))}; {runs}; "
        "ms per image: encoder and greedy decoder in PyTorch, one image at a time."
    )


def figure_of(sample: dict[str, Any], folder: Path) -> str:
    """One picture with every system's caption, as HTML."""
    said = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
        for name, text in sample["captions"].items()
    )
    people = "".join(f"<li>{html.escape(text)}</li>" for text in sample["references"])
    alt = html.escape(sample["references"][0] if sample["references"] else sample["image"], quote=True)
    picture = f"<p>{html.escape(sample['image'])}</p>"
    if sample["path"]:
        content = data_uri((folder / sample["path"]).read_bytes(), "image/jpeg")
        picture = f'<img src="{content}" alt="{alt}">'
    return (
        f"<figure>{picture}<figcaption><dl>{said}</dl>"
        f"<details><summary>references</summary><ul>{people}</ul></details></figcaption></figure>"
    )


def data_uri(content: bytes, kind: str) -> str:
    """Content to be embedded in a page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _curves(curves: dict[str, list[dict[str, Any]]]) -> bytes:
    """Loss of the cross-entropy phase, and validation CIDEr over both phases, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    loss, cider = figure.subplots(1, 2)
    for name, history in curves.items():
        crossed = [one for one in history if one["phase"] == "cross_entropy"]
        loss.plot([one["epoch"] for one in crossed], [one["loss"] for one in crossed], marker=".", label=name)
        scored = [
            (place, 100 * one["validation_cider"])
            for place, one in enumerate(history, 1)
            if "validation_cider" in one
        ]
        (line,) = cider.plot([x for x, _ in scored], [y for _, y in scored], marker=".", label=name)
        if crossed and len(crossed) < len(history):
            cider.axvline(len(crossed) + 0.5, color=line.get_color(), linestyle=":", linewidth=1)
    loss.set(xlabel="epoch", ylabel="cross-entropy loss (nats a token)")
    cider.set(xlabel="epoch (dotted: self-critical from here)", ylabel="validation CIDEr, greedy")
    for axes in (loss, cider):
        axes.grid(alpha=0.3)
    if curves:
        cider.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 76rem; margin: auto; padding: 1rem 1.25rem 4rem; }
h1 { line-height: 1.2; }
.verdict { font-size: 1.1rem; border-left: .3rem solid #2a7; padding: .4rem .8rem; background: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .35rem .6rem; text-align: right; white-space: nowrap; }
tr { border-bottom: 1px solid var(--line); }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; }
.small { font-size: .85rem; opacity: .8; }
.curves { max-width: 100%; background: white; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.25rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figure img { width: 100%; display: block; }
figcaption { padding: .5rem .8rem; font-size: .9rem; }
dl { margin: 0; } dt { font-size: .78rem; opacity: .7; } dd { margin: 0 0 .4rem; }
"""
