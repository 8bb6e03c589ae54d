import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilcap.text.tokenize import PUNCTUATION, tokenize, tokenize_stream

# Recorded from the official tokenizer, the caption followed by another line.
OFFICIAL = {
    "A man riding a wave.": "a man riding a wave",
    "The dog's bowl isn't full, they've said.": "the dog 's bowl is n't full they 've said",
    'A sign reads "Stop (now)".': "a sign reads stop -lrb- now -rrb-",
    "two 1/2-inch and 3 1/2 pies at 3:30pm": "two 1/2-inch and 3\xa01/2 pies at 3:30 pm",
    "Mr. Smith's T.V. etc. on Santa Monica Blvd.": "mr. smith 's t.v. etc. on santa monica blvd.",
    "a close-up of a half-eaten cake/pie": "a close-up of a half-eaten cake/pie",
    "it cost $5.99, or €6 or 50¢ (cheap!)": "it cost $ 5.99 or $ 6 or 50 cents -lrb- cheap -rrb-",
    "you cannot be gonna": "you can not be gon na",
    "rock'n'roll o'clock 'em 1990's '90s": "rock 'n' roll o'clock 'em 1990 's '90s",
    "see www.foo.com/bar. or mail a@b.com": "see www.foo.com/bar or mail a@b.com",
    "AT&amp;T & M&M's #tag @me": "at&t & m&m 's #tag @me",
    "café naïve 日本語 привет": "café naïve 日本語 привет",
    "a \U0001f600 smile ❤ ★★": "a smile ❤ ★ ★",
    "wait... -- no; -lrb- … ½ <b>x</b>": "wait no -lrb- 1/2 <b> x </b>",
    "": "",
    " . ": "",
}


@pytest.mark.parametrize("caption", OFFICIAL)
def test_recorded_official_tokens(caption):
    assert " ".join(tokenize(caption)) == OFFICIAL[caption]


def test_odd_captions_of_coco(shared_data):
    odd = json.loads((shared_data / "coco_fakecap" / "ptb_odd_3000.json").read_text())
    wrong = []
    for one in odd:
        official = [word for word in one["ptb"].split(" ") if word and word not in PUNCTUATION]
        if tokenize_stream([one["caption"], one["next"]])[0] != official:
            wrong.append(one["caption"])
    assert wrong == []


def test_a_caption_does_not_depend_on_its_neighbour_but_the_stream_does():
    assert tokenize("The letter x.") == ["the", "letter", "x"]
    assert tokenize_stream(["The letter x.", "The cat sits"])[0] == ["the", "letter", "x"]
    assert tokenize_stream(["The letter x.", "cats sit"])[0] == ["the", "letter", "x."]


def test_a_separator_inside_a_caption_shifts_the_stream_as_officially_but_not_a_caption():
    captions = ["a dog\u2028runs", "a cat", "a cow"]
    assert tokenize_stream(captions) == [["a", "dog"], ["runs"], ["a", "cat"]]
    assert [tokenize(caption) for caption in captions] == [["a", "dog", "runs"], ["a", "cat"], ["a", "cow"]]
    assert tokenize_stream(["a dog\nruns", "a cat"]) == [["a", "dog", "runs"], ["a", "cat"]]


@given(st.lists(st.text(st.characters(exclude_characters="\r\x0b\x0c\u2028\u2029"), max_size=30), max_size=5))
def test_any_text_gives_one_list_of_words_without_spaces_for_each_caption(captions):
    found = tokenize_stream(captions)
    assert len(found) == len(captions)
    for words in [*found, *map(tokenize, captions)]:
        assert all(word and " " not in word and word not in PUNCTUATION for word in words)


@given(st.text(st.sampled_from("aA19 .,'\"-/&@#!?:;()$%\n\u2028é日\U0001f600"), max_size=40))
def test_tokenizing_ends_and_keeps_letters_in_order(caption):
    letters = [c for c in caption.lower() if c in "aé日"]
    words = "".join(tokenize(caption)).replace("amp", "").replace("-lrb-", "").replace("-rrb-", "")
    assert [c for c in words if c in "aé日"] == letters


# Recorded from the official tokenizer: what stands in captions of no data set, but may in somebody's.
ODD = {
    "?!:;=)": "?! =-rrb-",
    "“”«»": "``'' ``''",
    "a :-) dog ;D ^_^ >:(": "a :--rrb- dog ;d ^_^ >:-lrb-",
    "at:) it": "at :-rrb- it",
    "c'mona o'90s y'all": "c'mon a o'90s y' all",
    "see http://a.com/b, or Foo.com.": "see http://a.com/b or foo.com",
    "mail a.b@c.d, #añb @me": "mail a.b@c.d, #añb @me",
    r"a \* b don’t can`t": r"a \* b do n't ca n`t",
    "A$ US$ BBB$": "a$ us$ bbb$",
    "end.Begin again!Now x": "end.begin again!now x",
}


@pytest.mark.parametrize("caption", ODD)
def test_recorded_official_tokens_of_odd_captions(caption):
    assert " ".join(tokenize(caption)) == ODD[caption]


@pytest.mark.slow
def test_all_captions_of_coco(tmp_path):
    """616,767 captions as one text, through the official tokenizer and ours."""
    folder = Path(pytest.importorskip("pycocoevalcap.bleu.bleu").__file__).parents[1]
    java = shutil.which("java") or pytest.skip("Java was not found")
    captions = []
    with zipfile.ZipFile(folder / "spice" / "spice-1.0.jar") as jar:
        for split in ("train2014", "val2014"):
            content = json.loads(jar.read(f"coco/annotations/captions_{split}.json"))
            captions += [one["caption"].replace("\n", " ") for one in content["annotations"]]
    assert len(captions) == 616_767
    text = tmp_path / "captions.txt"
    text.write_text("\n".join(captions), encoding="utf-8")
    (archive,) = (folder / "tokenizer").glob("stanford-corenlp-*.jar")
    program = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", str(text)]
    done = subprocess.run([java, "-cp", str(archive), *program], capture_output=True, check=True)
    lines = done.stdout.decode().split("\n")
    official = [
        [word for word in line.split(" ") if word.strip() and word not in PUNCTUATION] for line in lines
    ]
    found = tokenize_stream(captions)
    assert [captions[n] for n, words in enumerate(found) if words != official[n]] == []
