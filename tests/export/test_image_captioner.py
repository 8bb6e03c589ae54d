"""`distilcap.load` on a bundle: images in any form, one or many, good or bad, with and without PyTorch."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import io
import itertools
import math
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import distilcap
from distilcap.errors import BundleError, DataError
from distilcap.export.bundle import Exported
from distilcap.export.pictures import sample_pictures
from distilcap.pipeline.captioned import WrittenCaption
from distilcap.runtime import pixels
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.large import opened
from distilcap.runtime.pixels import Preprocessing
from distilcap.text.vocabulary import SPECIALS, Vocabulary

PICTURES = [picture for _, picture in sample_pictures(20, 32)]  # more than a batch


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02d}.png" for number in range(len(PICTURES))]
    for path, picture in zip(paths, PICTURES, strict=True):
        Image.fromarray(picture).save(path)
    return paths


@pytest.fixture
def captioner(exported: Exported) -> distilcap.ImageCaptioner:
    return distilcap.load(exported.folder)


def test_many_are_captioned_as_each_alone(captioner: distilcap.ImageCaptioner, photos: list[Path]) -> None:
    bundle = Bundle.open(captioner.path)
    together = captioner.caption(iter(photos))
    assert [result.image for result in together] == [str(photo) for photo in photos]
    for photo, result in zip(photos, together, strict=True):
        alone = captioner.caption(photo)
        expected = bundle.alternatives(photo, DecodeOptions(3))[0]
        assert result.text == alone.text == expected.text
        assert result.words == tuple(expected.text.split())
        assert result.log_prob == pytest.approx(expected.log_prob, abs=1e-4)
        assert alone.log_prob == expected.log_prob
        sure = alone.best.word_probability
        assert math.log(sure) * (len(alone.words) + 1) == pytest.approx(alone.log_prob)
        assert 0 < sure <= 1
        assert alone.confidence is None, "it was exported without data"
        assert alone.error is None
    assert captioner.caption([]) == []


def in_every_form(photo: Path, picture: np.ndarray[Any, Any]) -> list[Any]:
    with Image.open(photo) as opened:
        opened.load()
    turned = opened.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # turned by 90 degrees clockwise when shown
    return [
        photo,
        str(photo),
        photo.read_bytes(),
        picture,
        picture[::-1][::-1],
        Image.open(io.BytesIO(photo.read_bytes())),
        opened.convert("RGBA"),
        turned,
    ]


def test_an_image_in_any_form_is_the_same_image(
    captioner: distilcap.ImageCaptioner, photos: list[Path]
) -> None:
    for photo, picture in list(zip(photos, PICTURES, strict=True))[:3]:
        forms = in_every_form(photo, picture)
        expected = captioner.caption(photo).captions
        for form in forms:
            assert captioner.caption(form).captions == expected
        texts = {result.text for result in captioner.caption(forms)}
        assert texts == {expected[0].text}
    names = [result.image for result in captioner.caption(forms)]
    assert names == [str(photo), str(photo), *(f"image {number}" for number in range(2, len(forms)))]


def bad_images(folder: Path) -> list[tuple[Any, str]]:
    good = io.BytesIO()
    Image.fromarray(PICTURES[0]).save(good, "JPEG")
    cut = good.getvalue()[:-60]
    (folder / "cut.jpg").write_bytes(cut)
    (folder / "empty.jpg").write_bytes(b"")
    floats = PICTURES[0] / np.float32(255)
    return [
        (folder / "missing.jpg", "missing.jpg: there is no such image"),
        (folder, "a folder; give its images"),
        (str(folder / "empty.jpg"), "empty.jpg: an empty file"),
        (folder / "cut.jpg", "cut.jpg: cannot be decoded"),
        (cut, "cannot be decoded"),
        (Image.open(io.BytesIO(cut)), "cannot be decoded"),
        (b"not an image", "not an image"),
        (floats, r"an array must be \(H, W, 3\) of uint8 .* but is \(32, 32, 3\) of float32"),
        (PICTURES[0][:, :, 0], r"but is \(32, 32\) of uint8"),
        (np.stack(PICTURES[:2]), r"but is \(2, 32, 32, 3\) of uint8"),
        (PICTURES[0][:0], r"but is \(0, 32, 3\) of uint8"),
        (Image.new("RGB", (0, 0)), "cannot be decoded: it has 0 x 0 pixels"),
        (Image.new("LA", (7, 0)), "cannot be decoded: it has 7 x 0 pixels"),
        (bytearray(b"x"), "but this is bytearray"),
        (None, "but this is NoneType"),
        (7, "but this is int"),
    ]


def test_a_bad_image_is_an_error_alone_and_a_result_among_others(
    captioner: distilcap.ImageCaptioner, photos: list[Path], tmp_path: Path
) -> None:
    bad = bad_images(tmp_path)
    for image, message in bad:
        with pytest.raises(DataError, match=message):
            captioner.caption(image)
    mixed = [item for image, _ in bad for item in (image, PICTURES[0])]
    results = captioner.caption(mixed)
    assert len(results) == len(mixed)
    good = captioner.caption(photos[0]).text
    for number, (image, message) in enumerate(bad):
        result = results[2 * number]
        assert result.captions == ()
        assert isinstance(result.error, DataError)
        for read in ("text", "words", "log_prob", "confidence", "best"):
            with pytest.raises(DataError, match=message):
                getattr(result, read)
        assert results[2 * number + 1].text == good, image
    assert [result.error is None for result in captioner.caption([None, b""])] == [False, False]  # type: ignore[list-item]


def test_what_was_loaded_captions_whatever_becomes_of_the_folder(
    exported: Exported, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a deployment replaces the bundle of a service that runs."""
    expected = distilcap.load(exported.folder).caption(photos[0])
    copied = Path(shutil.copytree(exported.folder, tmp_path / "copied"))
    monkeypatch.chdir(tmp_path)
    replaced, gone = distilcap.load("copied"), distilcap.load("copied")
    monkeypatch.chdir("/")
    assert replaced.path == copied
    for path in copied.iterdir():
        with path.open("r+b") as file:  # the same file: its bytes change under whoever has it mapped
            file.write(bytes(path.stat().st_size))
    assert replaced.caption(photos[0]) == expected
    shutil.rmtree(copied)
    assert gone.caption(photos[0]) == expected


