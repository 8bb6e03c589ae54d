"""Neutral words for people: the rule, and that it leaves no word of gender."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.neutral import neutral_captions
from distilcap.errors import ConfigError
from distilcap.text.people import check_english, neutral, neutral_words
from distilcap.text.tokenize import tokenize


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A man in a red shirt .", "A person in a red shirt ."),
        ("a man and a woman on a bench", "two people on a bench"),
        ("A boy and girl play", "Two children play"),
        ("Men and women dance", "People dance"),
        ("The woman's dog", "The person's dog"),
        ("a little boy hugs his mother", "a little child hugs their parent"),
        ("as he jumps", "as the person jumps"),
        ("a girl and a dog next to her .", "a child and a dog next to them ."),
        ("she looks at her and her in-line skates", "the person looks at them and their in-line skates"),
        ("a man throws her the ball, hands her a hat", "a person throws them the ball, hands them a hat"),
        ("the boys' team in a ladies’ room", "the children's team in a people’s room"),
        (
            "it's the boys' team, says 'The Boys' on a sign",
            "it's the children's team, says 'The Children' on a sign",
        ),
        ("a dog in a man-made lake with Batman", "a dog in a man-made lake with Batman"),
        ("two dogs run", "two dogs run"),
        ("A female athlete and a male tennis player", "An athlete and a tennis player"),
        ("Female surfer in a wave", "Surfer in a wave"),
        ("A male in a hat", "A person in a hat"),
        ("a male walks, a female is sitting", "a person walks, a person is sitting"),
        (
            "the male walks by a young male dressed in black",
            "the person walks by a young person dressed in black",
        ),
        ("another male under a tree", "another person under a tree"),
        ("a male and female kiss", "two people kiss"),
        ("an all-male band", "an all-male band"),
        ("two young male hikers", "two young hikers"),
        ("the male lion", "the lion"),
        ("A fisherman stands", "A fisher stands"),
        ("a bride and groom kiss", "two people kiss"),
        ("The bride and groom pose with their bridesmaids .", "The two people pose with their attendants ."),
        ("bride and groom standing in a church", "two people standing in a church"),
        ("a mother and father with three sons", "two parents with three children"),
        ("The Brother and Sister", "The two siblings"),
        ("next to a woman and he is reading", "next to a person and the person is reading"),
        ("kings and queens and kings", "monarchs"),
        ("a tall man and a woman", "a tall person and a person"),
        ("an uncle holds his niece", "a relative holds their relative"),
        ("A bridesmaid and An Aunt", "An attendant and A Relative"),
        ("an actress", "an actor"),
        ("a cowboy falls off a bull", "a ranch hand falls off a bull"),
        ("the first baseman catches it", "the first base player catches it"),
        ("a little girl dressed as a princess", "a little child dressed as a royal"),
        # Here they name no person, or are no nouns.
        ("a man in a cowboy hat", "a person in a cowboy hat"),
        ("a girl in pink cowgirl boots", "a child in pink cowgirl boots"),
        ("two dogs groom each other", "two dogs groom each other"),
        ("ready to groom a horse", "ready to groom a horse"),
        ("people groom a dog at a dog groom shop", "people groom a dog at a dog groom shop"),
        ("the groom kisses her", "the person kisses them"),
        ("a dairy queen sign and a queen bee", "a dairy queen sign and a queen bee"),
        ("a king size bed, a queen sized bed", "a king size bed, a queen sized bed"),
        ("a Burger King and two drag queens", "a Burger King and two drag queens"),
    ],
)
def test_captions_are_rewritten(text: str, expected: str) -> None:
    assert neutral(text) == expected


WORDS = [*neutral_words(), "a", "and", "dog", "person", "people", "child", "one", "The", "MAN", "Her"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from([" ", ", ", "'s ", ". ", "-"])), max_size=9)
)
def test_no_word_of_gender_is_left_and_twice_is_once(parts: list[tuple[str, str]]) -> None:
    written = neutral("".join(word + after for word, after in parts))
    assert set(tokenize(written)) & set(neutral_words()) <= {"groom"}  # a verb, where nothing says otherwise
    assert neutral(written) == written


def test_what_is_written_instead_is_neutral_itself() -> None:
    assert not {instead for instead in neutral_words().values() if instead} & set(neutral_words())
    assert {"man", "woman", "boy", "girl", "lady", "guy", "men", "women", "boys", "girls"} <= set(
        neutral_words()
    )


def test_plurals_are_in_the_list_as_their_singulars_are() -> None:
    """Of words that are formed by rule; "grooms" is left out, since it is a verb nearly always."""
    words = neutral_words()
    for word in words:
        if word.endswith(("man", "woman")):
            assert f"{word[:-2]}en" in words or word == "woman", word
        elif word.endswith(("boy", "girl", "mother", "father", "ter", "king", "queen", "prince", "aunt")):
            assert f"{word}s" in words, word


def test_of_a_set_those_named_are_rewritten_and_lose_their_log_probability() -> None:
    captions = CaptionSet(
        {"a": (Caption("a man", -1.0), Caption("a dog", -2.0)), "b": (Caption("a boy", -3.0),)}
    )
    assert neutral_captions(captions, ["a"]) == CaptionSet(
        {"a": (Caption("a person"), Caption("a dog", -2.0)), "b": (Caption("a boy", -3.0),)}
    )
    assert neutral_captions(captions)["b"] == (Caption("a child"),)


def test_other_languages_have_no_list() -> None:
    check_english("ptb")
    with pytest.raises(
        ConfigError, match=r"^`neutral_people` has a list of words for English .* not for .*unicode;"
    ):
        check_english("unicode")
