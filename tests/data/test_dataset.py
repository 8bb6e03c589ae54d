import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord, probe
from distilcap.errors import ConfigError, DataError


def make(folder: Path, name: str = "tiny", texts: str = "a dog", split: str = "val") -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jpg").write_bytes(bytes(range(256)) * 64)
    images = (ImageRecord("a", folder / "a.jpg", "train"), ImageRecord("b", folder / "b.jpg", split))
    return Dataset(name, images, CaptionSet.of_texts({"a": [texts], "b": []}))


def test_split_and_references(tmp_path: Path) -> None:
    data = make(tmp_path)
    assert [image.id for image in data.split("train")] == ["a"]
    assert data.split("test") == ()
    assert dict(data.references("train")) == dict(data.captions.only(["a"]))
    assert len(data.references("val")) == 0  # image b has no captions
    with pytest.raises(ConfigError, match=r"`split` must be one of train, val, test, but is 'dev'\."):
        data.split("dev")


def test_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    data = make(tmp_path / "one")
    assert data.fingerprint() == make(tmp_path / "two", name="other").fingerprint()
    assert len(data.fingerprint()) == 64


def test_fingerprint_sees_every_change(tmp_path: Path) -> None:
    seen = {make(tmp_path).fingerprint(), make(tmp_path, texts="a cat").fingerprint()}
    seen.add(make(tmp_path, split="test").fingerprint())
    for place in (0, 256 * 64 - 1):  # the first and the last byte
        data = make(tmp_path)
        content = bytearray((tmp_path / "a.jpg").read_bytes())
        content[place] ^= 1
        (tmp_path / "a.jpg").write_bytes(content)
        seen.add(data.fingerprint())
    data = make(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"")  # a missing file that appears
    seen.add(data.fingerprint())
    assert len(seen) == 6


@given(st.lists(st.lists(st.text(max_size=3), max_size=3), min_size=2, max_size=2))
def test_fingerprint_does_not_confuse_boundaries(texts: list[list[str]]) -> None:
    images = (ImageRecord("a", Path("a.jpg"), "train"),)
    one, two = (Dataset("x", images, CaptionSet.of_texts({"a": several})) for several in texts)
    assert (one.fingerprint() == two.fingerprint()) == (texts[0] == texts[1])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert probe(tmp_path / "a.jpg") == probe(tmp_path) == probe(tmp_path / "a\0.jpg") == (-1, 0)


def test_errors() -> None:
    image = ImageRecord("a", Path("a.jpg"), "train")
    with pytest.raises(DataError, match="x: image 'a' occurs 2 times"):
        Dataset("x", (image, image), CaptionSet({}))
    with pytest.raises(DataError, match="`split` must be one of train, val, test, but is 'dev' at image 'a'"):
        Dataset("x", (ImageRecord("a", Path("a.jpg"), "dev"),), CaptionSet({}))
    with pytest.raises(DataError, match="x: there are captions for an unknown image 'b'"):
        Dataset("x", (image,), CaptionSet.of_texts({"b": ["a dog"]}))
