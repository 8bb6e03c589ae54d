from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilcap.errors import ConfigError, DataError
from distilcap.runtime import large, pixels
from distilcap.runtime.pixels import Preprocessing, load_pixels, normalise, read_image, to_pixels, to_rgb


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """Red left half, blue right half, and a green top line: its orientation can be seen."""
    image = Image.new("RGB", (width, height), (220, 30, 30))
    image.paste((30, 30, 220), (width // 2, 0, width, height))
    image.paste((30, 220, 30), (0, 0, width, 4))
    return image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_needs_no_torch() -> None:
    code = "import sys, distilcap.runtime.pixels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "format, options",
    [("PNG", {}), ("JPEG", {"quality": 95}), ("WEBP", {"quality": 95}), ("WEBP", {"lossless": True})],
)
def test_formats(format: str, options: dict[str, object]) -> None:
    image = read_image(encoded(photo(), format, **options))
    assert image.mode == "RGB"
    difference = np.abs(np.asarray(image, int) - np.asarray(photo(), int))
    assert difference.mean() < 6  # chroma is subsampled; channels in a wrong order would give about 80


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    turns = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    stored = photo()
    for turn in turns[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = read_image(encoded(stored, "PNG", exif=exif.tobytes()))
    assert np.array_equal(np.asarray(upright), np.asarray(photo()))


def test_cmyk() -> None:
    image = read_image(encoded(photo().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(np.asarray(image, int) - np.asarray(photo(), int)).mean() < 6


def test_grey_becomes_three_equal_channels() -> None:
    image = np.asarray(read_image(encoded(photo().convert("L"), "PNG")))
    assert image.shape == (32, 48, 3)
    assert (image == image[..., :1]).all()


def test_16_bits_are_scaled_and_not_clipped() -> None:
    grey = np.linspace(0, 65535, 48 * 32).reshape(32, 48).astype(np.uint16)
    image = np.asarray(read_image(encoded(Image.fromarray(grey), "PNG")))
    assert np.abs(image[..., 0].astype(int) - grey / 257).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("highest", [1.0, 255.0])
def test_float_images(highest: float) -> None:
    grey = np.linspace(0, highest, 48 * 32, dtype=np.float32).reshape(32, 48)
    image = np.asarray(read_image(encoded(Image.fromarray(grey), "TIFF")))
    assert image.min() == 0
    assert image.max() == 255


def test_floats_that_are_no_numbers_change_no_other_pixel() -> None:
    grey = np.linspace(0, 250, 48 * 32, dtype=np.float32).reshape(32, 48)
    plain = np.asarray(read_image(encoded(Image.fromarray(grey), "TIFF")))
    for value, shade in ((np.nan, 0), (np.inf, 255), (-np.inf, 0)):
        holed = grey.copy()
        holed[7, 9] = value
        rgb = np.asarray(read_image(encoded(Image.fromarray(holed), "TIFF"))).copy()
        assert rgb[7, 9].tolist() == [shade] * 3
        rgb[7, 9] = plain[7, 9]
        assert np.array_equal(rgb, plain)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_alpha_goes_onto_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 8))
    if mode == "P":
        content = encoded(image.convert("P"), "GIF", transparency=image.convert("P").getpixel((0, 0)))
        image = Image.new("P", (8, 8), 0)
        image.putpalette([9, 9, 9, 0, 0, 0])
        image.paste(1, (4, 0, 8, 8))
        content = encoded(image, "PNG", transparency=0)
    else:
        content = encoded(image.convert(mode), "TIFF" if mode == "PA" else "PNG")
    out = np.asarray(read_image(content))
    assert (out[:, :4] == 255).all()
    assert (out[:, 4:] == 0).all()


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "link.jpg"):
        with pytest.raises(DataError, match=rf"{name}: not a regular file\.$"):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match="there is no such image"):
        read_image(tmp_path)


