"""Columns that a person names."""

from __future__ import annotations

from pathlib import Path

import pytest

from distilcap.data.readers import Columns, find_entries
from distilcap.errors import DataError


def test_a_mistyped_column_of_json_lines_is_named_with_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text('{"image": "a.jpg", "response": "a dog"}\n{"image": "b.jpg", "response": "a cat"}\n')
    with pytest.raises(DataError, match=r"no column `respons`; there are: image \| response\."):
        find_entries(file, columns=Columns(caption_column=("respons",)))
