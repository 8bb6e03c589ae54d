"""Captions files of every encoding that spreadsheets and editors save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.data.caption_files import read_candidates, read_references
from distilcap.data.captions import CaptionSet
from distilcap.data.check import check_dataset
from distilcap.data.readers import read_dataset
from distilcap.data.readers.text import read_text, read_text_lines
from distilcap.errors import DataError
from distilcap.files import parse_json

CAPTIONS = {
    "cp1252": ["un café à la crème sur une table", "Ein Hündchen läuft über die Wiese", "a dog’s “red” ball"],
    "cp1250": ["Pies biegnie po zielonej łące i gryzie żółtą piłkę", "šťastný pes běží po trávě"],
    "cp1251": ["собака бежит по траве", "Кошка сидит на столе"],
    "cp1253": ["ένας σκύλος τρέχει στο γρασίδι"],
    "cp932": ["犬が公園で走っている。", "テーブルの上のピザ"],
    "gb18030": ["一只狗在草地上奔跑", "两个女孩在玩耍。"],
    "cp949": ["개가 잔디 위를 달린다"],
    "big5": ["一隻狗在草地上奔跑"],
}
WIDE = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
CASES = [*CAPTIONS.items(), *((encoding, CAPTIONS["cp1251"]) for encoding in WIDE)]


def put(folder: Path, encoding: str, content: str, name: str = "captions.csv") -> Path:
    (folder / "a.jpg").touch()
    (folder / name).write_bytes(content.encode(encoding))
    return folder / name


@pytest.mark.parametrize("encoding, said", CASES, ids=[encoding for encoding, _ in CASES])
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json", "txt"])
def test_every_form_in_every_encoding(tmp_path: Path, encoding: str, said: list[str], form: str) -> None:
    contents = {
        "csv": "image,caption\n" + "".join(f'a.jpg,"{text}"\n' for text in said),
        "tsv": "image\tcaption\r\n" + "".join(f"a.jpg\t{text}\r\n" for text in said),
        "jsonl": json.dumps({"image": "a.jpg", "captions": said}, ensure_ascii=False) + "\n",
        "json": json.dumps([{"image": "a.jpg", "captions": said}], ensure_ascii=False, indent=1),
        "txt": "\n".join(said),
    }
    path = put(tmp_path, encoding, contents[form], "a.txt" if form == "txt" else f"captions.{form}")
    report = check_dataset(tmp_path)
    assert read_dataset(tmp_path).captions.texts("a") == said
    assert not [problem for problem in report.problems if problem.kind == "malformed entry"]
    guessed = [note for note in report.notes if note.startswith(f"{path}: not UTF-8, read as {encoding};")]
    assert len(guessed) == (encoding not in WIDE)


@pytest.mark.parametrize(
    "encoding, text",
    [
        ("latin-1", "ÿ"),  # one odd byte is no evidence
        ("mac_roman", "un café à la crème"),
        ("koi8-r", "собака бежит по траве"),
        ("cp437", "un café à la crème"),
    ],
)
def test_what_no_code_page_of_windows_explains_is_refused_with_its_line(
    tmp_path: Path, encoding: str, text: str
) -> None:
    path = put(tmp_path, encoding, f"image,caption\na.jpg,a dog\na.jpg,{text}\n")
    with pytest.raises(DataError, match=r"captions\.csv:3: not UTF-8 text; save the file as UTF-8"):
        read_dataset(path)


@pytest.mark.parametrize("cut", ["utf-16", "utf-32"])
def test_a_broken_file_of_wide_characters_is_refused(tmp_path: Path, cut: str) -> None:
    path = put(tmp_path, cut, "image,caption\na.jpg,a dog\n")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"broken UTF-(16|32); save the file as UTF-8"):
        read_dataset(path)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\0"), min_size=2),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_lines_and_the_whole_text_agree(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("text") / "x.txt"
    path.write_bytes(text.encode(encoding))
    assert read_text(path) == text
    lines = text.removesuffix("\n").split("\n") if text else []
    assert list(read_text_lines(path)) == lines


@pytest.mark.parametrize(
    "content",
    [
        'sep=;\r\nimage;caption\r\na.jpg;"a dog; running"\r\n',
        "sep=,\nimage,caption\na.jpg,a dog; running\n",
        "image;caption\na.jpg;a dog; running\n".replace("a dog; running", '"a dog; running"'),
        "image\tcaption\na.jpg\ta dog; running\n",
        "sep=|\nimage|caption\na.jpg|a dog; running\n",
        'sep=\t\nimage\tcaption\na.jpg\t"a dog; running"\n',
    ],
)
def test_excels_tables(tmp_path: Path, content: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path = put(tmp_path, encoding, content)
        assert read_dataset(path).captions.texts("a") == ["a dog; running"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_captions_to_score_and_their_references(tmp_path: Path, encoding: str) -> None:
    said = {"7": ["a café"], "8": ["a dog"]}
    results = [{"image_id": int(key), "caption": texts[0]} for key, texts in said.items()]
    files = {
        "results.json": json.dumps(results, ensure_ascii=False),
        "results.jsonl": "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in results),
        "results.csv": "image_id,caption\n" + "".join(f"{k},{v[0]}\n" for k, v in said.items()),
        "map.json": json.dumps(said, ensure_ascii=False),
        "coco.json": json.dumps(
            {"images": [{"id": 7}, {"id": 8}], "annotations": results}, ensure_ascii=False
        ),
    }
    for name, content in files.items():
        path = put(tmp_path, encoding, content, name)
        assert read_references(path) == CaptionSet.of_texts(said), name
        assert read_candidates(path) == CaptionSet.of_texts(said), name


def test_a_byte_order_mark_hurts_nowhere(tmp_path: Path) -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "x") == parse_json('\ufeff{"a": 1}', "x") == {"a": 1}
    captions = CaptionSet.of_texts({"x": ["a dog"], "y": ["b"]})
    captions.save(tmp_path / "labels.jsonl")
    (tmp_path / "labels.jsonl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "labels.jsonl").read_bytes())
    assert CaptionSet.load(tmp_path / "labels.jsonl") == captions
    assert read_references(tmp_path / "labels.jsonl") == captions
