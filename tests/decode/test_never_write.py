"""From the words that a person names to the ids that a search leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap.errors import ConfigError, DataError
from distilcap.progress import Silent
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.runtime.never_write import blocked_ids, blocked_words, never_written
from distilcap.text.vocabulary import SPECIALS, Vocabulary

WORDS = Vocabulary((*SPECIALS, "a", "man", "person", "dog", "he", "Bär"))


class Remarks(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize(
    "named, blocked, unknown",
    [
        ((), (), ""),
        (("man, dog",), ((5, 0), (7, 0)), ""),
        (("Dog", "dog", ","), ((7, 0),), ""),
        (("Bär",), ((9, 0),), ""),
        (("man=person,person",), ((5, 0), (6, 0)), ""),
        (("cat,man,<eos>,<unk>",), ((5, 0),), "cat, <eos>, <unk>"),
        (("b,c,d,e,f,g,h",), (), "b, c, d, e, f and 2 more"),
    ],
)
def test_words_are_blocked_and_unknown_ones_told(
    named: tuple[str, ...], blocked: tuple[tuple[int, int], ...], unknown: str
) -> None:
    remarks = Remarks()
    assert blocked_words(named, False, WORDS, remarks) == blocked
    told = [f"Never written anyway, since the captioner does not know them: {unknown}."]
    assert remarks.said == (told if unknown else [])
    assert blocked_ids(never_written(blocked, WORDS), WORDS) == blocked


def test_an_unknown_word_cannot_be_written_in_place_of_another() -> None:
    remarks = Remarks()
    assert blocked_words(("man=person,dog=cat",), False, WORDS, remarks) == ((5, 6), (7, 0))
    assert remarks.said == [
        "Unknown to the captioner, so nothing is written in place of others: cat; other words get their "
        "probability."
    ]


def test_an_empty_list_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"`never_write` is empty; is a variable"):
        blocked_words(("",), False, WORDS)


def test_a_word_must_be_left() -> None:
    with pytest.raises(ConfigError, match="names every word of the captioner"):
        blocked_words(("a,man,person,dog,he,Bär",), False, WORDS)


def test_a_neutral_word_that_is_unknown_becomes_a_more_general_one() -> None:
    words = Vocabulary((*SPECIALS, "brother", "sisters", "him", "person", "people", "boys"))
    assert blocked_words((), True, words) == ((4, 7), (5, 8), (6, 0), (9, 8))


def test_words_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffman=person\r\n\n dog \n".encode())
    assert blocked_words([str(file)], False, WORDS) == ((5, 6), (7, 0))
    with pytest.raises(DataError, match=r"none\.txt: there is no such file of words\.$"):
        blocked_words([str(tmp_path / "none.txt")], False, WORDS)
    file.write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"words\.txt: cannot be read as text"):
        blocked_words([str(file)], False, WORDS)


def test_neutral_words_for_people_get_the_probability_of_the_others() -> None:
    assert blocked_words((), True, WORDS) == ((5, 6), (8, 0))
    assert blocked_words(("person",), True, WORDS) == ((5, 0), (6, 0), (8, 0))
    for tokenizer in ("unicode", "characters"):
        with pytest.raises(ConfigError, match="list of words for English"):
            blocked_words((), True, Vocabulary(WORDS.words, tokenizer))


def test_a_choice_adds_to_what_a_bundle_never_writes() -> None:
    own = DecodeOptions(4, blocked=((5, 6),))
    assert DecodeChoice(never_write=("dog",)).over(own, WORDS).blocked == ((5, 6), (7, 0))
    assert DecodeChoice().over(own, WORDS) == own
    assert DecodeChoice(never_write=("person",)).over(own, WORDS).blocked == ((5, 0), (6, 0))
    assert DecodeChoice(never_write=("man=dog",)).over(own, WORDS).blocked == ((5, 7),)


def test_what_is_chosen_of_a_search_stands_over_what_a_bundle_has() -> None:
    own = DecodeOptions(4, 20, 0.7)
    chosen = DecodeChoice(beam_size=5, max_words=7, length_penalty=0.0)
    assert chosen.over(own, WORDS) == DecodeOptions(5, 7, 0.0)
    assert (chosen.beam_of_run, DecodeChoice().beam_of_run) == (5, 3)
    avoiding = DecodeOptions(avoid_repeats=True)
    assert DecodeChoice().over(avoiding, WORDS).avoid_repeats
    assert not DecodeChoice(avoid_repeats=False).over(avoiding, WORDS).avoid_repeats
    assert DecodeChoice(avoid_repeats=True).over(own, WORDS).avoid_repeats
    with pytest.raises(ConfigError, match=r"`n_best` must be at most `beam_size` \(4\), but is 5"):
        DecodeChoice(n_best=5).over(own, WORDS)


@pytest.mark.parametrize("blocked", [((2, 0),), ((5, 6), (6, 0)), ((0, 5),)])
def test_ids_that_cannot_be_blocked(blocked: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ConfigError, match=r"^`blocked` must be"):
        DecodeOptions(blocked=blocked)
