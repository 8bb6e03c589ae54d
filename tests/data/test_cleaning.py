"""A large model's captions: each pattern by its example, what must stay, and counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.data import cleaning_patterns
from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.cleaning import clean_caption, clean_captions
from distilcap.data.cleaning_rules import EMPTY, RULES, Rule, length_rule
from distilcap.data.readers import read_dataset
from distilcap.text.tokenizers import PTB, tokenizer_of

BY_PTB = tokenizer_of(PTB)
ALL = (*RULES, length_rule(16, BY_PTB), EMPTY)


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.kind)
def test_each_rule_does_what_its_examples_say(rule: Rule) -> None:
    for before, after in rule.examples:
        assert rule.apply(before) == after
        cleaned = clean_caption(before)
        assert rule.kind in cleaned.rules
        assert (cleaned.text is None) == (after is None)


def test_each_pattern_is_the_one_that_its_example_needs() -> None:
    for table in ("PREFIXES", "PREAMBLES", "REFUSALS"):
        for example, pattern in getattr(cleaning_patterns, table).items():
            match = re.match(pattern, example.replace("|", ""), re.IGNORECASE)
            assert match, example
            assert "|" not in example or match.end() - example.index("|") in (0, 1)
    for before, after, pattern, becomes in cleaning_patterns.MARKUP:
        assert re.sub(pattern, becomes, before, flags=re.MULTILINE | re.DOTALL) == after


# What large models wrote, with what a person would learn from it.
WRITTEN = {
    "The image shows a man riding a wave. The water is blue.": "A man riding a wave.",
    "**Caption:** The photo depicts **two dogs** on the *beach*.": "Two dogs on the beach.",
    "Sure! Here's a caption for the image:\n\n\"A dog catches a frisbee.\"": "A dog catches a frisbee.",
    "# Image Description\n\nThe image depicts a **young boy** with a ball.": "A young boy with a ball.",
    "- A dog runs on grass\n- Trees behind it": "A dog runs on grass",
    "Here are three captions:\n1. A dog runs.\n2. A cat sits.": "A dog runs.",
    "In the image, we can see that a dog runs.": "A dog runs.",
    "<think>What is it?\nA dog.</think>\n\nA dog runs.": "A dog runs.",
    "<Thinking>What is it?</Thinking>\nA dog runs.": "A dog runs.",
    "What is it? A dog.\n</think>\n\nA dog runs.": "A dog runs.",
    "<reasoning>Sand.</reasoning>\n<answer>A dog runs.</answer>": "A dog runs.",
    "<think>" + "Is it a dog? " * 1000 + "</think>A dog runs.": "A dog runs.",
    "<think>Is it a dog": None,
    "ASSISTANT: A dog runs.</s>": "A dog runs.",
    'user\nDescribe this photograph.\nassistant\nA dog runs.': "A dog runs.",
    "Question: what? Answer: a dog runs": "A dog runs",
    '```json\n{"id": 1, "captions": ["A dog runs."], "n": 1}\n```': "A dog runs.",
    r'{"caption": "A \"big\" dog.\nIt runs."}': 'A "big" dog.',
    '```json\n{"caption": "A \\"big\\" dog.\\r\\nIt runs."}\n```': 'A "big" dog.',
    '{"id": 1,\n "caption": "# Dogs\n\\nA dog runs."}': "A dog runs.",
    r'{"caption": "M\u00fcnchen, \ud83d\udc36 C:\\x"}': "München, 🐶 C:\\x",
    r'{"caption": "A dog\x20runs \ud83d"}': r"A dog\x20runs \ud83d",  # no JSON
    '```json\n[{"caption": "A dog runs."}, {"caption": "A cat"}]\n```': "A dog runs.",
    '["A dog runs.", "A cat sits."]': "A dog runs.",
    "{'caption': 'A dog\\'s tail.', 'n': 1}": "A dog's tail.",
    '{"text": "STOP", "image_caption": "A dog runs."}': "A dog runs.",
    '{"caption": "A dog runs. It is bro': "A dog runs.",
    "Title: Best Friends\nCaption: A dog runs.": "A dog runs.",
    "**Title:** Best Friends\n\n**Description:** A dog runs.": "A dog runs.",
    "A dog runs.</think>": "A dog runs.",
    "A dog runs.<thought>ok</thought>": "A dog runs.",
    "Title: A dog runs.\nTags: dog, beach": "A dog runs.",
    "Title: A dog runs\nWord count: 3": "A dog runs",
    "A Dog on the Beach\n\nHope this helps!": "A Dog on the Beach",
    "A Man Rides a Horse\nNote: I cannot see details.": "A Man Rides a Horse",
    '{"context": "outdoors", "text": "A dog runs."}': "A dog runs.",
    '{"previous caption": "A cat.", "caption": "A dog runs."}': "A dog runs.",
    "{'caption': 'A dog's tail wags.'}": "A dog's tail wags.",
    "Okay, let's see. A dog runs.": "A dog runs.",
    "The image features a brown dog running through a grassy field, with trees in the background and a clear "
    "blue sky overhead, suggesting a sunny day in the park": "A brown dog running through a grassy field",
    "I’m sorry, but I can’t assist with that. The image shows a man.": None,
    "Caption: I cannot describe people.": None,
    "a dog on a dog on a dog on a dog": None,
    "Photo of": None,
    "This appears to be a close-up photo of a cat. #cat #cute": "A cat.",
    "The image you provided shows a cat.": "A cat.",
    "In this vibrant photograph, a dog runs on grass.": "A dog runs on grass.",
    "This captivating, lively image beautifully showcases a dog.": "A dog.",
    "A candid shot of a man on a bench.": "A man on a bench.",
    "In the center of the image, a cat sleeps.": "A cat sleeps.",
    '"A dog runs on sand." This caption says what the dog does.': "A dog runs on sand.",
    "**": None,
    "The image contains the following:\n\n- A dog\n- A cat": "A dog",
    "Here are the elements:\n\n1. **Dog**: A brown dog runs.\n2. **Sky**: Blue.": "A brown dog runs.",
    "Here are the key elements:\n\n1. **Dog**: brown": "Dog: brown",
    "The image contains the following:\r\n\r\n- A dog\r\n- A cat": "A dog",
    "**Main subject**: A dog runs.": "A dog runs.",
    "- **Main subject:** A dog runs.\n- **Sky:** It is blue.": "A dog runs.",
    "I cannot describe it, for these reasons:\n- It is dark.": None,
    "Can you please provide the image?": None,
    "You haven't provided an image.": None,
    "It looks like you haven't uploaded an image.": None,
    "I'd be happy to help! Please share the image.": None,
    "Due to content policy, I cannot describe this image.": None,
    "Sorry I can't": None,
    "This image cannot be described.": None,
    "There isn't an image attached.": None,
    "The image shows.": None,
    "As a large language model, I see no image.": None,
    "A picture of a dog who sits on the sand": "A dog who sits on the sand",
    "A photo of an arena with few people in the stands .": "An arena with few people in the stands .",
    "This is a picture of a dog lying on the sand": "A dog lying on the sand",
    'The image shows a man. He says "Go. Now."': "A man.",
}  # fmt: skip


def test_a_caption_of_300_words_loses_its_opening() -> None:
    long = " ".join(f"word{n}" for n in range(297))
    cleaned = clean_caption(f"In this vibrant photograph, {long}.", max_words=400)
    assert cleaned.text == f"W{long[1:]}."
    assert cleaned.rules == ("prefix",)


@pytest.mark.parametrize("before", WRITTEN)
def test_what_large_models_write(before: str) -> None:
    assert clean_caption(before).text == WRITTEN[before]


PLAIN = [
    "A dog named Dr. Pepper sits with Mr. T. in the U.S. Capitol at 5 p.m. in winter.",
    "A black and white photo of a man riding a horse.",
    "A man takes a picture of a dog in front of a painting.",
    "Two men and two dogs, and a cat - all of them brown - on a bench.",
    '"Dogs" and "cats" are written on the wall.',
    "'Tis a dog's ball and a boys' toy.",
    "There is a dog with the number 7 on its back.",
    "J. Smith and J. R. Jones shake hands.",
    "A book by A. A. Milne on a table.",
    "Photo 1. A dog runs.",
    '["Stop", reads a sign] beside a man.',
    "Two boys: 1. Tom and 2. Tim",
    "A Dog Runs on the Beach",
    "A player in jersey #7 stands next to the picture #1",
    "A dog by Acme Intl. and friends",
    "The dog says ... Woof",
    "The picture is upside down.",
    "As a large crowd watches, a man jumps.",
    "As a large dog jumps, a boy laughs.",
    "As a fashion model walks by, two people clap.",
    "A picture of a dog hangs on the wall.",
    "A photo of a man is on the table.",
    "A shot of whiskey stands on a bar.",
    'A man says "Hello. How are you?" to a dog.',
    "A man says “Hello. How are you?” to a dog.",
    "Sorry dogs wait at a door",
    "There is a picture attached to the wall.",
    "“A dog reads “Go”",
    "A very very big dog runs side by side by side with a dog.",
    "A <unk> dog in a 3.5 m deep pool; a 2) painted on it",
    "Ein Hund läuft bzw. rennt z. B. über die Wiese.",
    "3. Platz für den Hund am 3. Oktober in St. Pölten.",
    "Un chien court sur la plage avec un ballon.",
    "«Un chien» dit l'affiche du 1er étage",
    "¿Dónde está el perro?",
    "El Sr. García pasea un perro.",
    "I cani corrono sulla spiaggia.",
    "Um cachorro corre na praia, perto do mar.",
    "Pies biegnie np. po plaży i łapie piłkę.",
    "Собака бежит по ул. Ленина за мячом.",
    "Ένας σκύλος τρέχει στην παραλία.",
    "Köpek sahilde koşuyor.",
    "Anak-anak bermain bola di pantai.",
    "一只棕色的狗在草地上奔跑。",
    "犬が浜辺を走っています。",
    "개가 해변에서 달리고 있다.",
    "สุนัขวิ่งบนชายหาด",
    "कुत्ता समुद्र तट पर दौड़ रहा है।",
    "كلب يركض على الشاطئ.",
    "כלב רץ על החוף.",
    "Con chó đang chạy trên bãi biển.",
]


@pytest.mark.parametrize("caption", PLAIN)
def test_plain_captions_of_many_languages_stay(caption: str) -> None:
    assert clean_caption(caption, max_words=30) == clean_caption(caption, max_words=10_000)
    assert clean_caption(caption, max_words=30).rules == ()
    assert clean_caption(caption, max_words=30).text == caption


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ein Kleid in Gr. 38 rot mit Gürtel.", "Es ist neu."),
        ("Ein Bild der Hl. Maria in einer Kirche.", "Sie betet."),
        ("Ein Korb für max. 5 kg und mind. 3 Äpfel, inkl. Deckel.", "Er ist rund."),
        ("Ein Buch, offen bei Kap. 3 und mit Tr. Müller darauf.", "Es ist alt."),
        ("Ein Mann mit Hut.", "Er lacht."),
        ("Ein Hund am See.", "Er ist nass."),
        ("Ein Mann mit Hut.", "13 Kinder spielen."),
        ("Ein Fisch von 20 cm.", "Er liegt auf Eis."),
        ("Ein Mann sieht tv.", "Er sitzt."),
        ("Pes a vlk.", "Stojí ve sněhu."),
        ("Muž drží prst.", "Usmívá se."),
        ("A man in a red hat.", "2 dogs play."),
        ("Ein Mann vor einem LKW.", "Er lacht."),
        ("Ein Hund läuft über die Wiese.", "2 Kinder sehen zu."),
        ("Un chien près de l'île.", "Il nage."),
        ("Küçük bir kız.", "Gülüyor."),
        ("Một bà mẹ.", "Bà cười."),
        ("Собака бежит в лес.", "Она мокрая."),
    ],
)
def test_abbreviations_of_other_languages_end_no_sentence(first: str, second: str) -> None:
    assert clean_caption(f"{first} {second}", tokenizer="unicode").text == first


def test_english_sentences_end_before_numbers_and_behind_short_words() -> None:
    assert clean_caption("A man watches tv. He sits.").text == "A man watches tv."
    assert clean_caption("A boy named Max. He sits.").text == "A boy named Max."
    assert clean_caption("A dog on a bed. 2 cats sit.").text == "A dog on a bed."


PIECES = [before for rule in ALL for before, _ in rule.examples] + [*PLAIN, "\n", ". ", " - ", "**", '"', "#"]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=5), st.sampled_from(["", " ", "\n"]))
def test_cleaning_what_is_clean_changes_nothing(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    cleaned = clean_caption(text)
    assert cleaned.rules or cleaned.text == " ".join(text.split())
    if cleaned.text is None:
        assert cleaned.rules
    else:
        assert clean_caption(cleaned.text).text == cleaned.text
        assert clean_caption(cleaned.text).rules == ()


@pytest.mark.parametrize(
    ("kept", "cut"),
    [
        ("A dog and a cat sit in the sun", ", and behind them runs a boy with a ball"),
        ("A dog and a cat sit in the sun", " while a boy with a ball runs on a beach"),
        ("A dog with a ball and a stick sits in the old red car", " and barks at all the people"),
        ("A dog, big and black and white, sits in the old red car", " and barks at all the people"),
        # Too little would be left by the comma.
        ("A dog, wearing the big red hat of the old man at the sea", " in the red light of the sun"),
        ("The old brown dog sits at his master's feet under the big red oak tree", " in the large garden"),
    ],
)
def test_a_long_caption_is_cut_where_a_phrase_ends(kept: str, cut: str) -> None:
    assert clean_caption(kept + cut, 16).text == kept


WORDS = ["a", "dog", "runs,", "with", "the", "and", "ball", "while;", "dog's"]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1),
    st.integers(2, 20),
)
def test_a_cut_caption_is_the_beginning_and_keeps_the_cap(words: list[str], cap: int) -> None:
    before = " ".join(words)
    after = length_rule(cap, BY_PTB).apply(before)
    assert after is not None
    assert before.startswith(after)
    assert len(BY_PTB.words(after)) <= cap
    assert after == before or len(BY_PTB.words(before)) > cap


@pytest.mark.parametrize(
    "unit", ["a", "a ", "[", "*", "\n", "<", ".", '"', "# ", "a. ", "狗", "_a ", "1. ", "</think>", "<think>"]
)
def test_endless_captions_take_no_time(unit: str) -> None:
    """Patterns that take the square of a text's length would take hours here."""
    cleaned = clean_caption("A dog " + unit * 500_000)
    assert cleaned.text is None or len(cleaned.text) <= 5_000
    assert cleaned.rules


