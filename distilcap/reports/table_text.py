"""Tables of results as text: cells for people, Markdown, LaTeX and CSV. Nothing is typed here.

A score is "ours ± deviation over seeds (the paper's)". `▲` and `▼` mark differences from the row without a
teacher whose 95 % interval excludes 0, `▲▲` and `▼▼` those that stay significant after Holm's correction.
"""

from __future__ import annotations

import csv
import io
from typing import Any

__all__ = ["COLUMNS", "csv_text", "latex_text", "legend", "markdown_table", "table_cells"]

COLUMNS = (("bleu_4", "B@4"), ("meteor", "M"), ("rouge_l", "R"), ("cider", "C"), ("spice", "S"))
HEADINGS = ("system", *(short for _, short in COLUMNS), "C greedy", "gain in C [95 %]", "gain in S [95 %]")
COSTS = ("M par.", "MB", "ms/image", "label s", "train s")


def table_cells(table: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of one table of `results["tables"]`, with all scores times 100."""
    by_name = {row["name"]: row for row in rows}
    printed = {entry["row"]: entry["printed"] for entry in table["rows"]}
    cells = []
    for entry in table["rows"]:
        row = by_name[entry["row"]]
        line = [row["name"]]
        line += [_score(row, "beam", key, entry["printed"]) for key, _ in COLUMNS]
        line.append(_score(row, "greedy", "cider", None))
        twin = printed.get(entry["baseline"])
        line += [_gain(entry, key, twin) for key in ("cider", "spice")]
        line += [f"{row['parameters'] / 1e6:.2f}", f"{row['megabytes']:.1f}"]
        line += [f"{row['ms_per_image']:.1f}", f"{entry['labelling_seconds']:.0f}"]
        line.append(f"{row['train_seconds']:.0f}")
        cells.append(line)
    return [*HEADINGS, *COSTS], cells


def _score(row: dict[str, Any], column: str, key: str, printed: dict[str, float] | None) -> str:
    value = row["scores"][column].get(key)
    text = "n/a" if value is None else f"{100 * value:.1f}"
    deviation = row["deviations"][column].get(key)
    if deviation is not None:
        text += f" ± {100 * deviation:.1f}"
    return text + (f" ({100 * printed[key]:.1f})" if printed else "")


def _gain(entry: dict[str, Any], key: str, twin: dict[str, float] | None) -> str:
    found = entry["differences"].get(key)
    text = ""
    if found is not None:
        low, high = found["interval"]
        mark = "▲" if low > 0 else "▼" if high < 0 else ""
        mark *= 2 if found["corrected_p"] < 0.05 else 1
        text = f"{100 * found['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]{mark}"
    if twin and entry["printed"]:
        text += f" ({100 * (entry['printed'][key] - twin[key]):+.1f})"
    return text.strip()


def legend(results: dict[str, Any]) -> str:
    """What the numbers mean, in one paragraph."""
    rows = results["rows"]
    seeds = max(len(row["seeds"]) for row in rows)
    beams = ", ".join(str(beam) for beam in sorted({row["beam"] for row in rows}))
    reasons = dict.fromkeys(f"{key}: {reason}" for row in rows for key, reason in row["unavailable"].items())
    runs = f"rows are means of {seeds} seeds, ± is the deviation over seeds" if seeds > 1 else "one run each"
    if seeds > 1 and all(len(row["seeds"]) == 1 for row in rows if row["role"] == "teacher"):
        runs += "; teachers ran once, which is not counted as noise"
    return (
        f"Scores on the test split, times 100, beam search of width {beams}, and CIDEr with greedy decoding; "
        f"{runs}. In parentheses: what the paper prints (COCO, 113,287 training images). "
        "Gains are against the same captioner without a teacher: paired bootstrap over test images, seeds "
        "averaged, 95 % interval; ▲ or ▼ where it excludes 0, doubled where approximate randomisation stays "
        "below 0.05 after Holm's correction. MB: weights in float32. ms/image: encoder and greedy decoder in "
        "PyTorch, one image at a time." + (f" Not available: {'; '.join(reasons)}." if reasons else "")
    )


def markdown_table(headings: list[str], cells: list[list[str]]) -> str:
    """A GitHub-flavoured table; the first column is aligned left."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *cells]
    return "".join("| " + " | ".join(one.replace("|", "\\|") for one in line) + " |\n" for line in lines)


_LATEX = {
    "±": r"$\pm$", "▲": r"$\uparrow$", "▼": r"$\downarrow$", "%": r"\%", "&": r"\&", "#": r"\#",
    "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def latex_text(results: dict[str, Any]) -> str:
    """A whole LaTeX document with every table and the verdicts."""
    parts = [
        r"\documentclass{article}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage{booktabs,graphicx}",
        r"\usepackage[a4paper,landscape,margin=1.5cm]{geometry}",
        r"\begin{document}",
        rf"\section*{{{_latex(results['title'])}}}",
        r"\begin{itemize}",
        *(
            rf"\item {_latex(one['text'])} \textbf{{{_latex(one['verdict'])}}}"
            for one in results["conclusions"]
        ),
        r"\item[] " + _latex(legend(results)),
        r"\end{itemize}",
    ]
    for table in results["tables"]:
        headings, cells = table_cells(table, results["rows"])
        parts += [
            r"\begin{table}[p]\centering",
            rf"\caption{{{_latex(table['title'])}}}",
            r"\resizebox{\linewidth}{!}{\begin{tabular}{l" + "r" * (len(headings) - 1) + "}",
            r"\toprule",
            " & ".join(map(_latex, headings)) + r" \\",
            r"\midrule",
            *(" & ".join(map(_latex, line)) + r" \\" for line in cells),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    return "\n".join([*parts, r"\end{document}", ""])


def csv_text(results: dict[str, Any]) -> str:
    """All numbers unrounded, one line a row of a table; scores in the official scale."""
    by_name = {row["name"]: row for row in results["rows"]}
    lines = [
        _csv_line(table["name"], entry, by_name[entry["row"]])
        for table in results["tables"]
        for entry in table["rows"]
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _csv_line(table: str, entry: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"table": table}
    line |= {key: row[key] for key in ("name", "role", "architecture", "size", "teacher")}
    line |= {"label_beam": entry["label_beam"], "seeds": len(row["seeds"]), "beam": row["beam"]}
    for key, _ in COLUMNS:
        for column in ("greedy", "beam"):
            line[f"{key}_{column}"] = row["scores"][column].get(key)
            line[f"{key}_{column}_deviation"] = row["deviations"][column].get(key)
        line[f"{key}_paper"] = entry["printed"][key] if entry["printed"] else None
    for key in ("rouge_l", "cider", "spice"):
        found = entry["differences"].get(key)
        low, high = found["interval"] if found else (None, None)
        line |= {f"{key}_gain": found and found["difference"], f"{key}_gain_low": low}
        line |= {f"{key}_gain_high": high, f"{key}_gain_p": found and found["p"]}
    line["labelling_seconds"] = entry["labelling_seconds"]
    costs = ("parameters", "megabytes", "ms_per_image", "train_seconds", "images_seen")
    return line | {key: row[key] for key in costs}
