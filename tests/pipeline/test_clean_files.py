"""Captions of a large model with line breaks, from the file to what is learnt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from distilcap.data.caption_files import read_references
from distilcap.data.check import check_dataset
from distilcap.data.readers import read_dataset
from distilcap.stages.captions import CleanLabels, ImportCaptions
from distilcap.stages.data import CleanReferences, ImportData
from distilcap.store.store import Store

WRITTEN = {
    "# Dogs\n\nA dog runs.": "A dog runs.",
    "1. A dog sits\n2. A cat": "A dog sits",
    "A boy jumps\n\nHe is happy": "A boy jumps",
    "**Two cows**\r\nTwo cows  stand\ton grass.": "Two cows stand on grass.",
    "a plain   caption": "a plain caption",
}
FORMS = ("jsonl", "json", "csv")


def write(folder: Path, form: str, texts: Mapping[str, str] | None = None) -> Path:
    """A data set of an image for each caption; `texts` are written instead."""
    rows = [(f"{n}.jpg", text) for n, text in enumerate(texts or WRITTEN)]
    for name, _ in rows:
        (folder / name).write_bytes(b"not looked into" + name.encode())
    path = folder / f"captions.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps({"image": n, "captions": [t]}) + "\n" for n, t in rows))
    elif form == "json":
        path.write_text(json.dumps([{"image": name, "caption": text} for name, text in rows]))
    else:
        quoted = "".join(f'{name},"{text}"\n' for name, text in rows)
        path.write_text("image,caption\n" + quoted, newline="")
    return path


def said(captions: Mapping[str, object]) -> list[str]:
    return [caption.text for of_image in captions.values() for caption in of_image]  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", FORMS)
def test_line_breaks_reach_the_cleaning(tmp_path: Path, form: str) -> None:
    path, store = write(tmp_path, form), Store(tmp_path / "store")
    one_line = [" ".join(text.split()) for text in WRITTEN]
    assert said(read_dataset(path).captions) == said(read_references(path)) == one_line
    data = ImportData.of(path)
    assert said(data.load(store).captions) == one_line
    clean = CleanReferences.of_data(data)
    assert said(clean.load(store).captions) == said(clean.read().captions) == list(WRITTEN.values())
    assert clean.cleaning(store).changed == 4
    labels = ImportCaptions.of(path)
    assert said(labels.load(store)) == one_line
    cleaned = CleanLabels.of(labels)
    assert said(cleaned.load(store)) == list(WRITTEN.values())
    assert cleaned.cleaning(store).changed == 4
    assert check_dataset(path).cleaning.changed == 4


def test_line_breaks_alone_make_other_clean_captions(tmp_path: Path) -> None:
    """The keys must differ where the captions as learnt without cleaning are the same."""
    lists = "1. A dog sits\n2. A cat", "1. A dog sits 2.\nA cat"
    paths = []
    for number, text in enumerate(lists):
        (tmp_path / str(number)).mkdir()
        paths.append(write(tmp_path / str(number), "jsonl", {text: ""}))
    first, second = map(ImportData.of, paths)
    assert first.key == second.key
    assert CleanReferences.of_data(first).key != CleanReferences.of_data(second).key


def test_data_without_line_breaks_keep_their_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl", dict.fromkeys(WRITTEN.values(), ""))
    data, labels = ImportData.of(path), ImportCaptions.of(path)
    assert CleanReferences.of_data(data).fingerprint == data.fingerprint
    assert CleanLabels.of(labels).labels == labels
    assert "line_breaks" not in labels.recipe()
