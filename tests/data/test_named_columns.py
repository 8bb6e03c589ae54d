"""Columns that a person names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from distilcap.data.check import check_dataset
from distilcap.data.readers import Columns, find_entries, read_dataset
from distilcap.errors import DataError


def test_keys_inside_others_are_read_by_their_path(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    answer = {"model": "big", "choices": [{"text": "a dog"}]}
    records = [{"custom_id": f"{n}.jpg", "response": answer, "tags": ["x"]} for n in range(3)]
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    told = [str(problem) for problem in find_entries(file).problems]
    there = "names their path: response.model, response.choices.0.text."
    assert [there in line for line in told] == [True, False, False]
    columns = Columns(image_column="custom_id", caption_column=("response.choices.0.text",))
    result = find_entries(file, columns=columns)
    assert not result.problems
    assert result.entries["2"].captions == ["a dog"]
    file.write_text(json.dumps([{"image": "a.jpg", "response": {"caption": "a dog"}}]))
    assert "not read: response.caption; `--caption-column` names" in find_entries(file).notes[0]
    assert find_entries(file, columns=Columns(caption_column=("response.caption",))).entries["a"].captions
    with pytest.raises(DataError, match=r"no column `response\.text`"):
        find_entries(file, columns=Columns(caption_column=("response.text",)))


def test_addresses_on_the_internet_are_called_so(tmp_path: Path) -> None:
    file, address = tmp_path / "all.csv", "https://example.com/x/1.jpg?size=800"
    rows = [f"{number}.png,a dog" for number in range(3)]
    for number in range(3):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(tmp_path / f"{number}.png")
    file.write_text("\n".join(["image,caption", f"{address},a cat", *rows]))
    (note,) = find_entries(file).notes
    assert note.startswith(
        f"1 image is an address on the internet ('{address}'); distilcap downloads nothing"
    )
    problems = [str(one) for one in check_dataset(file).problems if one.kind == "missing image"]
    assert len(problems) == 1
    assert f": image '{address}' is an address on the internet; distilcap downloads nothing" in problems[0]
    file.write_text(f"image,caption\n{address},a cat\n")
    with pytest.raises(DataError, match=r"1\.jpg\?size=800' is an address on the internet; .*img2dataset"):
        read_dataset(file)


def test_a_mistyped_column_of_json_lines_is_named_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text('{"image": "a.jpg", "response": "a dog"}\n{"image": "b.jpg", "response": "a cat"}\n')
    with pytest.raises(DataError, match=r"no column `respons`; there are: image \| response\."):
        find_entries(file, columns=Columns(caption_column=("respons",)))
