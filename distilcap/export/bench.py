"""How large and how fast a bundle is, by part, in each runtime that is installed."""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distilcap.errors import BundleError, DataError, DistilCapError, MissingError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import Manifest, read_manifest
from distilcap.shown import counted

__all__ = ["Measured", "Spread", "bench", "megabytes_by_part"]

WARM_UP, LARGE = 5, 5  # images that are not counted; and 12-megapixel ones, whose first is not


@dataclass(frozen=True)
class Spread:
    """Milliseconds of one part over images: the middle, and what 95 % stay below."""

    median: float
    p95: float

    @staticmethod
    def of(milliseconds: Sequence[float]) -> Spread:
        """Of at least one measurement; the 95th percentile is the nearest rank."""
        ordered = sorted(milliseconds)
        last = len(ordered) - 1
        return Spread(round(ordered[last // 2], 3), round(ordered[min(last, round(0.95 * last))], 3))


@dataclass(frozen=True)
class Measured:
    """One runtime's figures.

    Attributes:
        runtime: "onnxruntime", "chromium-wasm" or "executorch".
        precision: of the weights.
        threads: of each operation.
        megabytes: of files, by part, in 10^6 bytes.
        ms_per_image: "pixels" (decode, resize), "12 MP" (the same of a phone's photograph), "encoder",
            "greedy", "beam" and "all" (encoder and greedy decoding), for one image at a time.
        peak_megabytes: most memory the process held; None where that cannot be measured.
    """

    runtime: str
    precision: str
    threads: int
    megabytes: dict[str, float]
    ms_per_image: dict[str, Spread]
    peak_megabytes: float | None


def megabytes_by_part(manifest: Manifest) -> dict[str, float]:
    """Encoder, decoder and the rest, in 10^6 bytes; the phone's own programs are left out."""
    sizes = {name: file["bytes"] / 1e6 for name, file in manifest.files.items() if not name.endswith(".pte")}
    encoder = sizes.pop("encoder.onnx")
    decoder = sum(size for name, size in sizes.items() if name.endswith((".onnx", ".bin")))
    rest = sum(sizes.values()) - decoder
    return {"encoder": encoder, "decoder": decoder, "other": rest, "all": encoder + decoder + rest}


def bench(
    bundle: Path,
    *,
    photos: Sequence[Path] = (),
    images: int = 50,
    threads: Sequence[int] = (1, 2),
    browser: bool = True,
    browser_runtime: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[list[Measured], list[str]]:
    """Measure a bundle in ONNX Runtime, Chromium's wasm and ExecuTorch; what of the last two is not installed
    is left out.

    Args:
        bundle: the folder.
        photos: to be captioned; none takes drawn gradients of the encoder's size.
        images: how many captions are timed, one image at a time, after some to warm up; photos are repeated.
        threads: to measure with.
        browser: whether Chromium is measured.
        browser_runtime: folder of ONNX Runtime Web; see `site.write_web`.
        progress: reports what is left out.

    Returns:
        the figures; and a line for each runtime that failed, with its number of threads.

    Raises:
        BundleError: the bundle is not whole.
        DataError: a photo cannot be read.
        MissingError: ONNX Runtime is not installed.
    """
    manifest = read_manifest(bundle)
    measurements: list[Measured] = []
    failed: list[str] = []
    with _photos(photos, manifest.preprocessing.size) as files:
        *files, large = files
        given = [files[index % len(files)] for index in range(images + WARM_UP)] + [large] * LARGE

        def measure(runtime: str, manifest: Manifest, sizes: dict[str, float], time: Timing) -> None:
            for count in threads:
                try:
                    timed = time(bundle, given, count)
                except (DataError, MissingError):
                    raise
                except DistilCapError as error:  # none of the other figures is lost
                    failed.append(f"{runtime}, {counted(count, 'thread')}: {error}")
                else:
                    measurements.append(_measured(runtime, manifest, count, sizes, timed))

        measure("onnxruntime", manifest, megabytes_by_part(manifest), _in_new_process(_time_onnxruntime))
        if browser:
            from distilcap.export.browser.bench import time_chromium

            chromium = functools.partial(time_chromium, runtime=browser_runtime)
            try:
                measure("chromium-wasm", manifest, megabytes_by_part(manifest), chromium)
            except MissingError as error:
                progress.note(f"Chromium is left out: {error} (`--no-browser` does not try it.)")
        programs = {name: file["bytes"] / 1e6 for name, file in manifest.files.items() if name[-4:] == ".pte"}
        if programs and importlib.util.find_spec("executorch"):
            sizes = {name.removesuffix(".pte"): size for name, size in programs.items()}
            sizes["all"] = sum(programs.values())
            float32 = replace(manifest, precision="float32")  # whatever the graphs beside them are
            measure("executorch", float32, sizes, _in_new_process(_time_executorch))
        elif programs:
            progress.note("ExecuTorch is left out: it is not installed (`pip install executorch`).")
    return measurements, failed


Times = dict[str, list[float]]
"""Milliseconds of each part, image by image."""
Timing = Callable[[Path, list[Path], int], tuple[Times, float | None]]
"""Times and the peak memory of a bundle, photos and a number of threads."""


def _measured(
    runtime: str, manifest: Manifest, threads: int, sizes: dict[str, float], timed: tuple[Times, float | None]
) -> Measured:
    times, peak = timed
    large = times["pixels"][1 - LARGE :]
    times = {part: values[WARM_UP:-LARGE] for part, values in times.items()}
    together = [sum(pair) for pair in zip(times["encoder"], times["greedy"], strict=True)]
    parts = {"pixels": times["pixels"], "12 MP": large} | times | {"all": together}
    spreads = {part: Spread.of(values) for part, values in parts.items()}
    rounded = {part: round(size, 3) for part, size in sizes.items()}
    return Measured(runtime, manifest.precision, threads, rounded, spreads, peak and round(peak, 1))


@contextmanager
def _photos(photos: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """The given photos, or drawn pictures of that size; and last a photograph of 12 megapixels."""
    from PIL import Image

    from distilcap.export.folders import scratch_folder
    from distilcap.export.pictures import draw_photograph, sample_pictures

    with scratch_folder() as folder:
        files = list(photos)
        for number, (_, picture) in enumerate(sample_pictures(0 if files else 16, size)):
            files.append(folder / f"{number}.png")
            Image.fromarray(picture).save(files[-1])
        yield [*files, draw_photograph(folder / "photograph.jpg")]


def _in_new_process(function: Callable[[Path, list[Path], int], Times]) -> Timing:
    """Run in a process that holds nothing else, so that its memory is the runtime's."""

    def time(bundle: Path, photos: list[Path], threads: int) -> tuple[Times, float | None]:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                return pool.submit(_and_peak, function, bundle, photos, threads).result()
            except BrokenProcessPool:
                raise BundleError(
                    f"{bundle}: its runtime ended without a word; there may be too little memory."
                ) from None

    return time


def _and_peak(
    function: Callable[[Path, list[Path], int], Times], bundle: Path, photos: list[Path], threads: int
) -> tuple[Times, float | None]:
    return function(bundle, photos, threads), peak_megabytes("self")


def peak_megabytes(process: str) -> float | None:
    """The most memory that a process has held so far; None where the system does not tell (not Linux)."""
    if sys.platform != "linux":
        return None
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 / 1e6 if lines else None


def _time_onnxruntime(folder: Path, photos: list[Path], threads: int) -> Times:
    from distilcap.runtime.bundle import Bundle

    return _time(Bundle.open(folder, threads=threads, verify=False), photos)


def _time_executorch(folder: Path, photos: list[Path], threads: int) -> Times:
    from distilcap.export.phone import PhoneBundle

    return _time(PhoneBundle.open(folder, threads=threads, verify=False), photos)


def _time(bundle: Any, photos: list[Path]) -> Times:
    from distilcap.runtime.pixels import load_pixels

    options: DecodeOptions = bundle.manifest.decode
    times: Times = {"pixels": [], "encoder": [], "greedy": [], "beam": []}
    for photo in photos:
        began = time.perf_counter()
        pixels = load_pixels(photo, bundle.manifest.preprocessing)[None]
        loaded = time.perf_counter()
        seen = bundle.see(pixels)
        encoded = time.perf_counter()
        bundle.greedy(seen)
        written = time.perf_counter()
        bundle.search(seen, options)
        ends = (began, loaded, encoded, written, time.perf_counter())
        for part, start, end in zip(times, ends, ends[1:], strict=False):
            times[part].append(1e3 * (end - start))
    return times
