"""Crops of training images."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from distilcap.cli.main import main
from distilcap.data.crops import RECIPE, SIDES, STRETCH, crop_of, write_crops
from distilcap.data.dataset import ImageRecord
from distilcap.errors import ConfigError, DataError


def _ramp(width: int, height: int) -> Image.Image:
    """A picture whose red says the column and whose green says the row."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * columns / width, 255 * rows / height, 0 * rows], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def _records(folder: Path, number: int = 3) -> list[ImageRecord]:
    folder.mkdir()
    for index in range(number):
        _ramp(60 + index, 40).save(folder / f"{index}.png")
    splits = ["train", "train", "val"]
    return [ImageRecord(f"a/{index}", folder / f"{index}.png", splits[index % 3]) for index in range(number)]


def test_crops_are_parts_of_the_picture_and_half_are_flipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilcap.data.crops.LIGHT", (1.0, 1.0))
    flipped = 0
    for number in range(40):
        crop = np.asarray(crop_of(_ramp(300, 200), "p.jpg", number, 64), dtype=float)
        red, green = crop[..., 0], crop[..., 1]
        backwards = red[:, 0].mean() > red[:, -1].mean()
        flipped += backwards
        width, height = abs(red[:, -1] - red[:, 0]).mean() / 255, (green[-1] - green[0]).mean() / 255
        for side in (width, height):
            assert SIDES[0] * STRETCH[0] ** 0.5 - 0.05 < side < min(1, SIDES[1] * STRETCH[1] ** 0.5) + 0.02
    assert 10 <= flipped <= 30


def test_only_training_images_are_cropped_and_a_second_run_writes_the_same(tmp_path: Path) -> None:
    images = _records(tmp_path / "images")
    assert write_crops(images, tmp_path / "crops", 2, 32) == []
    written = {file.name: file.read_bytes() for file in (tmp_path / "crops").glob("*.jpg")}
    assert sorted(written) == ["a%2F0_0.jpg", "a%2F0_1.jpg", "a%2F1_0.jpg", "a%2F1_1.jpg"]
    assert len(set(written.values())) == 4
    (tmp_path / "crops" / "a%2F1_1.jpg").unlink()
    write_crops(images, tmp_path / "crops", 2, 32)
    assert {file.name: file.read_bytes() for file in (tmp_path / "crops").glob("*.jpg")} == written


def test_a_folder_of_other_crops_or_files_is_left_alone(tmp_path: Path) -> None:
    images = _records(tmp_path / "images")
    write_crops(images, tmp_path / "crops", 1, 32)
    with pytest.raises(ConfigError, match=RECIPE):
        write_crops(images, tmp_path / "crops", 2, 32)
    with pytest.raises(DataError, match="other files"):
        write_crops(images, tmp_path / "images", 2, 32)


def test_crops_of_another_data_set_or_another_photograph_need_another_folder(tmp_path: Path) -> None:
    images, crops = _records(tmp_path / "images"), tmp_path / "crops"
    write_crops(images, crops, 1, 32)
    write_crops(
        [*images[:0:-1], images[0], ImageRecord("new", images[2].path, "val")], crops, 1, 32
    )  # the same
    others = [ImageRecord(image.id, images[1 - n].path, "train") for n, image in enumerate(images[:2])]
    with pytest.raises(ConfigError, match=rf"crops: holds crops of other images \({RECIPE}\); name another"):
        write_crops(others, crops, 1, 32)
    _ramp(50, 50).save(images[0].path)
    with pytest.raises(ConfigError, match="of other images"):
        write_crops(images, crops, 1, 32)
    (crops / RECIPE).write_text('{"each": 1, "size": 32}')  # of an older version, which did not know
    assert write_crops(images, crops, 1, 32) == []


def test_a_broken_image_is_named_and_the_others_are_cropped(tmp_path: Path) -> None:
    images = _records(tmp_path / "images")
    images[0].path.write_bytes(b"no image")
    (failed,) = write_crops(images, tmp_path / "crops", 1, 32)
    assert str(images[0].path) in failed
    assert [file.name for file in (tmp_path / "crops").glob("*.jpg")] == ["a%2F1_0.jpg"]


def test_long_names_fit_the_disk_and_differ(tmp_path: Path) -> None:
    (picture, *_) = _records(tmp_path / "images", 1)
    images = [ImageRecord(id, picture.path, "train") for id in ("狗" * 84, "狗" * 83 + "猫", "狗" * 20)]
    assert write_crops(images, tmp_path / "crops", 2, 32) == []
    names = {file.name for file in (tmp_path / "crops").glob("*.jpg")}
    assert len(names) == 6
    assert f"{quote('狗' * 20)}_0.jpg" in names


def test_crops_are_not_written_among_the_images_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in _records(tmp_path / "images"):
        (tmp_path / "images" / "train").mkdir(exist_ok=True)
        image.path.rename(tmp_path / "images" / "train" / image.path.name)
    inside = ["data", "crops", str(tmp_path / "images"), "--to", str(tmp_path / "images" / "train" / "crops")]
    with pytest.raises(SystemExit, match="2"):
        main(inside)
    assert "would be images of it; name a folder outside" in capsys.readouterr().err
    assert not (tmp_path / "images" / "train" / "crops").exists()
    (tmp_path / "images" / "captions.csv").write_text("image,caption,split\ntrain/0.png,a dog,train\n")
    for _ in range(2):  # a captions file says which are images
        main([*inside, "--size", "32"])
    assert len(list((tmp_path / "images" / "train" / "crops").glob("*.jpg"))) == 3
