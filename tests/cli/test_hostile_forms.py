"""Every form of file that is read, with every value in it replaced: read, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import COCO, KARPATHY, ODD, RECORDS, UNUSABLE, changed, error_of, places
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from distilcap.data.caption_files import read_candidates, read_references
from distilcap.data.check import check_dataset
from distilcap.data.readers import find_entries, read_dataset
from distilcap.data.scenes import draw_scenes
from distilcap.files import parse_json
from distilcap.metrics.base import Score
from distilcap.metrics.bleu import Bleu
from distilcap.metrics.files import read_scores, scores_to_json
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.text.vocabulary import SPECIALS, Vocabulary

TEXTCAPS = {
    "data": [
        {"image_id": n, "image_path": f"train/{n}.jpg", "caption_str": "a sign", "set_name": "train"}
        for n in ("1", "2")
    ]
}
LLAVA = [
    {
        "image": f"{n}.jpg",
        "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "a dog"}],
    }
    for n in (1, 2)
]
MAPPED = {"1.jpg": {"caption": "a dog", "tags": "x"}, "2.jpg": {"caption": "b", "tags": "y"}}
COUNTS = [[6, 6, 6, 5, 4, 3, 5, 4, 2, 1], [7, 6, 7, 6, 5, 4, 6, 4, 3, 2]]  # BLEU's, of two captions
SCORES = scores_to_json(
    {
        "bleu_4": Score(
            "bleu_4",
            float(Bleu().pool(np.sum(COUNTS, axis=0, dtype=float), 2)[3]),
            "bleu",
            {"1": 0.4, "2": 0.8},
            statistics=np.array(COUNTS, dtype=float),
        ),
        "cider": Score("cider", 0.5, "cider-d", {"1": 0.4, "2": 0.6}, interval=(0.4, 0.6)),
        "spice": Score.missing("spice", "spice", "no Java"),
    }
) | {"references": "0123"}
FREQUENCIES = {"name": "x", "images": 3, "end": False, "counts": {"a": 2, "a dog": 3}}
WORDS = [*SPECIALS, "a", "dog"]
SCENES = {
    "recipe": {"version": 1, "images": [1, 0, 0], "seed": 1, "size": 32},
    "images": [{"filename": "train_00000.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}],
}


def _data(path: Path) -> None:
    find_entries(path)
    read_dataset(path, need_images=False).fingerprint()
    check_dataset(path)


def _scored(path: Path) -> None:
    read_candidates(path)
    read_references(path)


FORMS: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "karpathy": ("x.json", KARPATHY, _data),
    "coco": ("x.json", COCO, _data),
    "records": ("x.json", RECORDS, _data),
    "textcaps": ("x.json", TEXTCAPS, _data),
    "llava": ("x.json", LLAVA, _data),
    "captions by image": ("x.json", MAPPED, _data),
    "candidates": ("x.json", [{"image_id": n, "caption": "a"} for n in (1, 2)], _scored),
    "scores": ("x.json", SCORES, read_scores),
    "frequencies": ("x.json", FREQUENCIES, DocumentFrequencies.load),
    "words": ("x.json", WORDS, Vocabulary.load),
    "scenes": (
        "dataset_scenes.json",
        SCENES,
        lambda path: draw_scenes(path.parent, (1, 0, 0), 1, 32),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_themselves_are_read(form: str, tmp_path: Path) -> None:
    """The changes below are of files that are right."""
    name, content, read = FORMS[form]
    (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train_00000.jpg").touch()
    read(tmp_path / name)


@pytest.mark.parametrize("form", FORMS)
def test_any_value_of_another_type_is_read_or_named(form: str, tmp_path: Path) -> None:
    """Every value of every form, replaced by each odd value and left out: thousands of files."""
    name, content, read = FORMS[form]
    path = tmp_path / name
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train_00000.jpg").touch()
    for way in places(content):
        for value in (*ODD, ...):
            path.write_text(json.dumps(changed(content, way, value)))
            error = error_of(lambda: read(path))
            assert error is None or path.stem in error, (way, value, error)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_json_or_named(content: bytes) -> None:
    values: list[Any] = []
    error = error_of(lambda: values.append(parse_json(content, "x.json")))
    assert error is None or (error.startswith("x.json") and "\n" not in error)
    json.dumps(values, ensure_ascii=False, allow_nan=False).encode()


ENCODER = {
    "encoder": "efficientnet-lite0", "weights": "", "form": "grid", "regions": 1, "dim": 1280,
    "pooled": False, "projected": False, "preprocessing": {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3},
}  # fmt: skip
HUGE = 10**9


@pytest.mark.parametrize(
    "way, value",
    [
        *[
            ((key,), value)
            for key in ENCODER
            for value in (..., None, [], -1, "x")
            if (key, value) != ("weights", "x")
        ],
        (("dim",), HUGE),
        (("regions",), HUGE),
        (("preprocessing", "size"), HUGE),
        (("preprocessing", "size"), -1),
        (("preprocessing", "std"), [0, 0, 0]),
        (("preprocessing", "mean"), ["x", 1, 1]),
        (("preprocessing", "more"), 1),
        ((), []),
    ],
)
def test_a_saved_encoders_description(way: tuple[str, ...], value: Any, tmp_path: Path) -> None:
    """No tensors are in it: whatever the description says, it is refused, and nothing is allocated."""
    from distilcap.encoders.registry import create_encoder

    path = tmp_path / "x.safetensors"
    save_file({}, path, {"distilcap.encoder": json.dumps(changed(ENCODER, way, value))})
    assert str(path) in str(error_of(lambda: create_encoder(str(path))))


def test_a_saved_encoder_that_names_itself(tmp_path: Path) -> None:
    from distilcap.encoders.registry import create_encoder

    path = tmp_path / "x.safetensors"
    save_file({}, path, {"distilcap.encoder": json.dumps({**ENCODER, "encoder": str(path)})})
    assert f"encoder {str(path)!r}, dim 1280" in str(error_of(lambda: create_encoder(str(path))))


@pytest.mark.parametrize("content", UNUSABLE)
def test_a_saved_encoders_description_is_json(content: str, tmp_path: Path) -> None:
    from distilcap.encoders.registry import create_encoder

    path = tmp_path / "x.safetensors"
    path.write_bytes(UNUSABLE[content])
    assert str(path) in str(error_of(lambda: create_encoder(str(path))))
    save_file({}, path, {"distilcap.encoder": UNUSABLE[content].decode(errors="replace")})
    assert str(path) in str(error_of(lambda: create_encoder(str(path))))


def test_scores_must_follow_from_their_statistics(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for rows in ([[1, 2]], [[1], [2]], [["nan"] * 10] * 2, [[1] * 9] * 2, COUNTS[:1] * 2):
        path.write_text(json.dumps(changed(SCORES, ("statistics", "bleu"), rows)))
        assert str(error_of(lambda: read_scores(path))).startswith(f"{path}: ")
    path.write_text(json.dumps(changed(SCORES, ("scores", "cider", "value"), 0.51)))
    assert (
        str(error_of(lambda: read_scores(path)))
        == f"{path}: damaged: cider is 0.51, but 0.5 by its statistics."
    )
    path.write_text(json.dumps(SCORES).replace("0.5", "1e999"))
    message = f"{path}: not usable JSON: 1e999 is too large a number; score the captions again."
    assert str(error_of(lambda: read_scores(path))) == message
