"""The report of tables: `results.json`, `report.html`, `report.md`, `report.tex`, `report.csv` and plots.

Everything shown is read from the results; nothing is typed here.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from distilcap.files import write_bytes, write_text
from distilcap.reports.plots import PLOTS, draw
from distilcap.reports.report import STYLE, data_uri, figure_of, keep_results
from distilcap.reports.table_text import csv_text, latex_text, legend, markdown_table, table_cells

__all__ = ["write_table_page", "write_tables"]

RULES = (
    "A conclusion is confirmed if all its claims hold, not confirmed if one is refuted, else not decided. "
    "Claims are judged by 95 % intervals over test images and seeds, widened for the number of estimates "
    "that the conclusion looks at (Bonferroni); within one point of CIDEr counts as equal. Numbers beside a "
    "claim: points of CIDEr and their interval."
)


def write_tables(results: dict[str, Any], folder: Path, photos: bool = True) -> None:
    """Write all forms of the report into `folder`, with plots and, if `photos`, the sample pictures."""
    results = keep_results(results, folder, photos)
    plots = _plots(results)
    for name, content in plots.items():
        write_bytes(folder / f"{name}.png", content)
    write_text(folder / "report.md", _markdown(results, plots))
    write_text(folder / "report.tex", latex_text(results))
    write_text(folder / "report.csv", csv_text(results))
    write_table_page(results, folder, folder / "report.html")


def _plots(results: dict[str, Any]) -> dict[str, bytes]:
    drawn = {name: draw(name, results) for name in PLOTS}
    return {name: content for name, content in drawn.items() if content is not None}


def _markdown(results: dict[str, Any], plots: dict[str, bytes]) -> str:
    parts = [f"# {results['title']}\n"]
    if results["command"]:
        parts.append(f"Made by `{results['command']}`.\n")
    if results.get("schedules"):
        parts.append(f"{_schedules(results)}\n")
    if results["conclusions"]:
        parts += ["## The paper's conclusions\n", _conclusions(results), RULES + "\n"]
    else:
        parts.append(results["verdict"] + "\n")
    for table in results["tables"]:
        parts += [f"## {table['title']}\n", markdown_table(*table_cells(table, results["rows"]))]
    parts.append(legend(results) + "\n")
    for name in plots:
        parts.append(f"## {PLOTS[name][0]}\n\n![{PLOTS[name][0]}]({name}.png)\n")
    parts.append("## Captions of test images\n")
    for sample in results["samples"]:
        image = sample["image"]
        parts.append(f"![{image}]({sample['path']})\n" if sample["path"] else f"Image {image}:\n")
        lines = [[name, text] for name, text in sample["captions"].items()]
        lines += [["reference", text] for text in sample["references"]]
        parts.append(markdown_table(["system", "caption"], lines).replace("---:", "---"))
    parts.append("## How each score is made\n")
    parts.append("".join(f"- `{one}`\n" for one in _signatures(results)))
    return "\n".join(parts)


def _schedules(results: dict[str, Any]) -> str:
    return f"Trained: {'; '.join(results['schedules'])}."


def _signatures(results: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(one for row in results["rows"] for one in row["signature"].values()))


def _conclusions(results: dict[str, Any]) -> str:
    lines = []
    for conclusion in results["conclusions"]:
        lines.append(f"- {conclusion['text']} **{conclusion['verdict']}**\n")
        lines += [
            f"  - {claim['text']} {claim['outcome']}: {claim['evidence']}\n" for claim in conclusion["claims"]
        ]
    return "".join(lines)


def write_table_page(results: dict[str, Any], folder: Path, to: Path) -> None:
    """Write the page, whole in one file: pictures and plots are embedded. `folder` holds the pictures."""
    title = html.escape(results["title"])
    command = f"<p>Made by <code>{html.escape(results['command'])}</code></p>" if results["command"] else ""
    if results.get("schedules"):
        command += f'<p class="small">{html.escape(_schedules(results))}</p>'
    tables = "".join(_table(table, results["rows"]) for table in results["tables"])
    plots = "".join(
        f'<h2>{html.escape(PLOTS[name][0])}</h2><img class="curves" src="{data_uri(content, "image/png")}" '
        f'alt="{html.escape(PLOTS[name][0], quote=True)}">'
        for name, content in _plots(results).items()
    )
    gallery = "".join(figure_of(sample, folder) for sample in results["samples"])
    signatures = "".join(f"<li><code>{html.escape(one)}</code></li>" for one in _signatures(results))
    write_text(
        to,
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}{TABLE_STYLE}</style>
<main><h1>{title}</h1>{command}
{_verdicts(results)}
{tables}
<p class="small">{html.escape(legend(results))}</p>
<details><summary>How each score is made</summary><ul>{signatures}</ul></details>
{plots}
<h2>Captions of test images</h2><div class="gallery">{gallery}</div></main></html>
""",
    )


def _verdicts(results: dict[str, Any]) -> str:
    if not results["conclusions"]:
        return f'<p class="verdict">{html.escape(results["verdict"])}</p>'
    blocks = ["<h2>The paper's conclusions</h2>"]
    for one in results["conclusions"]:
        claims = "".join(
            f"<li>{html.escape(claim['text'])} <b>{html.escape(claim['outcome'])}</b>: "
            f"{html.escape(claim['evidence'])}</li>"
            for claim in one["claims"]
        )
        blocks.append(
            f'<div class="verdict">{html.escape(one["text"])} <b>{html.escape(one["verdict"])}</b>'
            f"<details><summary>claims</summary><ul>{claims}</ul></details></div>"
        )
    return "".join(blocks) + f'<p class="small">{html.escape(RULES)}</p>'


def _table(table: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    headings, cells = table_cells(table, rows)
    head = "".join(f"<th scope=col>{html.escape(one)}</th>" for one in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in line) + "</tr>" for line in cells
    )
    return (
        f'<h2>{html.escape(table["title"])}</h2><div class="wide"><table class="paper"><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


TABLE_STYLE = """
.paper th:nth-child(-n+3), .paper td:nth-child(-n+3) { text-align: right; }
.paper th:first-child, .paper td:first-child { text-align: left; }
.paper td:first-child { position: sticky; left: 0; background: Canvas; }
.verdict { margin: .5rem 0; }
"""
