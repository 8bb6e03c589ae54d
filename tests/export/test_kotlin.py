"""The Kotlin reader of `examples/android`, compiled and run on the JVM: Python's tokens, on the same pixels.

pytest -m slow tests/export/test_kotlin.py
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from distilcap.export.bundle import export_bundle
from distilcap.export.options import ExportOptions
from distilcap.export.pictures import sample_pictures
from distilcap.files import write_json
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.calibration import BINS, Calibration, Reliability
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import write_manifest
from distilcap.runtime.pixels import Preprocessing, _box, read_image, to_pixels, to_rgb
from distilcap.text.unspaced import join_words
from distilcap.text.vocabulary import SPECIALS

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "android"
PHOTOGRAPHS = 50
NOT_FETCHED = ("could not be resolved", "Could not transfer", "Could not find artifact")


class Reader:
    """The compiled reader."""

    def __init__(self, project: Path) -> None:
        target = project / "jvm" / "target"
        self.command = ["java", "-cp", f"{target / 'classes'}:{target / 'dependency'}/*"]

    def run(self, main: str, *arguments: object, given: object = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, f"org.distilcap.example.{main}", *map(str, arguments)],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )

    def captions(self, bundle: Path, beam: int, photos: list[Path]) -> list[dict]:
        done = self.run("MainKt", bundle, beam, *photos)
        assert done.returncode == 0, done.stderr
        captions = [json.loads(line) for line in done.stdout.splitlines()]
        assert [caption["photo"] for caption in captions] == [str(photo) for photo in photos]
        return captions


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    for program, name in (("java", "Java"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            pytest.skip(f"{name} is not installed")
    project = Path(
        shutil.copytree(
            EXAMPLE, tmp_path_factory.mktemp("kotlin") / "android", ignore=shutil.ignore_patterns("target")
        )
    )
    shutil.copyfile(Path(__file__).with_name("Checks.kt"), project / "Checks.kt")
    command = ["mvn", "-q", "-B", "-f", str(project / "jvm"), "compile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if any(reason in said for reason in NOT_FETCHED):
        pytest.skip("Maven cannot fetch Kotlin and ONNX Runtime")
    assert done.returncode == 0, said
    return Reader(project)


@pytest.fixture(scope="session", params=["drawn", "Flickr8k"])
def photos(request, tmp_path_factory):
    """Losslessly kept, so that Java and Pillow decode the same pixels."""
    folder = tmp_path_factory.mktemp("photos")
    if request.param == "drawn":
        images = [
            drawn(picture, number) for number, (_, picture) in enumerate(sample_pictures(PHOTOGRAPHS, 160))
        ]
    else:
        files = sorted((request.getfixturevalue("shared_data") / "flickr8k" / "images").glob("*.jpg"))
        images = [read_image(file) for file in files[:PHOTOGRAPHS]]
    assert len(images) == PHOTOGRAPHS
    paths = [folder / f"{number}.png" for number in range(PHOTOGRAPHS)]
    for path, image in zip(paths, images, strict=True):
        image.save(path)
    return paths


def drawn(picture, number):
    """In many shapes; some grey, some partly transparent."""
    image = Image.fromarray(picture[: 20 + 3 * (number % 40), : 160 - 2 * number])
    if number % 5 == 1:
        return image.convert("L")
    if number % 5 == 2:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    if number % 5 == 3:
        return Image.fromarray(256 * np.asarray(image.convert("L")).astype(np.uint16) + 77)
    if number % 5 == 4:
        (image := image.convert("LA")).putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.fixture(scope="session")
def int8(run, encoder, bundle, tmp_path_factory):
    """An int8 bundle of format 2, with words that are never written and a calibration."""
    pixels = np.stack([picture for _, picture in sample_pictures(16, 32)])
    written = Counter(bundle.greedy(bundle.see(pixels)).tokens.ravel().tolist())
    none, *moved = [word for word, _ in written.most_common() if word >= len(SPECIALS)][:4]
    other = next(word for word in range(len(SPECIALS), 60) if word not in written)
    blocked = tuple(sorted([(none, 0), *((word, other) for word in moved)]))
    decode = DecodeOptions(beam_size=3, length_penalty=0.7, blocked=blocked)
    to = tmp_path_factory.mktemp("kotlin_bundles") / "int8"
    made = export_bundle(run, to, ExportOptions(precision="int8"), encoder=encoder, decode=decode)
    flat = Reliability((0,) * BINS, (0.0,) * BINS, (0.0,) * BINS)
    calibration = Calibration(0.8, 0.5, 1.0, 100, flat, "nothing")
    write_manifest(made.folder, dataclasses.replace(made.manifest, calibration=calibration))
    return Bundle.open(made.folder)


def assert_pythons(captions, expected):
    for caption, pythons in zip(captions, expected, strict=True):
        assert tuple(caption["tokens"]) == pythons.tokens, caption["photo"]
        assert caption["caption"] == pythons.text
        assert caption["log_prob"] == pytest.approx(pythons.log_prob, abs=1e-3)
        assert caption.get("confidence") == pytest.approx(pythons.confidence, abs=1e-3)
    assert len({caption["caption"] for caption in captions}) > PHOTOGRAPHS / 5


def test_greedy_captions_are_pythons(reader, int8, photos):
    captions = reader.captions(int8.folder, 1, photos)
    assert_pythons(captions, [int8.greedy_caption(photo) for photo in photos])


@pytest.mark.parametrize("beam", [3, 5])
def test_captions_of_a_beam_are_pythons(reader, int8, photos, beam):
    options = dataclasses.replace(int8.manifest.decode, beam_size=beam)
    captions = reader.captions(int8.folder, beam, photos)
    assert_pythons(captions, [int8.alternatives(photo, options)[0] for photo in photos])
    written = {token for caption in captions for token in caption["tokens"]}
    blocked = dict(options.blocked)
    assert not written & blocked.keys()
    assert written & set(blocked.values()), "words written instead of those that are blocked"


def test_captions_that_repeat_come_last_where_the_bundle_says_so(reader, exported, photos, tmp_path):
    folder = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    three_words = DecodeOptions(4, 7, 3.0, blocked=tuple((word, 0) for word in range(7, 60)))
    avoiding = dataclasses.replace(three_words, avoid_repeats=True)
    write_manifest(folder, dataclasses.replace(exported.manifest, decode=avoiding))
    opened = Bundle.open(folder)
    expected = [opened.alternatives(photo)[0] for photo in photos]
    assert expected != [opened.alternatives(photo, three_words)[0] for photo in photos]
    for caption, pythons in zip(reader.captions(folder, 4, photos), expected, strict=True):
        assert tuple(caption["tokens"]) == pythons.tokens


def test_versions_of_bundles(reader, exported, photos, tmp_path):
    """Version 1, which has neither words never written nor a calibration, and one to come."""
    folder = Path(shutil.copytree(exported.folder, tmp_path / "bundle"))
    content = json.loads((folder / "manifest.json").read_text())
    del content["decode"]["never_write"], content["calibration"]
    write_json(folder / "manifest.json", content | {"version": 1})
    opened = Bundle.open(folder, verify=False)
    assert_pythons(reader.captions(folder, 4, photos), [opened.alternatives(photo)[0] for photo in photos])
    write_json(folder / "manifest.json", content | {"version": 3})
    done = reader.run("MainKt", folder, 4, photos[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{folder}: the bundle is newer than this program\n"


def test_files_that_are_no_pictures_are_named(reader, exported, photos, tmp_path):
    text, missing = tmp_path / "text.png", tmp_path / "missing.png"
    text.write_text("no picture")
    done = reader.run("MainKt", exported.folder, 1, text, photos[0], missing)
    assert done.returncode == 2
    assert [json.loads(line)["photo"] for line in done.stdout.splitlines()] == [str(photos[0])]
    assert done.stderr.splitlines()[:2] == [
        f"{file}: not a picture that Java can read." for file in (text, missing)
    ]


@pytest.mark.parametrize("beam", ["x", "0"])
def test_a_beam_that_is_none_is_not_said_of_the_bundle(reader, tmp_path, beam):
    done = reader.run("MainKt", tmp_path, beam, "photo.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Arguments: BUNDLE BEAM PHOTO…; a beam of 1 is greedy.\n"


SIZES = [
    (224, 224, 224),
    (300, 201, 64),
    (37, 53, 64),
    (500, 375, 96),
    (375, 500, 96),
    (7, 5, 32),
    (64, 90, 32),
]


def test_pixels_and_sentences_are_pythons(reader):
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (height, width, 4), np.uint8) for width, height, _ in SIZES]
    for number, picture in enumerate(pictures):
        picture[: len(picture) // 2] = np.where(picture[: len(picture) // 2] > 127, 255, 0)  # overshoots
        if number % 2:
            picture[..., 3] = 255
    cases = [(*case, name) for case in zip(pictures, SIZES, strict=True) for name in ("bicubic", "bilinear")]
    odd, filled = random.integers(0, 256, (76, 51, 3), np.uint8), (50.25, 75.5)
    alpha = np.full((76, 51), 255, np.uint8)
    captions = [
        ["一", "只", "狗"],
        ["a", "b"],
        ["狗", "a", "b", "猫"],
        ["น้ำ", "12"],
        ["\U00020000", "한국어", "x"],
    ]
    given = {
        "pictures": [
            {"colours": colours(picture), "width": width, "height": height, "size": size, "filter": name}
            for picture, (width, height, size), name in cases
        ],
        "turned": [
            {"colours": colours(np.dstack([odd, alpha])), "width": 51, "height": 76}
            | {"filled": filled, "orientation": orientation, "size": 20}
            for orientation in range(1, 9)
        ],
        "jpegs": [
            {"width": 4000, "height": 3000, "size": 224, "reduced": True},
            {"width": 4000, "height": 900, "size": 224, "reduced": True},
            {"width": 447, "height": 4000, "size": 224, "reduced": True},
            {"width": 4000, "height": 3000, "size": 224, "reduced": False},
            {"width": 12000, "height": 9000, "size": 224, "reduced": False},
        ],
        "captions": captions,
    }
    done = reader.run("ChecksKt", given=given)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for (picture, (*_, size), name), resized in zip(cases, answer["resized"], strict=True):
        expected = to_pixels(to_rgb(Image.fromarray(picture)), Preprocessing(size, filter=name))
        rgb = np.array(resized)[:, None] >> (16, 8, 0) & 255
        np.testing.assert_array_equal(rgb.reshape(expected.shape), expected)
    for orientation, resized in enumerate(answer["turned"], 1):
        image = Image.fromarray(odd)
        image.getexif()[0x112] = orientation
        upright = ImageOps.exif_transpose(image)
        expected = to_pixels(upright, Preprocessing(20), _box(filled, upright.size, orientation))
        rgb = np.array(resized)[:, None] >> (16, 8, 0) & 255
        np.testing.assert_array_equal(rgb.reshape(expected.shape), expected)
    assert answer["parts"] == [4, 2, 1, 1, 2]
    assert answer["sentences"] == [join_words(words, spaced=False) for words in captions]


def colours(picture):
    """0xAARRGGBB of RGBA (H, W, 4), as Java's signed integers."""
    return picture[..., [2, 1, 0, 3]].copy().view("<i4").ravel().tolist()
