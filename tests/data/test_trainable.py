"""Data that can teach nothing are refused before any image is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distilcap.cli.main import main
from distilcap.data.check import check_dataset
from distilcap.data.trainable import MIN_COUNT, words_to_learn
from distilcap.errors import DataError
from distilcap.files import write_json
from distilcap.models.presets import preset
from distilcap.progress import Progress
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import WORDS, BuildVocabulary
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK
from distilcap.training.options import TrainingOptions

DOGS = [f"{n}.jpg,a dog runs {n},train" for n in range(9)]
VALIDATION = "v.jpg,a cat,val"
HOPELESS = {
    "no training image": ([VALIDATION], "no image of the training split has a caption; `split` of"),
    "no training caption": (["0.jpg,,train", VALIDATION], "no image of the training split has a caption"),
    "one image": (["0.jpg,a dog,train", "0.jpg,a cat,train", VALIDATION], "only one image of the training"),
    "no validation image": (DOGS, "no image of the validation split has a caption; `split` of"),
    "no validation caption": ([*DOGS, "v.jpg,,val"], "no image of the validation split has a caption"),
    "all equal": (
        [f"{n}.jpg,{'A dog.' if n % 2 else 'a  dog'},train" for n in range(9)] + [VALIDATION],
        "all captions of the training split say 'a dog'; give images that differ others.",
    ),
    "all rare": (
        [*DOGS[:4], VALIDATION],
        "no word occurs 5 times in the captions of the training split, so that none would be learnt; lower "
        "`--min-count`, or choose another `--tokenizer` than ptb.",
    ),
}


def write(folder: Path, rows: list[str]) -> Path:
    for name in {row.partition(",")[0] for row in rows}:
        Image.effect_noise((32, 32), 50).save(folder / name)
    (folder / "captions.csv").write_text("\n".join(["image,caption,split", *rows]))
    return folder


@pytest.mark.parametrize("name", HOPELESS)
def test_it_is_said_before_extraction(name: str, tmp_path: Path) -> None:
    rows, message = HOPELESS[name]
    data = ImportData.of(write(tmp_path, rows))
    never = ExtractFeatures(data, "{}", None, "an encoder that is not there", None, None, None)
    train = Train(data, BuildVocabulary(data), never, "updown", preset("updown", "tiny"), TrainingOptions())
    store = Store(tmp_path / "store")
    with pytest.raises(DataError) as caught:
        store.build(train)
    assert str(caught.value).startswith(f"{tmp_path}: {message}")
    assert not store.has(never)


@pytest.mark.parametrize("name", HOPELESS)
def test_data_check_says_the_same(name: str, tmp_path: Path) -> None:
    rows, message = HOPELESS[name]
    said = [
        one.message
        for one in check_dataset(write(tmp_path, rows), min_count=MIN_COUNT).problems
        if one.kind == "nothing to learn"
    ]
    # The former are data to score captions on; of the latter images are set aside, as `distill` does.
    assert len(said) == (name not in ("no training image", "no validation image", "no validation caption"))
    assert all(one.startswith(message) for one in said)


@pytest.mark.parametrize("command", ["train", "distill"])
def test_commands_say_it_in_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path, HOPELESS["all rare"][0])
    arguments = ["--data", str(data), "--store", str(tmp_path / "store"), "--encoder-weights", "random"]
    with pytest.raises(SystemExit) as left:
        main([command, *arguments, "--image-size", "32", "--min-count", "5"])
    assert left.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Error: {data}: no word occurs 5 times")
    assert not list((tmp_path / "store").glob("extractfeatures*"))


def test_what_can_teach_passes(tmp_path: Path) -> None:
    report = check_dataset(write(tmp_path, [*DOGS, VALIDATION]))
    assert report.problems == ()
    rare = write(tmp_path, HOPELESS["all rare"][0])
    assert check_dataset(rare, min_count=3).problems == ()  # one of four is set aside for test


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a dog", "a cat", "dogs", "A dog."]), min_size=1), max_size=4),
    st.integers(0, 2),
    st.integers(1, 4),
)
def test_it_is_refused_exactly_where_nothing_is_to_learn(
    train: list[list[str]], validation: int, min_count: int
) -> None:
    words = [tuple(tokenize(text)) for texts in train for text in texts]
    counts = {word: sum(word in one for one in words) for one in words for word in one}
    hopeful = len(train) >= 2 and validation and len(set(words)) >= 2 and max(counts.values()) >= min_count
    try:
        vocabulary, coverage = words_to_learn(train, validation, min_count)
    except DataError:
        assert not hopeful
    else:
        assert hopeful
        occurs = [word for text in words for word in text]
        kept = {word for word in occurs if sum(text.count(word) for text in words) >= min_count}
        assert set(vocabulary.words[4:]) == kept
        assert (coverage.kept, coverage.different) == (len(kept), len(set(occurs)))
        unknown = [word for word in occurs if word not in kept]
        assert coverage.unknown_words == pytest.approx(len(unknown) / len(occurs))
        with_unknown = [text for text in words if not kept.issuperset(text)]
        assert coverage.unknown_captions == pytest.approx(len(with_unknown) / len(words))
        assert (coverage.warnings == []) == (len(unknown) <= 0.1 * len(occurs))


def test_captions_that_are_cut_are_counted() -> None:
    train = [["a dog runs on the grass"], ["a cat"], ["a dog runs"], ["a dog sits"]]
    coverage = words_to_learn(train, 1, 1, max_words=3)[1]
    assert (coverage.cut_captions, coverage.different, coverage.warnings) == (0.25, 5, [])
    coverage = words_to_learn(train, 1, 1, max_words=2)[1]
    (warning,) = coverage.warnings
    assert warning == "75% of the captions are longer than 2 words and are cut there; raise `--max-words`."


@dataclass(frozen=True)
class Knows(Stage):
    """Stands for a captioner that is begun from."""

    words: tuple[str, ...]

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        write_json(folder / WORDS, [*SPECIALS, *self.words])


def test_words_that_the_start_knows_are_not_unknown(tmp_path: Path) -> None:
    rows = [f"{n}.jpg,a dog {word},train" for n, word in enumerate(["runs", "jumps", "swims", "sleeps"])]
    data = ImportData.of(write(tmp_path, [*rows, VALIDATION]))
    store = Store(tmp_path / "store")
    for words, lost in (((), 4), (("jumps", "cat"), 3), (("runs", "jumps", "swims", "sleeps"), 0)):
        stage = BuildVocabulary(data, 2, start=Knows(words))
        store.build(stage)
        vocabulary, coverage = stage.load(store), stage.coverage(store)
        learnt = [vocabulary.encode(["a", "dog", row.split(",")[1].split()[2]]) for row in rows]
        assert sum(ids.count(UNK) for ids in learnt) == lost
        assert coverage is not None
        assert (coverage.unknown_words, coverage.unknown_captions) == (lost / 12, lost / 4)
        assert str(coverage).startswith("2 of 6 different words occur 2 times or more")


def test_no_caption_can_write_the_captioner_s_own_words() -> None:
    """Models leave them in what they write: captions would end twice, or hold words never to be written."""
    train = [["<bos> a dog runs <eos>"], ["a cat sits <pad> <pad>"], ["a dog <unk>"]]
    vocabulary, coverage = words_to_learn(train, 1, 1)
    for (text,) in train:
        assert not {PAD, BOS, EOS} & {*vocabulary.encode(vocabulary.words_of(text))}
    assert coverage.unknown_captions == 1
    assert coverage.unknown_words == 5 / 13


def test_signs_of_money_that_ptb_writes_as_others_are_said() -> None:
    captions = [["a bag for £5", "a bag"], ["a bag for 5 €"], ["a bag for $5"]]
    (warning,) = words_to_learn(captions, 1, 1)[1].warnings
    assert warning.startswith("2 captions hold € or £, which are learnt and written as $ and #: ")
    assert "`--tokenizer unicode`" in warning
    assert words_to_learn(captions, 1, 1, tokenizer="unicode")[1].warnings == []
    assert words_to_learn([*captions[2:], ["a bag"]], 1, 1)[1].warnings == []
