"""Captions and timings from the page itself, in a Chromium without a window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilcap.errors import MissingError
from distilcap.export.bench import Times, peak_megabytes
from distilcap.export.browser.chromium import Page, chromium_program, open_page
from distilcap.export.browser.server import serving
from distilcap.export.browser.site import write_web
from distilcap.export.folders import scratch_folder

__all__ = ["captions_in_browser", "time_chromium"]

_INPUT = """{
  const input = document.createElement("input");
  input.type = "file";
  input.id = "pictures";
  input.multiple = true;
  input.hidden = true;
  document.body.append(input);
}"""
_DESCRIBE = "captioner.describe(document.getElementById('pictures').files[{index}], {beam})"


def captions_in_browser(
    page: Page, address: str, photos: Sequence[Path], beams: Sequence[int]
) -> list[list[Any]]:
    """Caption photos by the page at an address, with each of some beam sizes.

    Returns:
        For each photo, for each beam: `{"captions": [{"text", "tokens", "logProb"}], "milliseconds": {…}}`.
    """
    page.open(address)
    page.evaluate("captioner.ready")
    page.evaluate(_INPUT)
    page.choose_files("#pictures", photos)
    return [
        [page.evaluate(_DESCRIBE.format(index=index, beam=beam)) for beam in beams]
        for index in range(len(photos))
    ]


def time_chromium(
    bundle: Path, photos: Sequence[Path], threads: int, runtime: Path | None
) -> tuple[Times, float | None]:
    """Milliseconds by part, and the renderer's peak memory.

    Raises:
        MissingError: Chromium or ONNX Runtime Web is not there.
    """
    chromium_program()
    with scratch_folder() as folder:
        site = write_web(bundle, folder / "site", runtime=runtime)
        if site.missing:
            raise MissingError(site.missing)
        with serving(site.folder) as address, open_page(seconds=300) as page:
            # An input of many files, each of them once; photos are repeated.
            different = list(dict.fromkeys(photos))
            page.open(f"{address}?threads={threads}")
            beam = int(page.evaluate("captioner.ready")["beam"])
            page.evaluate(_INPUT)
            page.choose_files("#pictures", different)
            times: Times = {"pixels": [], "encoder": [], "greedy": [], "beam": []}
            for photo in photos:
                index = different.index(photo)
                greedy = page.evaluate(_DESCRIBE.format(index=index, beam=1))["milliseconds"]
                searched = page.evaluate(_DESCRIBE.format(index=index, beam=beam))["milliseconds"]
                times["pixels"].append(greedy["pixels"])
                times["encoder"].append(greedy["encoder"])
                times["greedy"].append(greedy["decoder"])
                times["beam"].append(searched["decoder"])
            peak = _largest_descendant(page.process.pid)
    return {part: values[5:] for part, values in times.items()}, peak


def _largest_descendant(pid: int) -> float | None:
    """Peak memory of the largest process below `pid`: the page's renderer."""
    parents = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                content = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(content.rpartition(")")[2].split()[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    peaks = [peak for child in below - {pid} if (peak := peak_megabytes(str(child))) is not None]
    return max(peaks, default=None)
