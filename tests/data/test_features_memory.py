"""Reading a store of COCO's size: memory stays what the batch needs; the rest is the file's mapping."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from distilcap.data.features import FeatureStore, safetensors_header, store_bytes
from distilcap.files import write_json

IMAGES, REGIONS, DIM = 123_287, 49, 320


def anonymous() -> int:
    """Bytes of this process that no file stands for."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_epoch_over_coco_needs_no_more_memory_than_a_batch(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    with (folder / "features.safetensors").open("wb") as file:  # zeros that take no disk
        file.write(safetensors_header(IMAGES, REGIONS, DIM))
        file.seek(store_bytes(IMAGES, REGIONS, DIM) - 2 * IMAGES)
        file.write(np.full(IMAGES, REGIONS, np.int16).tobytes())
    ids = [f"{image:012d}" for image in range(IMAGES)]
    content = {"regions": REGIONS, "dim": DIM, "skipped": [], "recipe": {}, "ids": ids}
    write_json(folder / "store.json", content)
    store = FeatureStore.open(folder)
    order = np.random.default_rng(0).permutation(IMAGES)
    store.regions_of([ids[row] for row in order[:32]])
    before, highest = anonymous(), 0
    for first in range(0, IMAGES, 32):
        features = store.regions_of([ids[row] for row in order[first : first + 32]]).features
        assert features.shape[1:] == (REGIONS, DIM)
        highest = max(highest, anonymous()) if first % 3200 == 0 else highest
    # A batch is 1 MB; all features would be 3,866 MB.
    assert highest - before < 20 << 20
