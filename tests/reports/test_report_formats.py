"""Escapes, checked by reading the result back with somebody else's reader."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from distilcap.reports.formats import Latex, csv_text, latex, latex_table, markdown, markdown_code
from distilcap.shown import shown

TEXT = st.text(
    st.one_of(st.sampled_from("{}$<>&%#_~^\\|`*[]()!'\"=+-@ \t\nab1±▲"), st.characters(codec="utf-8")),
    max_size=30,
)
COMMANDS = {
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^", r"\textbackslash{}": "\\", r"$\pm$": "±", r"$\uparrow$": "▲",
    r"$\downarrow$": "▼", "{[}": "[", "{*}": "*", **{f"\\{letter}": letter for letter in "{}$%&#_"},
}  # fmt: skip
TOKEN = re.compile("|".join(map(re.escape, COMMANDS)) + r"|[^{}$<>&%#_~^\\|]", re.DOTALL)


def words(text: str) -> list[str]:
    """What is to be seen of a text on one line."""
    return shown(text).split()


@given(TEXT)
def test_latex_holds_nothing_but_letters_and_the_commands_for_the_others(text: str) -> None:
    escaped = latex(text)
    assert "".join(TOKEN.findall(escaped)) == escaped  # no special character outside of a command
    assert "".join(COMMANDS.get(token, token) for token in TOKEN.findall(escaped)).split() == words(text)
    assert not escaped.startswith(("[", "*"))  # an argument of \\ or \item
    assert latex(escaped) is escaped


def test_a_latex_table_has_as_many_cells_as_its_columns() -> None:
    table = latex_table(["", "a & b"], [["[x]", Latex(r"$\pm$1")], ["c\\", "d"]])
    assert table.splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r" & a \& b \\", r"\midrule", r"{[}x] & $\pm$1 \\",
        r"c\textbackslash{} & d \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def texts_of(source: str) -> tuple[set[str], list[str]]:
    """Kinds of inline tokens, and the cells of the first body row of a table as a reader sees them."""
    cells, kinds = [], set()
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    body = next(n for n, token in enumerate(tokens) if token.type == "tbody_open")
    for token in tokens[body:]:
        if token.type == "inline":
            kinds |= {child.type for child in token.children or []}
            cells.append("".join(child.content for child in token.children or []))
    return kinds, cells


@given(TEXT, TEXT)
def test_markdown_shows_the_text_itself(first: str, second: str) -> None:
    row = f"| {markdown(first)} | {markdown(second)} |"
    kinds, cells = texts_of(f"| a | b |\n| --- | --- |\n{row}\n")
    assert kinds <= {"text", "text_special"}  # no link, picture, emphasis, code or HTML
    assert [cell.split() for cell in cells] == [words(first), words(second)]


@given(TEXT)
def test_markdown_code_shows_the_text_itself(text: str) -> None:
    (inline,) = (token for token in MarkdownIt().parse(f"By {markdown_code('x' + text)}.") if token.children)
    assert [child.type for child in inline.children or []] == ["text", "code_inline", "text"]
    assert (inline.children or [])[1].content.split() == words("x" + text)


@given(st.lists(TEXT.filter(lambda text: "\0" not in text), min_size=1, max_size=3), st.floats(-9, 9))
def test_csv_reads_back_and_begins_no_formula(texts: list[str], number: float) -> None:
    written = csv_text([{"text": text, "number": number} for text in texts])
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [float(row["number"]) for row in rows] == [number] * len(texts)  # a minus sign is no formula
    for text, row in zip(texts, rows, strict=True):
        assert row["text"] in (text, f"'{text}")
        assert not row["text"].startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("sign", "=+-@\t\r")
def test_csv_quotes_each_of_the_signs(sign: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"text": f"{sign}1+1"}]), newline=""))
    assert row["text"] == f"'{sign}1+1"