def test_half_transparent_is_blended() -> None:
    out = np.asarray(read_image(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")))
    assert (out == 127).all()


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(content))[0, 0].tolist() == [255, 0, 0]


def test_faults_are_named(tmp_path: Path) -> None:
    whole = encoded(photo(480, 320), "JPEG")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    png = encoded(Image.fromarray(noise), "PNG")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "short.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "broken.png").write_bytes(png[:3000] + b"\xff" * 200 + png[3200:])
    for name, message in [
        ("empty.jpg", r"empty\.jpg: an empty file"),
        ("text.jpg", r"text\.jpg: not an image Pillow can read"),
        ("short.jpg", r"short\.jpg: cannot be decoded: .*truncated"),
        ("short.png", r"short\.png: cannot be decoded"),
        ("broken.png", r"broken\.png: cannot be decoded"),
        ("absent.jpg", r"absent\.jpg: there is no such image"),
        (".", r": there is no such image"),
    ]:
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match="image: an empty file"):
        read_image(b"")


@pytest.mark.parametrize("side", [9_500, 13_500])
def test_a_decompression_bomb_is_refused_unread(tmp_path: Path, side: int) -> None:
    # Just over the limit (Pillow warns) and over twice the limit (Pillow raises); read in a thread too.
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(bytes(99)),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for chunk in chunks:
        content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bomb\.png: a picture of more than 89,478,485 pixels"):
        read_image(path)
    with ThreadPoolExecutor(1) as pool, pytest.raises(DataError, match="more than"):
        pool.submit(read_image, path).result()


def test_our_own_limit_holds_when_pillows_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(large, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match="more than 100 pixels"):
        read_image(encoded(photo(), "PNG"))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TGA", "JPEG2000", "PPM"])
@pytest.mark.parametrize("side", [12, 20])
def test_a_programs_own_limit_is_not_ours(monkeypatch: pytest.MonkeyPatch, format: str, side: int) -> None:
    """Pillow's limit is a whole program's: beyond it Pillow warns, which is an error here, or refuses."""
    content = encoded(photo(side, side), format)
    whole = np.asarray(read_image(content))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises((Image.DecompressionBombWarning, Image.DecompressionBombError)):
        Image.open(io.BytesIO(content))
    if (format, side) == ("WEBP", 20):  # its decoder refuses by itself
        with pytest.raises(DataError, match="image: a picture of more than"):
            read_image(content)
    else:
        assert np.array_equal(read_image(content), whole)


def in_mode(mode: str, width: int, height: int) -> Image.Image:
    """Random pixels; of a mode with "+" some are transparent by a colour or a palette."""
    random = np.random.default_rng([width, height, *mode.encode()])
    plain, transparent = mode.removesuffix("+"), mode.endswith("+")
    if plain in ("I", "F") or plain.startswith("I;16"):
        values = random.integers(0, 65536, (height, width))
        if plain == "F":
            image = Image.fromarray(np.where(values > 65000, np.nan, values).astype(np.float32))
        elif plain == "I":
            image = Image.fromarray(values.astype(np.int32))
        else:
            raw = values.astype(">u2" if plain.endswith("B") else "<u2").tobytes()
            image = Image.frombytes(plain, (width, height), raw)
    else:
        bands = Image.new(plain, (1, 1)).getbands()
        raw = random.integers(0, 4 if plain == "P" else 256, (height, width, len(bands)), np.uint8)
        if plain == "1":
            image = Image.fromarray(raw[..., 0]).convert("1")
        else:
            image = Image.frombytes(plain, (width, height), raw.tobytes())
        if plain in ("P", "PA"):
            image.putpalette(random.integers(0, 256, 768, np.uint8).tobytes())
    if transparent:
        image.info["transparency"] = {"P": bytes([0, 99, 255]), "RGB": image.getpixel((0, 0))}.get(plain, 1)
    return image


