from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from distilcap.cli.features import encoder_table, features
from distilcap.data.dataset import ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.data.readers import read_dataset
from distilcap.encoders.catalogue import catalogue
from distilcap.errors import ConfigError, DataError
from distilcap.files import write_json
from distilcap.record_log import RecordLog


def test_the_command_writes_a_store(write_images: Callable[..., list[ImageRecord]], tmp_path: Path) -> None:
    records = write_images(tmp_path / "images", 3)
    (tmp_path / "images" / "image1.jpg").write_bytes(b"")
    lines = [json.dumps({"image": record.path.name, "caption": "a patch of colour"}) for record in records]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines) + "\n")
    arguments = [
        "--data",
        tmp_path / "captions.jsonl",
        "--images",
        tmp_path / "images",
        "--out",
        tmp_path / "out",
    ]
    arguments += ["--image-size", "64", "--encoder-form", "stage", "--regions", "4"]
    with RecordLog(tmp_path / "out" / "progress.jsonl", {}):  # as another process holds it
        refused = CliRunner().invoke(features, [str(one) for one in arguments])
    assert isinstance(refused.exception, DataError)
    assert f"{tmp_path / 'out' / 'progress.jsonl'}: another process is at this" in str(refused.exception)
    (tmp_path / "out" / "progress.jsonl").unlink()
    result = CliRunner().invoke(features, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "efficientnet-lite0, weights 579344248a93e230" in result.output
    assert f"2 images in {tmp_path / 'out'}; 1 skipped." in result.output
    store = FeatureStore.open(tmp_path / "out")
    assert (store.count, store.regions, store.dim) == (2, 4, 320)
    again = [str(one) for one in arguments]
    assert CliRunner().invoke(features, again, catch_exceptions=False).exit_code == 0
    shutil.copy(records[0].path, tmp_path / "images" / "image1.jpg")  # repaired, or replaced
    refused = CliRunner().invoke(features, again)
    assert "holds features of other images, or of these before a change" in str(refused.exception)


def test_whose_features_a_folder_holds(
    write_images: Callable[..., list[ImageRecord]], tmp_path: Path
) -> None:
    for name, count, size in (("mine", 2, 40), ("others", 2, 48), ("more", 3, 40)):
        records = write_images(tmp_path / name, count, size)
        lines = [json.dumps({"image": one.path.name, "caption": "a patch of colour"}) for one in records]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    out, kept = tmp_path / "out", tmp_path / "out" / "features-of.json"

    def run(name: str) -> BaseException | None:
        arguments = ["--data", f"{tmp_path / name}.jsonl", "--images", str(tmp_path / name), "--to", str(out)]
        return CliRunner().invoke(features, [*arguments, "--image-size", "64"]).exception

    def corrected() -> None:
        captions = (tmp_path / "mine.jsonl").read_text()
        (tmp_path / "mine.jsonl").write_text(captions.replace("patch", "small patch"))

    out.mkdir()
    (out / "images.json").write_text('{"images": []}')  # a person's own
    write_json(kept, {"images": "of a command that failed before it made features"})
    assert run("mine") is None
    assert (out / "images.json").read_text() == '{"images": []}'
    corrected()
    assert run("mine") is None
    assert "holds features of other images" in str(run("others"))

    kept.unlink()  # of a version that wrote nothing of images: who fails first does not own them
    assert "lacks 1 images" in str(run("more"))
    assert run("mine") is None

    kept.unlink()  # of a version that counted captions too
    data = read_dataset(tmp_path / "mine.jsonl", tmp_path / "mine")
    write_json(out / "images.json", {"images": data.fingerprint()})
    assert run("mine") is None
    kept.unlink()
    corrected()
    assert "images.json if only captions or splits are others" in str(run("mine"))


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device, message in (
        ("cuda", "PyTorch finds no GPU here"),
        ("tpu", "must be cpu or cuda, but is tpu"),
    ):
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(
                features, ["--data", "x", "--out", "y", "--device", device], catch_exceptions=False
            )


def test_the_catalogue_tells_sizes() -> None:
    entries = {(entry.name, entry.form): entry for entry in catalogue()}
    lite0 = entries["efficientnet-lite0", "grid"]
    assert (lite0.parameters, lite0.regions, lite0.dim, lite0.here) == (3_371_008, 49, 1280, True)
    assert lite0.megabytes == pytest.approx(13.48, abs=0.01)
    boxes, grid = entries["efficientdet-d0", "regions"], entries["efficientdet-d0", "grid"]
    assert boxes.parameters == 3_880_067
    assert grid.parameters < boxes.parameters  # no heads
    assert encoder_table().row_count == len(entries)
