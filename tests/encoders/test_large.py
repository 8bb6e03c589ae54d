"""Large photographs: decoded at a part of their size where enough remains, one rule of what is too large."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from distilcap.data.check import check_dataset
from distilcap.errors import BundleError, ConfigError, DataError
from distilcap.runtime.fields import Fields
from distilcap.runtime.large import MAX_PIXELS
from distilcap.runtime.manifest import _preprocessing
from distilcap.runtime.pixels import Preprocessing, load_pixels, read_image

WHOLE, REDUCED = Preprocessing(64), Preprocessing(64, decoding="reduced")


def jpeg(width: int, height: int, **options: object) -> bytes:
    """Smooth shapes and a little grain, as in a photograph."""
    random = np.random.default_rng(width)
    coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grained = (smooth + random.integers(-6, 7, (height, width, 1))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grained).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


@settings(derandomize=True, max_examples=60)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 200))
def test_as_much_remains_as_is_asked_for(width: int, height: int, least: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    sides = read_image(buffer.getvalue(), least).size
    part = max(part for part in (1, 2, 4, 8) if part == 1 or min(width, height) // part >= least)
    assert sides == (-(-width // part), -(-height // part))
    assert min(sides) >= min(least, width, height)


def test_a_reduced_photograph_is_nearly_the_whole_one() -> None:
    content = jpeg(1200, 900)
    whole, reduced = (load_pixels(content, how).astype(int) for how in (WHOLE, REDUCED))
    assert 0 < np.abs(whole - reduced).max() <= 4
    # Blurred as little as that only: a blurred picture differs more.
    blurred = Image.open(io.BytesIO(content)).filter(ImageFilter.GaussianBlur(20)).resize((64, 64))
    assert np.abs(whole - np.asarray(blurred)).max() > 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1027, 1031), (1025, 1033), (1031, 1028)])
def test_sides_that_are_not_divided_are_neither_stretched_nor_moved(
    size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    content = jpeg(*size, exif=exif)
    assert min(read_image(content, 128).size) < 131, "an eighth"
    whole, reduced = (load_pixels(content, how).astype(int) for how in (WHOLE, REDUCED))
    # The last column and row, taken for whole ones, would give 5 to 9.
    assert np.abs(whole - reduced).max() <= 4


@pytest.mark.parametrize("content", [jpeg(150, 120), jpeg(1200, 255)])
def test_small_ones_and_other_formats_are_read_whole(content: bytes) -> None:
    assert np.array_equal(load_pixels(content, WHOLE), load_pixels(content, REDUCED))
    buffer = io.BytesIO()
    read_image(jpeg(900, 700)).save(buffer, "PNG")
    png = buffer.getvalue()
    assert np.array_equal(load_pixels(png, WHOLE), load_pixels(png, REDUCED))
    assert read_image(png, 1).size == (900, 700)


def test_a_reduced_photograph_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    assert read_image(jpeg(800, 600, exif=exif), 100).size == (150, 200)
    assert read_image(jpeg(800, 600, progressive=True), 100).size == (200, 150)


def test_older_recipes_are_what_they_were() -> None:
    assert "decoding" not in WHOLE.to_json()
    assert Preprocessing.from_json(WHOLE.to_json()) == WHOLE
    assert Preprocessing.from_json(REDUCED.to_json()) == REDUCED
    for how in (WHOLE, REDUCED):
        assert _preprocessing(Fields(how.to_json(), "manifest.json", "preprocessing")) == how
    with pytest.raises(ConfigError, match="decoding"):
        Preprocessing(decoding="half")
    with pytest.raises(BundleError, match=r'preprocessing.decoding` must be "whole" or "reduced"'):
        _preprocessing(Fields(WHOLE.to_json() | {"decoding": "half"}, "manifest.json", "preprocessing"))


def renamed(content: bytes, width: int, height: int) -> bytes:
    """The same JPEG, whose header says another size."""
    at = next(at for at in range(len(content)) if content[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return content[: at + 5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + content[at + 9 :]


@pytest.mark.parametrize("least", [None, 64])
def test_what_is_too_large_is_refused_unread(tmp_path: Path, least: int | None) -> None:
    small = jpeg(64, 48)
    with pytest.raises(
        DataError, match=r"image: a picture of more than 89,478,485 pixels \(357,913,940 as JPEG\)"
    ):
        read_image(renamed(small, 20_000, 18_000), least)
    with pytest.raises(DataError, match="a progressive JPEG of 200,000,000 pixels; save it as baseline"):
        read_image(renamed(jpeg(64, 48, progressive=True), 20_000, 10_000), least)
    # The check of a data set says the same.
    (tmp_path / "a.jpg").write_bytes(renamed(small, 20_000, 18_000))
    (tmp_path / "b.jpg").write_bytes(small)
    problems = {problem.kind: problem.message for problem in check_dataset(tmp_path).problems}
    assert "more than 89,478,485 pixels" in problems["undecodable image"]


READ = """
import sys
from pathlib import Path
from distilcap.data.check import _look_at
from distilcap.export.bench import peak_megabytes
from distilcap.runtime.pixels import Preprocessing, load_pixels
path = Path(sys.argv[1])
assert _look_at(path)[0] == ""
for decoding in ("reduced", "whole"):
    assert load_pixels(path, Preprocessing(224, decoding=decoding)).std() > 10
print(peak_megabytes("self"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="where peak memory is told")
@pytest.mark.parametrize("size", [(11_600, 8_500), (12_000, 9_000), (16_320, 12_240)])
def test_98_to_200_megapixels_take_less_than_500_megabytes(tmp_path: Path, size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    path = tmp_path / "large.jpg"
    ramp = Image.linear_gradient("L").resize(size)
    Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp)).save(path, quality=90)
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 500