def to_rgb_at_once(image: Image.Image) -> Image.Image:
    """The plain way: everything as floats, or as red, green, blue and alpha."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        highest = values.max(initial=0, where=np.isfinite(values))
        full = 65535 if highest > 255 else 255 if highest > 1 or image.mode != "F" else 1
        grey = np.nan_to_num(values.clip(0, full)) * (255 / full) + 0.5
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


MODES = ["1", "1+", "L", "L+", "LA", "P", "P+", "PA", "RGB", "RGB+", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"]


@pytest.mark.parametrize("mode", [*MODES, "HSV", "LAB", "I", "F", "I;16", "I;16B", "I;16L"])
def test_strips_give_the_very_bytes_that_the_whole_gives(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    sizes = [(1, 1), (1, 50), (50, 1), (7, 5), (8, 8), (13, 29)]
    for image in (in_mode(mode, *size) for size in sizes):
        expected = to_rgb_at_once(image)
        for strip in (1, 16, 30, 10_000):
            monkeypatch.setattr(pixels, "_STRIP", strip)
            rgb = to_rgb(image)
            assert (rgb.mode, rgb.size) == ("RGB", image.size)
            assert rgb.tobytes() == expected.tobytes()


MOST_MEMORY = """
import sys
from pathlib import Path
from distilcap.export.bench import peak_megabytes
from distilcap.runtime.pixels import read_image
before = peak_megabytes("self")
read_image(Path(sys.argv[1]))
print(peak_megabytes("self") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="where peak memory is told")
def test_no_mode_takes_more_than_twice_the_memory_of_rgb(tmp_path: Path) -> None:
    def most(mode: str) -> float:
        image = Image.new(mode, (9_459, 9_459))
        image.save(tmp_path / "a.png", **({"transparency": 0} if mode == "P" else {}))
        del image
        command = [sys.executable, "-c", MOST_MEMORY, str(tmp_path / "a.png")]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    rgb = most("RGB")
    for mode in ("P", "RGBA", "LA", "I;16"):
        assert most(mode) < 2.1 * rgb, mode


def test_the_whole_picture_is_squashed() -> None:
    wide = Image.new("RGB", (300, 100), "white")
    wide.paste((0, 0, 0), (100, 0, 200, 100))
    squashed = to_pixels(wide, Preprocessing(30))
    assert squashed.shape == (30, 30, 3)
    assert squashed[:, :8].min() == 255
    assert squashed[:, 12:18].max() == 0


def test_bicubic_overshoots_an_edge_and_bilinear_does_not() -> None:
    edge = Image.new("RGB", (8, 8), (64, 64, 64))
    edge.paste((192, 192, 192), (4, 0, 8, 8))
    bicubic, bilinear = (to_pixels(edge, Preprocessing(32, filter=name)) for name in ("bicubic", "bilinear"))
    assert (bilinear.min(), bilinear.max()) == (64, 192)
    assert bicubic.min() < 60
    assert bicubic.max() > 196


def test_a_picture_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    photo(32, 32).save(tmp_path / "a.png")
    assert np.array_equal(load_pixels(tmp_path / "a.png", Preprocessing(32)), np.asarray(photo(32, 32)))


def test_normalise_is_the_usual_formula() -> None:
    preprocessing = Preprocessing(4, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    bytes_ = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    expected = (bytes_ / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    out = normalise(bytes_, preprocessing)
    assert out.dtype == np.float32
    assert out.shape == (2, 3, 4, 4)
    assert np.allclose(out, expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_json_round_trip() -> None:
    one = Preprocessing(96, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
    assert Preprocessing.from_json(json.loads(json.dumps(one.to_json()))) == one
    with pytest.raises(DataError, match=r"Not a preprocessing: .*'colour'"):
        Preprocessing.from_json({"colour": 1})
    with pytest.raises(DataError, match=r"`resize` must be .squash., but is 'crop'"):
        Preprocessing.from_json(one.to_json() | {"resize": "crop"})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 0}, "`size` must be at least 1, but is 0"),
        ({"filter": "lanczos"}, '`filter` must be "bicubic" or "bilinear", but is "lanczos"'),
        ({"mean": (1.0,)}, "`mean` must have 3 values, but has 1"),
        ({"std": (0.5, 0.5, 0.0)}, "`std` must be positive"),
    ],
)
def test_impossible_preprocessing(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**options)


def test_an_app_s_own_large_pictures_stay_its_own() -> None:
    """Pillow warns of these; no import of ours makes that an error. In a process without the filters here."""
    code = (
        "import io; from PIL import Image; import distilcap.runtime.large; file = io.BytesIO(); "
        "Image.new('RGB', (12, 12)).save(file, 'PNG'); Image.MAX_IMAGE_PIXELS = 100; Image.open(file).load()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_app_s_own_filter_of_them_stays_in_front() -> None:
    code = (
        "import io, warnings; from PIL import Image; "
        "warnings.simplefilter('error', Image.DecompressionBombWarning); "
        "from distilcap.runtime.pixels import read_image; file = io.BytesIO(); "
        "Image.new('RGB', (12, 12)).save(file, 'PNG'); Image.MAX_IMAGE_PIXELS = 100; "
        "assert read_image(file.getvalue()).size == (12, 12); Image.open(file)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PIL.Image.DecompressionBombWarning: Image size (144 pixels)" in done.stderr
