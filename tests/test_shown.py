"""Nothing that is printed controls a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from distilcap.cli.progress import PlainConsole, TerminalProgress
from distilcap.shown import counted, first_line, shown, some
from distilcap.study.announce import in_words
from distilcap.training.options import CrossEntropyPhase, TrainingOptions

# What moves the cursor, changes colours or turns the direction of writing; hypothesis finds such rarely.
CONTROLS = [*map(chr, range(32)), *map(chr, range(127, 160)), *"\u2028\u2029\ufeff\u00ad\u200e\u200f\u061c"]
CONTROLS += [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\ud800", "\udcff"]
HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from(CONTROLS)))


@given(HOSTILE)
def test_what_is_shown_is_one_line_that_controls_nothing(text: str) -> None:
    result = shown(text)
    assert not set(result) & set(CONTROLS)
    assert result == "" or len(result.splitlines()) == 1
    result.encode()  # half a character could not be written
    assert shown(result) == result


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Mn", "Mc", "Zs"))))
def test_words_of_any_language_stay_as_they_are(text: str) -> None:
    assert shown(text) == text


def test_escapes_are_those_of_python() -> None:
    assert shown("a\x1b[31m\n\u202egpj.exe\udcff\x9b") == r"a\x1b[31m\n\u202egpj.exe\udcff\x9b"
    assert shown("می\u200cخواهم 👩\u200d🚀") == "می\u200cخواهم 👩\u200d🚀"


MARKUP = ("[/b]", "[red]x[/red]", "[link=file:///etc]x[/link]", "[bold", ":smile:", "x[/foo]\x1b]0;owned\x07")


@pytest.mark.parametrize("text", MARKUP)
def test_markup_is_text_wherever_it_is_printed(text: str) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, width=200, force_terminal=True)
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    progress = TerminalProgress(console)
    console.print(text)
    console.print(table)
    progress.note(text)
    assert list(progress.track([1], text)) == [1]
    written = file.getvalue()
    assert written.count(shown(text)) >= 6
    assert "\x1b]" not in written
    plain = io.StringIO()
    list(TerminalProgress(PlainConsole(file=plain)).track([1], text))
    assert plain.getvalue().count(shown(text)) == 2


def test_one_is_no_plural_and_rates_are_short() -> None:
    assert [counted(n, "image") for n in (0, 1, 2_000)] == ["0 images", "1 image", "2,000 images"]
    said = in_words(TrainingOptions(CrossEntropyPhase(epochs=1, weight_averaging=0.958333)))
    assert said.startswith("1 epoch of cross-entropy")
    assert "averaging 0.958)" in said


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n not so\nbut so"), "not so"),
        (ValueError("one\rtwo"), "one"),
        (OSError(2, "No such file"), "[Errno 2] No such file"),
        (KeyError(), "KeyError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("names", "limit", "line"),
    [
        ([], 3, ""),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        (range(1234), 2, "0, 1 and 1,232 more"),
    ],
)
def test_some_of_many_names(names: Sequence[object], limit: int, line: str) -> None:
    assert some(names, limit) == line