def test_words_are_counted_by_the_tokenizer_of_the_training() -> None:
    long = "दो लोग नदी के किनारे एक बड़ी नाव के पास खड़े हैं और बातें करते हैं"
    assert len(long.split()) == 16
    assert clean_caption(long, 16, "unicode").rules == ()
    assert clean_caption(f"{long} अब", 16, "unicode").rules == ("length",)
    unspaced = "一只棕色的狗 在绿色的草地上 追着 一个 红色的球 奔跑"
    assert clean_caption(unspaced, 4, "characters").rules == ()


def test_counts_and_log_probabilities() -> None:
    captions = CaptionSet(
        {
            "a": (Caption("a dog", -1.0), Caption("The image shows a cat. It is big.", -2.0)),
            "b": (Caption("I'm sorry."), Caption("Photo of a cow.")),
            "c": (Caption("I cannot see."), Caption("dai dai dai")),
        }
    )
    kept, cleaning = clean_captions(captions)
    assert dict(kept) == {
        "a": (Caption("a dog", -1.0), Caption("A cat.")),
        "b": (Caption("A cow."),),
    }
    assert (cleaning.captions, cleaning.changed, cleaning.dropped) == (6, 2, 3)
    assert cleaning.changed_by == {"prefix": 2, "sentences": 1}
    assert cleaning.dropped_by == {"refusal": 2, "repetition": 1}
    assert cleaning.unplain == 4  # captions, each once, without what only repeats itself
    assert cleaning.examples["prefix"] == ("The image shows a cat. It is big.", "A cat.")
    assert str(cleaning) == (
        "changes 2 of 6 captions (prefix 2, sentences 1) and drops 3 (refusal 2, repetition 1)"
    )


def test_of_flickr8k_only_what_is_no_plain_caption_changes(shared_data: Path) -> None:
    """In all 40,000 people wrote "A picture of…" 25 times, two sentences five times, and "Ok Ok Ok"."""
    captions = read_dataset(shared_data / "flickr8k").captions
    some = captions.only(list(captions)[::10])
    _, cleaning = clean_captions(some, max_words=100)
    assert cleaning.captions == 4_000
    assert cleaning.changed_by.keys() <= {"prefix", "sentences"}
    assert cleaning.changed + cleaning.dropped <= 6
