"""Which files are images, by their content; those that cannot be read here are named with how to."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from distilcap.errors import DataError
from distilcap.runtime import formats
from distilcap.runtime.formats import find_image_files, is_image_file, left_out, open_image
from distilcap.runtime.pixels import read_image

HEIC_START = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100)


def photo(width: int = 12, height: int = 8) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    photo().save(file, format, **options)
    return file.getvalue()


READ = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "JPEG2000": {"irreversible": False},
    "WEBP": {"lossless": True},
    "TGA": {},
    "PPM": {},
}


@pytest.mark.parametrize("format", READ)
@pytest.mark.parametrize("name", ["a.jpg", "a.dat", "a", "a.HEIC"])
def test_the_content_says_what_a_file_is(tmp_path: Path, format: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(format, **READ[format]))
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(photo()))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_by_pillow_itself(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(encoded("AVIF", quality=100))
    assert read_image(tmp_path / "a.avif").size == (12, 8)


@pytest.mark.parametrize("name", ["a.eps", "a.jpg"])
def test_other_programs_are_never_started(tmp_path: Path, name: str) -> None:
    """Pillow gives EPS to ghostscript."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) print\n%%EOF\n"
    (tmp_path / name).write_bytes(script)
    with Image.open(tmp_path / name) as image:
        assert image.format == "EPS"
    with pytest.raises(DataError, match=rf"{name}: not an image Pillow can read"):
        read_image(tmp_path / name)
    assert not {"EPS", "WMF", "HDF5", "GRIB", "FITS", "MPEG"} & set(formats.FORMATS)


@pytest.mark.parametrize(
    "name, content, advice",
    [
        ("a.jxl", b"\xff\x0a" + bytes(40), "a JPEG XL image; save it as JPEG or PNG"),
        ("a.jpg", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "a JPEG XL image"),
        ("a.CR3", b"\0\0\0\x18ftypcrx " + bytes(40), "a camera's raw file; export it as JPEG"),
        ("a.raf", b"FUJIFILMCCD-RAW 0201" + bytes(40), "a camera's raw file"),
        ("a.nef", encoded("TIFF"), "a camera's raw file"),  # what Pillow reads of it is a thumbnail
        ("a.psd", b"8BPS\0\x01" + bytes(40), "a Photoshop file; export it as JPEG or PNG"),
    ],
)
def test_what_cannot_be_read_is_named_with_how_to(
    tmp_path: Path, name: str, content: bytes, advice: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_image_file(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: {advice}") as caught:
        read_image(tmp_path / name)
    assert str(caught.value).count(str(tmp_path)) == 1


def test_a_raw_files_name_does_not_hide_a_jpeg(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(encoded("JPEG"))
    assert read_image(tmp_path / "a.dng").size == (12, 8)


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.jpg"])
def test_heic_without_its_package_names_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats._heif_registered.cache_clear()
    (tmp_path / name).write_bytes(HEIC_START)
    with pytest.raises(DataError, match=rf"{name}: an HEIC photograph; `pip install 'distilcap\[heic\]'`"):
        read_image(tmp_path / name)
    formats._heif_registered.cache_clear()


def test_heic_with_its_package(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the package of HEIC is not installed")
    heif.register_heif_opener()
    image = Image.new("RGB", (64, 48), (200, 30, 40))
    image.save(tmp_path / "IMG_1.jpg", "HEIF")
    read = read_image(tmp_path / "IMG_1.jpg")
    assert read.size == (64, 48)
    assert np.abs(np.asarray(read, int) - (200, 30, 40)).max() < 12
    (tmp_path / "short.heic").write_bytes((tmp_path / "IMG_1.jpg").read_bytes()[:200])
    with pytest.raises(DataError, match=r"short\.heic: "):
        read_image(tmp_path / "short.heic")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


TEXTS = [
    chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(3 << 20))),
    chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(b"a" * (3 << 20))),
    chunk(b"tEXt", b"workflow\0" + b"x" * 300) * 3,
    chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 << 20))),
]


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3), st.booleans())
def test_texts_of_any_size_keep_no_png_back(texts: list[bytes], at_the_end: bool) -> None:
    """As programs that draw images write their settings; Pillow gives up over a megabyte of them."""
    png = encoded("PNG")
    at = len(png) - 12 if at_the_end else 33
    with_texts = png[:at] + b"".join(texts) + png[at:]
    assert np.array_equal(np.asarray(read_image(with_texts)), np.asarray(photo()))
    for cut in (40, len(with_texts) - 20):
        message = "image: "  # a picture cut behind its last row may be read
        try:
            read_image(with_texts[:cut])
        except DataError as error:
            message = str(error)
        assert message.startswith("image: ")


@pytest.mark.filterwarnings("ignore::UserWarning")  # as outside pytest
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\0\0\0\1\0\2\0\0" * 2,
        b"Exif\0\0II*\0",
        b"Exif\0\0junk",
    ],
)
def test_broken_exif_keeps_no_photograph_back_and_makes_no_noise(tmp_path: Path, exif: bytes) -> None:
    content = encoded("JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_image(content).size == (12, 8)
    code = (
        "import sys, pathlib; from distilcap.runtime.pixels import read_image; "
        "read_image(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.jpg"], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


def test_a_folder_is_what_is_read_and_what_is_counted(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "b.HEIC",
        "sub/c.jfif",
        "sub/d",
        "e.nef",
        ".hidden.jpg",
        "f.mov",
        "g.txt",
        "h.json",
        "i",
        "k.mov",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded("JPEG") if name == "sub/d" else b"other")
    others = Counter[str]()
    images = [path.relative_to(tmp_path).as_posix() for path in find_image_files(tmp_path, others)]
    assert images == ["a.jpg", "b.HEIC", "e.nef", "sub/c.jfif", "sub/d"]
    assert others == {".mov": 2, ".txt": 1, ".json": 1, "without an ending": 1}
    assert len(images) + others.total() == len(names) - 1
    assert left_out(others).startswith("5 other files left out, of no image format: 2 .mov, ")
    assert "(of videos, save frames as JPEG)" in left_out(others)
    assert left_out(Counter()) == ""


def test_folders_that_are_not_entered_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "locked/b.jpg", ".thumbnails/a.jpg", "sub/.Trash-1000/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub" / "round").symlink_to(tmp_path)
    scan = os.scandir

    def locked(path: str) -> object:
        if path == str(tmp_path / "locked"):  # the tests may run as root, who may read all
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    others = Counter[str]()
    assert list(find_image_files(tmp_path, others)) == [tmp_path / "a.jpg"]
    assert left_out(others) == (
        "1 linked folder not entered (links are not followed); "
        f"folder {tmp_path / 'locked'} cannot be read (Permission denied)"
    )
    assert list(find_image_files(tmp_path)) == [tmp_path / "a.jpg"]


def test_what_is_open_is_of_the_list(tmp_path: Path) -> None:
    with open_image(encoded("JPEG")) as image:
        assert image.format in formats.FORMATS
    (tmp_path / "IMG").write_bytes(b"IIRO" + bytes(40))
    with pytest.raises(DataError, match=r"IMG: a camera"):
        read_image(tmp_path / "IMG")
