"""METEOR's parts alone: normalisation, paraphrases, word lists, alignment."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.errors import MissingError
from distilcap.metrics.meteor.alignment import Matches, align
from distilcap.metrics.meteor.normalize import NUMERIC, normalize
from distilcap.metrics.meteor.phrases import ParaphraseTable, hash_spans, hash_words, load_paraphrases
from distilcap.metrics.meteor.resources import find_data, find_stemmer, load_word_lists

# --- normalisation: recorded from the official program

NORMALIZED = {
    "a dog runs": "a dog runs",
    "It's 5'6, o'clock": "it 's 5 ' 6 , o 'clock",
    "1,000 a,b 1, 2": "1,000 a , b 1 , 2",
    "x-ray-y --": "x ray y -",
    "Mr. Smith of the u.s. No. 5 No. X end.": "mr. smith of the us no. 5 no . x end .",
    "“a” ‘b’ `c`": "\" a \" ' b ' ' c '",
    "a/b & c": "a / b & c",
    "wait...now": "wait ... now",
    "犬 é 1/2": "犬 é 1 / 2",
}


@pytest.mark.parametrize("text", NORMALIZED)
def test_normalized(text):
    abbreviations = {"Mr": "", "No": NUMERIC}
    assert " ".join(normalize(text, abbreviations)) == NORMALIZED[text]


# --- paraphrases


def table_file(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(f"0.5\n{one}\n{other}\n" for one, other in pairs).encode()


def hash_of(phrase: str) -> int:
    hashes, shifts = hash_words(phrase.split(" "))
    (found,) = hash_spans(hashes, shifts, len(hashes))
    return int(found)


words = st.text(st.characters(exclude_characters=" \n", exclude_categories=["Cs"]), min_size=1, max_size=6)
phrases = st.lists(words, min_size=1, max_size=5).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(phrases, phrases), max_size=8))
def test_the_table_has_its_phrases_by_their_words(pairs):
    table = ParaphraseTable.read(io.BytesIO(table_file(pairs)))
    assert [(hash_of(one), hash_of(other)) for one, other in pairs] == [
        (int(table.phrases[one]), int(table.phrases[other]))
        for one, other in zip(table.source, table.target, strict=True)
    ]
    assert len(table.phrases) == len({phrase for pair in pairs for phrase in pair})


def test_a_part_of_the_table():
    pairs = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "a")]
    table = ParaphraseTable.read(io.BytesIO(table_file(pairs)))
    chosen = np.searchsorted(table.phrases, np.array([hash_of("a"), hash_of("c")], np.uint64))
    kept, (a, c) = table.within(chosen)
    assert len(kept.phrases) == 2
    assert list(zip(kept.source.tolist(), kept.target.tolist(), strict=True)) == [(a, c), (c, a)]


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    path = tmp_path / "paraphrase.gz"
    path.write_bytes(gzip.compress(table_file([("two persons", "a couple"), ("couple", "pair")])))
    return path


def test_the_compact_table_is_built_once_and_again_if_damaged(official, tmp_path):
    notes, home = Notes(), tmp_path / "home"
    first = load_paraphrases(official, home, notes)
    again = load_paraphrases(official, home, notes)
    np.testing.assert_array_equal(first.phrases, again.phrases)
    np.testing.assert_array_equal(first.source, again.source)
    assert notes.notes == ["METEOR's table of paraphrases is made compact, once."]
    (kept,) = home.iterdir()
    content = bytearray(kept.read_bytes())
    content[-3] ^= 1
    for damaged in (bytes(content), b"", b"garbage" * 99):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(load_paraphrases(official, home, notes).target, first.target)
    assert len(notes.notes) == 4


def test_a_folder_that_cannot_be_written_costs_time_only(official, tmp_path):
    notes = Notes()
    (tmp_path / "file").write_text("")
    table = load_paraphrases(official, tmp_path / "file" / "home", notes)
    assert len(table.source) == 2
    assert "cannot be kept" in notes.notes[-1]


def test_a_damaged_official_table_is_named(tmp_path):
    path = tmp_path / "paraphrase.gz"
    path.write_bytes(gzip.compress(table_file([("a", "b")] * 99))[:-20])
    with pytest.raises(MissingError, match=r"paraphrase.gz is damaged .*: install pycocoevalcap again"):
        load_paraphrases(path, tmp_path / "home")


# --- word lists


def test_synonyms_by_base_forms():
    try:
        archive, _ = find_data()
    except MissingError as error:
        pytest.skip(str(error))
    lists = load_word_lists(archive)
    assert lists.senses("mice") & lists.senses("mouse")
    assert lists.senses("cars") & lists.senses("automobile")
    assert not lists.senses("cars") & lists.senses("dog")
    assert "the" in lists.function
    assert "zebra" not in lists.function


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "meteor.jar"
    for content in (b"garbage", _zip({"function/english.words": "the"})):
        path.write_bytes(content)
        with pytest.raises(MissingError, match=r"meteor.jar is damaged .*: install pycocoevalcap again"):
            load_word_lists(path)


def _zip(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_missing_data_and_stemmers_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"METEOR's data are not installed: `pip install pycocoevalcap`"):
        find_data()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "3.0.1")
    with pytest.raises(MissingError, match=r"must be below version 3, whose stems differ, but is 3.0.1"):
        find_stemmer()

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    with pytest.raises(MissingError, match=r"stemmer is not installed: `pip install 'snowballstemmer<3'`"):
        find_stemmer()


# --- alignment


def equal_words(candidate: str, reference: str) -> Matches:
    found = [
        (0, r, 1, c, 1, 0)
        for r, one in enumerate(reference)
        for c, other in enumerate(candidate)
        if one == other
    ]
    return Matches(*np.array(found, dtype=np.int64).reshape(-1, 6).T)


def chunks_of(pairs: list[tuple[int, int]]) -> int:
    return sum((r - 1, c - 1) not in pairs for r, c in pairs)


def best_by_trying_all(candidate: str, reference: str) -> tuple[int, int]:
    """Most matches, then fewest chunks, over all alignments."""
    best = (0, 0)
    places = [[c for c, other in enumerate(candidate) if other == one] + [-1] for one in reference]
    for choice in itertools.product(*places):
        pairs = [(r, c) for r, c in enumerate(choice) if c >= 0]
        if len({c for _, c in pairs}) == len(pairs):
            best = min(best, (-len(pairs), chunks_of(pairs)))
    return best


@settings(max_examples=60, deadline=None)
@given(st.text("abc", max_size=5), st.text("abcd", max_size=5))
def test_an_alignment_is_the_best_of_all(candidate, reference):
    found = align(equal_words(candidate, reference), np.array([len(candidate)]), np.array([len(reference)]))
    pairs = list(zip(found.matches.reference.tolist(), found.matches.candidate.tolist(), strict=True))
    assert (-len(pairs), chunks_of(pairs)) == best_by_trying_all(candidate, reference)
    assert int(found.chunks[0]) == chunks_of(pairs)


def test_candidates_longer_than_63_words():
    text = "".join(map(chr, range(200, 300)))
    found = align(equal_words(text, text), np.array([100]), np.array([100]))
    assert len(found.matches.pair) == 100
    assert int(found.chunks[0]) == 1