def echo(workers: int = 1) -> distilcap.ImageCaptioner:
    """Says the checksum of what it sees."""

    def describe(names: Sequence[str], pixels: Sequence[Any]) -> list[tuple[WrittenCaption, ...]]:
        return [(WrittenCaption(hashlib.sha256(one.tobytes()).hexdigest()),) for one in pixels]

    return distilcap.ImageCaptioner(Path("echo"), Preprocessing(32), describe, {}, workers=workers)


def test_an_opened_file_is_one_image(photos: list[Path]) -> None:
    expected = [echo().caption(photo).text for photo in photos[:2]]
    with photos[0].open("rb") as file:
        assert echo().caption(file).text == expected[0]
        assert file.read() == b""
    assert echo().caption(io.BytesIO(photos[0].read_bytes())).text == expected[0]
    both = (io.BytesIO(photo.read_bytes()) for photo in photos)
    assert [result.text for result in echo().caption(itertools.islice(both, 2))] == expected


def test_an_opened_file_that_gives_no_bytes_is_refused(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n")
    closed = io.BytesIO()
    closed.close()
    with (tmp_path / "list.txt").open() as text, photos[0].open() as binary, photos[1].open("ab") as written:
        for file in (text, binary, written, closed, io.StringIO("a.jpg")):
            with pytest.raises(DataError, match=r'image 0: .*; open its file in mode "rb"\.$'):
                echo().caption(file)  # type: ignore[arg-type]


def test_each_refuses_a_single_image(photos: list[Path]) -> None:
    for image in [*in_every_form(photos[0], PICTURES[0]), io.BytesIO(photos[0].read_bytes())]:
        with pytest.raises(DataError, match=r"`each` takes several images, but this is one \(\w+\)"):
            echo().each(image)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("before", [0, 5, 8, 70])
def test_what_was_given_before_the_images_raise_is_captioned(workers: int, before: int) -> None:
    def images() -> Iterator[Any]:
        yield from itertools.repeat(PICTURES[0], before)
        raise OSError("the list of images broke off")

    came = []
    with pytest.raises(OSError, match="broke off"):
        came.extend(echo(workers).each(images()))  # keeps what came before
    assert [result.image for result in came] == [f"image {number}" for number in range(before)]


def test_the_error_of_an_image_holds_no_image(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cut, decoded = photos[0].read_bytes()[:-60], []

    def noted(source: Path | bytes) -> Image.Image:
        image = opened(source)
        decoded.append(weakref.ref(image))
        return image

    monkeypatch.setattr(pixels, "opened", noted)
    in_memory = Image.open(io.BytesIO(cut))
    decoded.append(weakref.ref(in_memory))
    results = echo().caption([cut, in_memory])
    del in_memory
    gc.collect()
    assert [image() for image in decoded] == [None, None]
    for result in results:
        assert isinstance(result.error, DataError)
        assert (result.error.__traceback__, result.error.__cause__, result.error.__context__) == (None,) * 3
        frames = set()
        for _ in range(3):
            with pytest.raises(DataError) as raised:
                result.text  # noqa: B018
            frames.add(len(raised.traceback))
        assert len(frames) == 1, "a traceback for each reading"


def test_options_of_the_search(exported: Exported, photos: list[Path]) -> None:
    three = distilcap.load(str(exported.folder / "manifest.json"), beam_size=4, n_best=3)
    captions = three.caption(photos[0]).captions
    expected = Bundle.open(exported.folder).alternatives(photos[0], DecodeOptions(4))[:3]
    assert [(caption.text, caption.log_prob) for caption in captions] == [
        (caption.text, caption.log_prob) for caption in expected
    ]
    chosen = distilcap.load(exported.folder, beam_size=4, n_best=2, max_words=9, length_penalty=-1)
    assert chosen.recipe["search"].startswith("beam 4, 2 best, at most 9 words, length penalty -1, 0 words")
    avoiding = distilcap.load(exported.folder, avoid_repeats=True).recipe["search"]
    assert avoiding == f"{distilcap.load(exported.folder).recipe['search']}, repeats last"
    short = distilcap.load(exported.folder, max_words=2).caption(photos[0])
    assert len(short.words) == 2
    # It was cut: two words, and no end token.
    assert short.best.word_probability == pytest.approx(math.exp(short.log_prob / 2))


def test_words_are_those_of_the_bundles_tokenizer(
    exported: Exported, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chinese has no spaces between them. The tokenizer itself, and its package, are not needed."""
    manifest = exported.manifest
    characters = (chr(0x4E00 + index) for index in range(len(manifest.vocabulary) - len(SPECIALS)))
    vocabulary = Vocabulary((*SPECIALS, *characters), "characters", spaced=False)
    chinese = Bundle(exported.folder, dataclasses.replace(manifest, vocabulary=vocabulary), 1)
    monkeypatch.setattr(Bundle, "open", lambda *_, **__: chinese)
    result = distilcap.load(exported.folder).caption(photos[0])
    assert result.words == tuple(result.text)
    assert len(result.words) > 1
    assert result.best.word_probability == pytest.approx(math.exp(result.log_prob / (len(result.text) + 1)))


def test_what_is_no_captioner_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither a bundle .* nor a trained run"):
        distilcap.load(tmp_path)
    shutil.copytree(exported.folder, tmp_path / "bundle")
    with pytest.raises(DataError, match=f"the bundle is in {tmp_path / 'bundle'}; open that"):
        distilcap.load(tmp_path)
    with (tmp_path / "bundle" / "decoder.bin").open("r+b") as file:
        file.write(b"\0\1\2\3")
    with pytest.raises(BundleError, match=r"decoder\.bin: damaged"):
        distilcap.load(tmp_path / "bundle")


WITHOUT_TORCH = """
import sys

class Banned:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "onnx", "safetensors", "click", "rich"):
            raise ImportError(f"{name} is banned")

sys.meta_path.insert(0, Banned())
import distilcap
captioner = distilcap.load(sys.argv[1])
print(captioner.caption(sys.argv[2]).text)
for result in captioner.caption(sys.argv[3:]):
    print(result.text)
"""


def test_it_works_where_pytorch_is_not(captioner: distilcap.ImageCaptioner, photos: list[Path]) -> None:
    arguments = [captioner.path, photos[0], *photos[:2]]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = captioner.caption(photos[:2])
    assert done.stdout.splitlines() == [first.text, first.text, second.text]
