"""Whatever a file holds, reading it gives a data set that holds together, or an error for people."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilcap.data.readers import read_dataset
from distilcap.data.readers.located import read_located_json
from distilcap.errors import DistilCapError

KEYS = (
    *("images", "annotations", "filename", "split", "sentences", "raw", "image", "caption", "image_id", "id"),
    *("file_name", "cocoid", "filepath"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "filename": st.sampled_from(["a.jpg", "b.jpg", "../c", "\0", ""]) | JSON,
        "split": st.sampled_from(["train", "val", "restval", "x"]) | JSON,
        "sentences": st.lists(
            st.fixed_dictionaries({}, optional={"raw": st.text(max_size=4) | JSON, "tokens": JSON})
        )
        | JSON,
        "cocoid": st.integers() | JSON,
        "filepath": JSON,
    },
)
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=SUPPRESSED)


def check_reading(path: Path) -> None:
    data, message = None, ""
    try:
        data = read_dataset(path)
    except DistilCapError as error:
        message = str(error)
    if data is None:
        assert str(path) in message
        return
    assert data.images
    assert len(data.fingerprint()) == 64
    data.captions.save(path.with_name("saved.jsonl"))


@FUZZ
@given(content=JSON | st.fixed_dictionaries({"images": st.lists(ENTRY, max_size=4)}))
def test_fuzz_json(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "x.json").write_text(json.dumps(content))
    check_reading(tmp_path / "x.json")


@FUZZ
@given(text=st.text(alphabet='{}[]",:\\ \nau0-eimgscptonfl', max_size=40))
def test_fuzz_broken_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").touch()
    for name in ("x.json", "x.jsonl"):
        (tmp_path / name).write_text(text)
        check_reading(tmp_path / name)


@FUZZ
@given(
    head=st.sampled_from(["image,caption\n", "image\tcaption\tsplit\n", "image;caption\n", ""]),
    rows=st.lists(st.text(alphabet=',;\t|"\n\r\0ab.jpg#0 é\u2028', max_size=20), max_size=5),
)
def test_fuzz_tables(tmp_path: Path, head: str, rows: list[str]) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "x.csv").write_bytes((head + "\n".join(rows)).encode())
    check_reading(tmp_path / "x.csv")


@FUZZ
@given(content=st.binary(max_size=30))
def test_fuzz_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").touch()
    for name in ("x.json", "x.jsonl", "x.csv", "x.tsv"):
        (tmp_path / name).write_bytes(content)
        check_reading(tmp_path / name)


@FUZZ
@given(
    # Infinity, which is no JSON, is read as null.
    content=JSON.filter(lambda value: isinstance(value, list | dict)).map(
        lambda value: json.loads(json.dumps(value), parse_constant=lambda name: None)
    ),
    indent=st.none() | st.integers(0, 2),
)
def test_located_json_equals_the_standard_readers(tmp_path: Path, content: Any, indent: int | None) -> None:
    text = json.dumps(content, indent=indent)
    (tmp_path / "x.json").write_text(text)
    located = read_located_json(tmp_path / "x.json")
    lists = {key: [value for value, _ in items] for key, items in located.lists.items()}
    assert (lists[""] if isinstance(content, list) else lists | located.others) == content
    for items in located.lists.values():
        for value, line in items:  # each value's text begins on the line named
            begin = json.dumps(value, indent=indent).split("\n")[0]
            assert begin in text.split("\n")[line - 1]
