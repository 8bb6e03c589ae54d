"""`CaptionSet` and `Vocabulary`: round trips, order, and errors with the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilcap.data.caption_files import fit_ids, read_candidates, read_references
from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.readers import DataForm, ReadResult, Source, registry
from distilcap.errors import ConfigError, DataError
from distilcap.files import write_checksum
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
captions = st.builds(Caption, texts, st.none() | st.floats(allow_nan=False, allow_infinity=False))
sets = st.dictionaries(texts, st.lists(captions, max_size=3).map(tuple), max_size=5).map(CaptionSet)


@given(sets)
def test_a_saved_set_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, original: CaptionSet) -> None:
    path = tmp_path_factory.mktemp("set") / "captions.jsonl"
    original.save(path)
    again = CaptionSet.load(path)
    assert again == original
    assert list(again) == list(original)


def test_views_of_a_set() -> None:
    original = CaptionSet.of_texts({"x": ["a", "b"], "y": ["c"]})
    assert original.texts("x") == ["a", "b"]
    assert list(original.only(["y", "x"])) == ["y", "x"]
    assert original.top().texts("x") == ["a"]
    with pytest.raises(KeyError):
        original.only(["z"])


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"image": "y"}',
        '{"image": "y", "captions": [1]}',
        '{"image": "y", "captions": {}}',
        '{"image": 1, "captions": []}',
        '{"image": "y", "captions": [{"text": null}]}',
        '{"image": "y", "captions": [{"text": "a", "log_prob": NaN}]}',
        '{"image": "y", "captions": [{"text": "a", "log_prob": 1e999}]}',
        '{"image": "y", "captions": [{"text": "a", "log_prob": "-1"}]}',
        '{"image": "y", "captions": [{"text": "a", "log_prob": true}]}',
        '{"image": "y", "captions": [{"text": "a", "log_prob": 1' + "0" * 400 + "}]}",
        '{"image": "y", "captions": [{"text": "a", "log_prob": 1' + "0" * 5000 + "}]}",
        "7",
    ],
    ids=lambda line: line[:60],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"image": "x", "captions": []}\n' + line)
    with pytest.raises(DataError, match=r"captions.jsonl:2: (expected|not)"):
        CaptionSet.load(path)


def test_an_image_with_two_lines_and_bad_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"image": "x", "captions": []}\n' * 2)
    with pytest.raises(DataError, match=r"captions.jsonl:2: image 'x' has a line already"):
        CaptionSet.load(path)
    path.write_bytes(b'{"image": "x", "captions": []}\n{"image": "\xff", "captions": []}\n')
    with pytest.raises(DataError, match=r"captions.jsonl:2: not UTF-8 text"):
        CaptionSet.load(path)


@pytest.mark.parametrize("log_prob", [float("nan"), float("inf"), float("-inf")])
def test_nan_never_becomes_a_label(tmp_path: Path, log_prob: float) -> None:
    with pytest.raises(DataError, match="gives image 'y' a log-probability that is NaN or infinite"):
        CaptionSet({"x": (Caption("a", -1.0),), "y": (Caption("a", log_prob),)}).save(tmp_path / "labels")
    assert not list(tmp_path.iterdir())


def test_a_file_is_checked_against_its_checksum_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    captions = CaptionSet.of_texts({str(image): ["a dog runs"] for image in range(4)})
    captions.save(path)
    write_checksum(path)
    assert CaptionSet.load(path) == read_references(path) == read_candidates(path) == captions
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))  # cut at a line end: valid, but half
    for read in (CaptionSet.load, read_references, read_candidates):
        with pytest.raises(
            DataError, match=r"labels.jsonl: differs from its checksum file labels.jsonl.sha256"
        ):
            read(path)
    captions.top().save(path)  # a new file is not judged by the old one's checksum
    assert CaptionSet.load(path) == captions
    coco = tmp_path / "results.json"
    coco.write_text('[{"image_id": 1, "caption": "a dog"}]')
    write_checksum(coco)
    coco.write_text('[{"image_id": 1, "caption": "a dot"}]')
    with pytest.raises(DataError, match=r"results.json: differs from its checksum file"):
        read_candidates(coco)


def test_a_stem_of_several_images_names_none_of_them() -> None:
    def fitted(names: list[str], known: list[str]) -> list[str]:
        return list(fit_ids(*(CaptionSet.of_texts({id: [id] for id in ids}) for ids in (names, known))))

    assert fitted(["a.jpg", "a.png"], ["a", "a.png"]) == ["a", "a.png"]
    assert fitted(["in/a.jpg", "in/a.png"], ["a", "a.png"]) == ["a", "a.png"]
    with pytest.raises(DataError, match=r"'a' has a candidate, but no references\."):
        fitted(["a", "b"], ["a.jpg", "a.png", "b.jpg"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such captions file"):
        CaptionSet.load(tmp_path / "captions.jsonl")


def test_words_seen_less_than_five_times_become_unk() -> None:
    vocabulary = Vocabulary.build([["a", "dog"]] * 4 + [["a"]])
    assert vocabulary.words == (*SPECIALS, "a")
    assert vocabulary.encode(["a", "dog", "a"]) == [4, UNK, 4]
    assert vocabulary.encode(["a", "dog", "a"], max_words=2) == [4, UNK]


def test_the_special_tokens_are_four_distinct_ids() -> None:
    assert sorted({PAD, BOS, EOS, UNK}) == [0, 1, 2, 3]


@given(st.lists(st.sampled_from(["a", "dog", "runs", "red"]), max_size=8))
def test_known_words_survive_the_round_trip(words: list[str]) -> None:
    vocabulary = Vocabulary.build([["a", "dog", "runs", "red"]], min_count=1)
    assert vocabulary.decode([BOS, *vocabulary.encode(words), EOS, PAD, 4]) == " ".join(words)


def test_ties_are_ordered_by_the_alphabet() -> None:
    assert Vocabulary.build([["b", "a", "c", "c"]], min_count=1).words[4:] == ("c", "a", "b")


def test_impossible_vocabularies_are_refused() -> None:
    with pytest.raises(ConfigError, match="`min_count` must be at least 1, but is 0"):
        Vocabulary.build([], 0)
    with pytest.raises(ConfigError, match="`words` must begin with <pad> <bos> <eos> <unk>"):
        Vocabulary(("a",))
    with pytest.raises(ConfigError, match="`words` must be distinct"):
        Vocabulary((*SPECIALS, "a", "a"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "image_id,caption1,caption2,caption3\n1,a dog,the dog,dogs\n2,a cat,nan,\n"),
        ("x.csv", "image_id,caption,caption,caption\n1,a dog,the dog,dogs\n2,a cat,,\n"),
        ("x.csv", "image_id,captions\n1,\"['a dog', 'the dog', 'dogs']\"\n2,a cat\n2,nan\n"),
        ("x.tsv", 'image_id\tcaption\n1\t"a dog"\n1\tthe dog\n1\tdogs\n2\ta cat\n'),
        (
            "x.jsonl",
            '{"image_id": 1, "caption1": "a dog", "caption2": "the dog", "caption3": "dogs"}\n'
            '{"image_id": 2, "caption1": "a cat", "caption2": null}\n',
        ),
        (
            "x.jsonl",
            '{"image_id": 2, "caption": "a cat"}\n'
            '{"image_id": 1, "captions": ["a dog", "the dog", "dogs"]}\n',
        ),
    ],
)
def test_references_by_ids_are_read_as_those_of_a_data_set(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    found = read_references(tmp_path / name)
    assert {id: found.texts(id) for id in found} == {"1": ["a dog", "the dog", "dogs"], "2": ["a cat"]}


def test_an_image_whose_columns_are_all_empty_has_one_empty_caption(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("image_id,caption1,caption2\n1,a dog,\n2,,\n")
    found = read_candidates(tmp_path / "x.csv")
    assert {id: found.texts(id) for id in found} == {"1": ["a dog"], "2": [""]}


def test_a_candidate_of_a_table_may_be_null(tmp_path: Path) -> None:
    """A word for null in a cell is no caption; in JSON, which has its own null, it is one."""
    (tmp_path / "x.csv").write_text("image_id,caption\n1,nan\n2,a cat\n3,\n")
    found = read_candidates(tmp_path / "x.csv")
    assert [found.texts(id) for id in found] == [[""], ["a cat"], [""]]
    (tmp_path / "x.json").write_text('[{"image_id": 1, "caption": "nan"}]')
    assert read_candidates(tmp_path / "x.json").texts("1") == ["nan"]


def test_captions_that_vizwiz_rejects_are_no_references(tmp_path: Path) -> None:
    marked = [
        {},
        {"is_rejected": True},
        {"is_precanned": True},
        {"is_rejected": False, "is_precanned": False},
    ]
    captions = [{"image_id": 1, "caption": str(number), **marks} for number, marks in enumerate(marked)]
    (tmp_path / "val.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": captions}))
    assert read_references(tmp_path / "val.json").texts("1") == ["0", "3"]


def test_a_string_is_one_caption(tmp_path: Path) -> None:
    """As in files of the form {"id": "a caption"}."""
    (tmp_path / "x.json").write_text('{"1": "a dog runs", "2": ["a cat", "cats"]}')
    texts = {"1": "a dog runs", "2": ["a cat", "cats"]}
    assert CaptionSet.of_texts(texts) == read_references(tmp_path / "x.json")


@pytest.mark.parametrize("id", [391895, 7.0, None])
def test_ids_that_are_no_text_are_refused_at_once(id: object) -> None:
    """A file of such captions could not be read again."""
    for make in (
        lambda: CaptionSet.of_texts({"1": ["a dog"], id: ["a cat"]}),  # type: ignore[dict-item]
        lambda: CaptionSet({id: (Caption("a cat"),)}),  # type: ignore[dict-item]
    ):
        with pytest.raises(DataError, match=rf"^Image ids of captions must be text, but {id} is of type "):
            make()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", '[{"image_id": 1, "caption": "a dog"}, {"image_id": 2, "caption": "two cats"}]'),
        ("x.json", '{"1": "a dog", "2": "two cats"}'),
        ("x.jsonl", '{"image": "1", "captions": [{"text": "a dog"}]}\n'),
    ],
)
def test_a_plugin_s_form_is_asked_before_ours(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of references, candidates and labels too: it alone knows what its files say."""

    def read(source: Source, result: ReadResult) -> None:
        entry = result.image("7", "7.jpg", None, None)
        assert entry is not None
        result.caption(entry, "as the plugin reads it", 1)

    registry.forms()  # registers ours once: not while they are a copy
    form = DataForm("of a plugin", "x", lambda source: source.path.name == name, read)
    monkeypatch.setattr(registry, "_forms", registry._forms | {form.name: form})
    (tmp_path / name).write_text(content)
    expected = CaptionSet.of_texts({"7": ["as the plugin reads it"]})
    assert read_references(tmp_path / name) == expected
    assert read_candidates(tmp_path / name) == expected
    with pytest.raises(DataError, match="there is no such"):
        read_references(tmp_path / "absent" / name)
