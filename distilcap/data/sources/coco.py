"""COCO 2014 with Karpathy's split, from archives, from folders, or from the network.

Lin et al. 2014, "Microsoft COCO"; Karpathy & Fei-Fei 2015 for the split: 113,287 / 5,000 / 5,000 images.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distilcap.data.dataset import SPLITS, Dataset
from distilcap.data.readers import read_dataset
from distilcap.data.sources.archives import unpack_file, unpack_images
from distilcap.data.sources.download import Remote, download
from distilcap.errors import DataError, MissingError
from distilcap.files import atomic_path
from distilcap.progress import SILENT, Progress

__all__ = ["COCO", "Inventory", "Source", "look_for_coco", "prepare_coco"]

_CAPTIONS = "dataset_coco.json"
_HOMES = (
    "COCO's home is https://cocodataset.org/#download, that of Karpathy's split is "
    "https://cs.stanford.edu/people/karpathy/deepimagesent/."
)


@dataclass(frozen=True)
class Source:
    """What the data set is made of.

    Attributes:
        captions: archive that holds `dataset_coco.json`.
        images: archive of each folder of images.
        counts: images of each folder.
        splits: images of each split, `restval` counted as train.
    """

    captions: Remote
    images: Mapping[str, Remote]
    counts: Mapping[str, int]
    splits: Mapping[str, int]


# Sizes and checksums as published with the files and recorded by other projects.
COCO = Source(
    captions=Remote(
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
        "caption_datasets.zip",
        36_745_453,
        "sha256:4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
    ),
    images={
        "train2014": Remote(
            "http://images.cocodataset.org/zips/train2014.zip",
            "train2014.zip",
            13_510_573_713,
            "md5:0da8c0bd3d6becc4dcb32757491aca88",
        ),
        "val2014": Remote(
            "http://images.cocodataset.org/zips/val2014.zip",
            "val2014.zip",
            6_645_013_297,
            "md5:a3d79f5ed8d289b7a7554ce06a5782b3",
        ),
    },
    counts={"train2014": 82_783, "val2014": 40_504},
    splits={"train": 113_287, "val": 5_000, "test": 5_000},
)


@dataclass(frozen=True)
class Inventory:
    """What is where.

    Attributes:
        root: the folder of the data set.
        captions: the captions file, or the archive that holds it; None where there is neither.
        folders: the folders of images that are complete, by name.
        archives: the archives to unpack for the others, as far as they are there.
        missing: the files to fetch.
    """

    root: Path
    captions: Path | None
    folders: Mapping[str, Path]
    archives: Mapping[str, Path]
    missing: tuple[Remote, ...]


def look_for_coco(root: Path, also: Sequence[Path] = (), source: Source | None = None) -> Inventory:
    """See which parts of COCO are in `root`, or in the folders of `also`. Nothing is changed.

    Archives are known by name and size, folders of images by name and number of files.
    """
    source = source or COCO
    bases = [folder for base in (root, *also) for folder in (base, base / "images", base / "downloads")]
    captions = next((base / _CAPTIONS for base in bases if (base / _CAPTIONS).is_file()), None)
    captions = captions or _archive(bases, source.captions)
    missing = [] if captions else [source.captions]
    folders, archives = {}, {}
    for name, remote in source.images.items():
        folder = next((base / name for base in bases if _count(base / name) >= source.counts[name]), None)
        if folder is not None:
            folders[name] = folder
        elif (archive := _archive(bases, remote)) is not None:
            archives[name] = archive
        else:
            missing.append(remote)
    return Inventory(root, captions, folders, archives, tuple(missing))


def prepare_coco(
    root: Path,
    also: Sequence[Path] = (),
    fetch: bool = True,
    keep: bool = False,
    source: Source | None = None,
    progress: Progress = SILENT,
) -> Dataset:
    """Make `root` a folder with `dataset_coco.json`, `train2014/` and `val2014/`, and read it.

    Takes what is there, unpacks archives, downloads the rest; every step goes on where it was interrupted.
    Complete folders of images elsewhere are linked, not copied. Archives in `root/downloads`, where
    downloads go, are removed once they are unpacked, unless `keep`; others are never touched.

    Args:
        root: the folder to complete.
        also: folders that may hold archives, folders of images, or the captions file.
        fetch: whether the network may be used.
        keep: whether downloaded archives stay.
        source: what to expect; COCO by default.
        progress: reports every megabyte and image.

    Raises:
        MissingError: a part is missing and cannot be fetched; the message says what, and where to get it.
        DataError: a part is damaged, or another file.
    """
    source = source or COCO
    root.mkdir(parents=True, exist_ok=True)
    inventory = look_for_coco(root, also, source)
    if inventory.missing and not fetch:
        raise MissingError(_what_is_missing(inventory))
    _check_space(inventory, source)
    for remote in inventory.missing:
        try:
            download(remote, root / "downloads", progress)
        except MissingError as error:
            fix = (
                f"Run the command again later, or fetch {remote.name} by other means and put it into {root}."
            )
            raise MissingError(f"{error} {fix} {_HOMES}") from None
    inventory = look_for_coco(root, also, source)
    assert not inventory.missing, inventory.missing
    _take_captions(inventory)
    for name, archive in inventory.archives.items():
        unpack_images(archive, name, root, progress)
    for name, folder in inventory.folders.items():
        if folder != root / name:
            _link(folder, root / name)
    dataset = _checked(root, source)
    if not keep:
        for remote in (source.captions, *source.images.values()):
            (root / "downloads" / remote.name).unlink(missing_ok=True)
        if (root / "downloads").is_dir() and not any((root / "downloads").iterdir()):
            (root / "downloads").rmdir()
    return dataset


def _archive(bases: Sequence[Path], remote: Remote) -> Path | None:
    paths = [base / remote.name for base in bases]
    return next((path for path in paths if path.is_file() and path.stat().st_size == remote.size), None)


def _count(folder: Path) -> int:
    """How many images are in a folder; unfinished images have another ending."""
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as files:
        return sum(file.name.endswith(".jpg") for file in files)


def _what_is_missing(inventory: Inventory) -> str:
    parts = [f"{remote.name} ({_size(remote.size)}) from {remote.url}" for remote in inventory.missing]
    return (
        f"COCO is not complete in {inventory.root}. Missing: {'; '.join(parts)}. "
        f"Put what is missing into that folder, or let it be downloaded. {_HOMES}"
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _check_space(inventory: Inventory, source: Source) -> None:
    """The archives to come, and the images to be unpacked, which are as large as their archives."""
    root = inventory.root
    unpacked = sum(
        remote.size * max(0.0, 1 - _count(root / name) / source.counts[name])
        for name, remote in source.images.items()
        if name not in inventory.folders
    )
    begun = [root / "downloads" / f"{remote.name}.part" for remote in inventory.missing]
    have = sum(part.stat().st_size for part in begun if part.is_file())
    needed = int(sum(remote.size for remote in inventory.missing) - have + unpacked)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise MissingError(
            f"{root}: {_size(needed)} are needed, but only {_size(free)} are free on this disk. "
            "Free some space, or name another folder."
        )


def _take_captions(inventory: Inventory) -> None:
    captions, target = inventory.captions, inventory.root / _CAPTIONS
    assert captions is not None
    if captions.suffix == ".zip":
        unpack_file(captions, _CAPTIONS, target)
    elif captions != target:
        with atomic_path(target) as scratch:
            shutil.copyfile(captions, scratch)


def _link(folder: Path, link: Path) -> None:
    try:
        if link.is_dir() and not link.is_symlink():
            link.rmdir()  # an empty folder may be in the way; a folder with images is not ours to remove
        link.symlink_to(folder.resolve(), target_is_directory=True)
    except OSError as error:
        raise DataError(
            f"{link}: cannot be made a link to {folder} ({error.strerror}); move that folder here."
        ) from None


def _checked(root: Path, source: Source) -> Dataset:
    dataset = read_dataset(root / _CAPTIONS, images=root)
    sizes = {split: len(dataset.split(split)) for split in SPLITS}
    if sizes != dict(source.splits):
        raise DataError(
            f"{root / _CAPTIONS}: has {_listed(sizes)} images, but should have {_listed(source.splits)}. "
            "Remove this file and run the command again."
        )
    absent = [image.path for image in dataset.images if not image.path.is_file()]
    if absent:
        raise DataError(
            f"{root}: {len(absent):,} images are missing, the first is {absent[0]}. "
            "Remove the folder it should be in and run the command again."
        )
    return dataset


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{size:,} {split}" for split, size in sizes.items())
