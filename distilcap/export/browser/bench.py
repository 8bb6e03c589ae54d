"""Captions and timings from the page itself, in a Chromium without a window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilcap.errors import MissingError
from distilcap.export.bench import Times, peak_megabytes
from distilcap.export.browser.chromium import chromium_program, open_page
from distilcap.export.browser.server import serving
from distilcap.export.browser.site import write_web
from distilcap.export.folders import scratch_folder

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["captions_in_browser", "time_chromium"]

_INPUT = """{
  const input = document.createElement("input");
  input.type = "file";
  input.id = "pictures";
  input.multiple = true;
  input.hidden = true;
  document.body.append(input);
}"""


def captions_in_browser(
    page: Page, address: str, photos: Sequence[Path], beams: Sequence[int]
) -> list[list[Any]]:
    """Caption photos by the page at an address, with each of several beam widths.

    Returns:
        For each photo, for each beam: `{"captions": [{"text", "tokens", "logProb"}], "milliseconds": {…}}`.
    """
    _open(page, address, photos)
    return [[_describe(page, index, beam) for beam in beams] for index in range(len(photos))]


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
            # One input of many files, each of them once; photos come again and again.
            different = list(dict.fromkeys(photos))
            beam = int(_open(page, f"{address}?threads={threads}", different)["beam"])
            times: Times = {"pixels": [], "encoder": [], "greedy": [], "beam": []}
            for photo in photos:
                index = different.index(photo)
                greedy = _describe(page, index, 1)["milliseconds"]
                searched = _describe(page, index, beam)["milliseconds"]
                times["pixels"].append(greedy["pixels"])
                times["encoder"].append(greedy["encoder"])
                times["greedy"].append(greedy["decoder"])
                times["beam"].append(searched["decoder"])
            peak = _renderers_peak(page)
    return times, peak


def _open(page: Page, address: str, photos: Sequence[Path]) -> Any:
    """Load the page and give it photos; returns what it tells of itself when it is ready."""
    page.goto(address)
    ready = _result(page, "captioner.ready")
    page.evaluate(_INPUT)
    page.set_input_files("#pictures", photos)
    return ready


def _describe(page: Page, index: int, beam: int) -> Any:
    return _result(page, f"captioner.describe(document.getElementById('pictures').files[{index}], {beam})")


def _result(page: Page, script: str) -> Any:
    """The value of a promise; `page.evaluate` would wait for ever."""
    return page.wait_for_function(script).json_value()


def _renderers_peak(page: Page) -> float | None:
    """Peak memory of the largest process that shows a page."""
    assert page.context.browser is not None
    processes = page.context.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    renderers = [process["id"] for process in processes["processInfo"] if process["type"] == "renderer"]
    peaks = (peak_megabytes(str(process)) for process in renderers)
    return max((peak for peak in peaks if peak is not None), default=None)
