"""The tokenizer's lists of words, asked of the official one: every word of a large vocabulary, in each place.

So the lists in `text/ptb.py` rest on what the official tokenizer answers, and miss no word that it knows. The
vocabulary is that of METEOR's table of paraphrases.

    pytest -m slow tests/text/test_words_asked.py
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from distilcap.text import ptb
from distilcap.text.tokenize import PUNCTUATION, tokenize_stream

FRAMES = {
    "abbreviation": "a {}. dog",
    "end": "a {}. The dog",
    "number": "a {}. 5 dog",
    "start": "the x. {} dog",
}


@pytest.fixture(scope="module")
def package() -> Path:
    return Path(pytest.importorskip("pycocoevalcap.bleu.bleu").__file__).parents[1]


@pytest.fixture(scope="module")
def words(package: Path) -> list[str]:
    """All words of ASCII letters, in lower case."""
    (table,) = (package / "meteor" / "data").glob("paraphrase-en.gz")
    with gzip.open(table, "rt", encoding="utf-8", errors="replace") as file:
        found = {word for line in file for word in line.lower().split()}
    return sorted(word for word in found if re.fullmatch("[a-z]+", word))


def official(package: Path, lines: list[str], tmp_path: Path) -> list[list[str]]:
    java = shutil.which("java") or pytest.skip("Java was not found")
    text = tmp_path / "lines.txt"
    text.write_text("\n".join(lines), encoding="utf-8")
    (archive,) = (package / "tokenizer").glob("stanford-corenlp-*.jar")
    program = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", str(text)]
    done = subprocess.run([java, "-cp", str(archive), *program], capture_output=True, check=True)
    answered = done.stdout.decode().split("\n")
    return [
        [word for word in line.split(" ") if word.strip() and word not in PUNCTUATION] for line in answered
    ]


@pytest.mark.slow
@pytest.mark.parametrize("case", [str.lower, str.capitalize, str.upper], ids=["lower", "capital", "upper"])
@pytest.mark.parametrize("frame", FRAMES)
def test_every_word_is_read_as_officially(
    frame: str, case: object, words: list[str], package: Path, tmp_path: Path
) -> None:
    assert len(words) > 10_000
    assert callable(case)
    lines = [FRAMES[frame].format(case(word)) for word in words]
    answers, found = official(package, lines, tmp_path), tokenize_stream(lines)
    assert [line for line, ours, theirs in zip(lines, found, answers, strict=False) if ours != theirs] == []


@pytest.mark.slow
def test_the_words_that_begin_sentences_are_those_it_names(
    words: list[str], package: Path, tmp_path: Path
) -> None:
    """Before them a period after an initial ends the sentence: "x" is left, else "x."."""
    capitals = [word.capitalize() for word in words]
    answers = official(package, [f"the x. {word} dog" for word in capitals], tmp_path)
    named = {word for word, answer in zip(capitals, answers, strict=False) if answer[1] == "x"}
    assert named == set(ptb._STARTS.split("|")) & set(capitals)
