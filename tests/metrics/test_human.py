"""Agreement with people: tau-c by hand, and made-up files in Flickr8k's form (its own are not here)."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.__main__ import main as run
from benchmarks.human import agreement, kendall_tau_c, main
from distilcap.errors import DataError


def test_tau_c_by_hand():
    # 2 levels of 2; pairs across levels: (1, 3) (1, 4) (2, 3) (2, 4), all in order: 2 * 2 * 4 / (16 * 1) = 1.
    assert kendall_tau_c([1, 1, 2, 2], [0.1, 0.2, 0.3, 0.4]) == 1
    assert kendall_tau_c([1, 1, 2, 2], [0.4, 0.3, 0.2, 0.1]) == -1
    # 3 in order, 1 out of order: 2 * 2 * 2 / 16.
    assert kendall_tau_c([1, 1, 2, 2], [0.1, 0.3, 0.2, 0.4]) == 0.5
    # Ratings 1, 2, 3 with scores 1, 1, 2: one tie, two in order; m = 2: 2 * 2 * 2 / 9.
    assert kendall_tau_c([1, 2, 3], [1, 1, 2]) == pytest.approx(8 / 9)
    assert math.isnan(kendall_tau_c([1, 1], [1, 2]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5)), min_size=2, max_size=12))
def test_tau_c_is_its_definition(rows):
    ratings, scores = zip(*rows, strict=True)
    least = min(len(set(ratings)), len(set(scores)))
    if least < 2:
        return
    balance = 0
    for (a, b), (c, d) in itertools.combinations(rows, 2):
        product = (a - c) * (b - d)
        balance += (product > 0) - (product < 0)
    assert kendall_tau_c(ratings, scores) == pytest.approx(
        2 * least * balance / (len(rows) ** 2 * (least - 1))
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    captions = {"a.jpg": ["a dog runs", "the dog runs fast"], "b.jpg": ["two cats sleep", "cats are asleep"]}
    lines = [f"{image}#{n}\t{text}" for image, texts in captions.items() for n, text in enumerate(texts)]
    lines += ["c.jpg#0\ta dog runs fast", "c.jpg#1\tan orange", "c.jpg#2\tthe dog"]
    expert = ["a.jpg c.jpg#0 4 4 4", "a.jpg c.jpg#1 1 1 1", "a.jpg c.jpg#2 2 3 2", "a.jpg a.jpg#0 4 4 4"]
    (tmp_path / "tokens.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "expert.txt").write_text("\n".join(one.replace(" ", "\t") for one in expert) + "\n")
    return tmp_path / "expert.txt", tmp_path / "tokens.txt"


def test_agreement_on_a_made_up_file(files):
    """Scores rise with the ratings; the caption that is a reference itself is left out."""
    # Levels of 3, 2, 1 and 3 ratings. Pairs of two experts' ratings of one caption tie in score; all others
    # are in order: 3 * 3 between each two captions, 27; 2 m C / (n^2 (m - 1)) with n = 9, m = 3.
    assert agreement(*files, ("rouge_l",)) == {"rouge_l": pytest.approx(2 * 3 * 27 / (81 * 2))}


def test_the_command_prints_published_values_beside(files, capsys, monkeypatch, tmp_path):
    expert, captions = map(str, files)
    options = ["--metrics", "rouge_l,cider", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr("sys.argv", ["human", "--expert", expert, "--captions", captions, *options])
    main()
    shown = capsys.readouterr().out
    assert "rouge_l      100.0        32.3" in shown
    assert (tmp_path / "out.json").exists()


def test_a_wrong_file_is_told_in_one_line(files, capsys, monkeypatch):
    expert, captions = files
    expert.write_text("a.jpg c.jpg#0 4 4\n")
    options = ["human", "--expert", str(expert), "--captions", str(captions)]
    monkeypatch.setattr("sys.argv", ["benchmarks", *options])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {expert}: line 1 is not IMAGE")


@pytest.mark.parametrize(
    "expert, captions, message",
    [
        ("a.jpg c.jpg#0 4 4\n", None, r"expert.txt: line 1 is not IMAGE, CAPTION and 3 ratings of 1 to 4."),
        (None, "a.jpg a dog\n", r"tokens.txt: line 1 is not IMAGE#N, a tab and a caption."),
        (
            "x.jpg c.jpg#0 4 4 4\n",
            None,
            r"tokens.txt has no captions of x.jpg, or no c.jpg#0, of .*expert.txt.",
        ),
    ],
)
def test_other_files_are_refused(files, expert, captions, message):
    for path, text in zip(files, (expert, captions), strict=True):
        if text is not None:
            path.write_text(text)
    with pytest.raises(DataError, match=message):
        agreement(*files, ("rouge_l",))
