"""`distilcap export`, `web`, `serve`, `bench`: a trained captioner leaves PyTorch."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from distilcap.box import LICENCE, NAME, box_bundle, box_limits, box_training
from distilcap.cli.bounds import PATH, THREADS
from distilcap.cli.box import named_bundle, say_terms
from distilcap.cli.common import CONSOLE, PROGRESS, open_store
from distilcap.cli.options import flags
from distilcap.errors import BundleError, DataError, MissingError
from distilcap.export.options import ExportOptions
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions

if TYPE_CHECKING:
    from distilcap.export.bench import Measured
    from distilcap.export.bundle import Exported
    from distilcap.stages.train import Train

__all__ = ["bench", "export", "push", "serve", "web"]

EXPORT = """\b
Example:
  distilcap export runs/train-0f3a… --to bundle
  distilcap export runs/train-0f3a… --to bundle-int8 --precision int8 --data flickr8k.json
"""
WEB = """\b
Example:
  distilcap web bundle-int8 --to site
  distilcap serve site
"""
PUSH = """\b
Example:
  hf auth login
  distilcap push bundle-int8 me/captioner
  distilcap caption --bundle hf:me/captioner photo.jpg
"""
BENCH = """\b
Example:
  distilcap bench bundle bundle-int8 --json latency.json
"""


@click.command(epilog=EXPORT)
@click.argument("run", type=PATH)
@click.option("--to", type=PATH, required=True, help="Folder of the bundle; an older bundle is replaced.")
@click.option("--data", type=PATH, help="Data set for parity, scores, confidence and ranges of activations.")
@click.option("--images", type=PATH, help="Folder of its images, if not beside the captions.")
@flags(ExportOptions, "options")
@flags(DecodeChoice, "decode", without=("n_best",))
def export(
    run: Path, to: Path, data: Path | None, images: Path | None, options: ExportOptions, decode: DecodeChoice
) -> None:
    """Write the captioner of RUN and its encoder as a bundle: ONNX, a manifest, a model card.

    Its captions are compared with PyTorch's, and nothing is written where they disagree. RUN may be `box`,
    the captioner in the box.
    """
    from distilcap.export.bundle import export_bundle
    from distilcap.models.weights import load_captioner

    dataset = None
    if data is not None:
        from distilcap.data.readers import read_dataset

        dataset = read_dataset(data, images, progress=PROGRESS)
    if str(run) == NAME:
        say_terms()
        run = box_training()
    recipe = _recipe_of(run)
    exported = export_bundle(
        run,
        to,
        options,
        encoder=recipe.encoder_in(run) if recipe else None,
        data=dataset,
        decode=decode.over(_decode_options(run, recipe, decode), load_captioner(run).vocabulary, PROGRESS),
        progress=PROGRESS,
        **_terms_of(run, recipe),
    )
    _show_export(exported)


def _decode_options(run: Path, recipe: Train | None, decode: DecodeChoice) -> DecodeOptions:
    """Those of a run of a store, with the length penalty chosen for it, or of the box; else the defaults.

    Bundles avoid repeats, which is better on validation (docs/log.md); what runs write for tables does not.
    """
    from distilcap.runtime.manifest import read_manifest
    from distilcap.stages.label import decode_options

    if recipe is not None:
        store, beam = open_store(run.resolve().parent), decode.beam_of_run
        if beam == 1:  # whoever has the bundle may search it with a beam
            beam = DecodeOptions.beam_size
        options = decode_options(recipe, store, beam, decode.length_penalty, PROGRESS)
        return dataclasses.replace(options, avoid_repeats=True)
    return read_manifest(box_bundle()).decode if _is_box(run) else DecodeOptions(avoid_repeats=True)


def _is_box(run: Path) -> bool:
    with suppress(MissingError):
        return run.resolve() == box_training().resolve()
    return False


def _recipe_of(run: Path) -> Train | None:
    """Of a run of a store, without which its licence is unknown; None of a captioner from elsewhere."""
    from distilcap.stages.folders import run_of
    from distilcap.store.record import RECORD, check_artifact

    if not (run / RECORD).is_file():
        return None
    check_artifact(run)
    return run_of(run, whole=True)


def _terms_of(run: Path, recipe: Train | None) -> dict[str, Any]:
    """Licence and limits of the captioner in the box, which has no recipe; else the recipe's licence."""
    if _is_box(run):
        return {"licence": LICENCE, "limits": box_limits()}
    return {"licence": recipe.licence if recipe else None}


def _show_export(exported: Exported) -> None:
    manifest = exported.manifest
    CONSOLE.print(f"Float32 graphs: {exported.parity}")
    if exported.agreement is not exported.parity:
        CONSOLE.print(f"This bundle, {manifest.precision}: {exported.agreement}")
    if exported.agreement.differing:
        name, ours, theirs = exported.agreement.differing
        CONSOLE.print(f"  first to differ: {name}")
        CONSOLE.print(f"    PyTorch: {ours}")
        CONSOLE.print(f"    bundle:  {theirs}")
    if manifest.scores:
        scores = manifest.scores
        table = Table(
            title=f"Scores x 100 on {scores['images']} images ({scores['split']} of {scores['data']})"
        )
        for column in ("metric", "PyTorch, float32", f"bundle, {manifest.precision}", "change"):
            table.add_column(column, justify="left" if column == "metric" else "right")
        for name, score in manifest.scores["metrics"].items():
            change = score["value"] / score["pytorch"] - 1 if score["pytorch"] else 0.0
            row = (f"{100 * score['pytorch']:.2f}", f"{100 * score['value']:.2f}", f"{change:+.2%}")
            table.add_row(name, *row)
        CONSOLE.print(table)
    if calibration := manifest.calibration:
        CONSOLE.print(
            f"Confidence: fitted on {calibration.images:,} validation images; {calibration.reliability} "
            f"({calibration.measured_on})"
        )
    table = Table(title=str(exported.folder))
    table.add_column("file")
    table.add_column("MB", justify="right")
    for name, file in manifest.files.items():
        table.add_row(name, f"{file['bytes'] / 1e6:.3f}")
    table.add_row("all", f"{manifest.megabytes():.3f}", style="bold")
    CONSOLE.print(table)


@click.command(epilog=WEB)
@click.argument("bundle", type=PATH, required=False)
@click.option("--to", type=PATH, required=True, help="Folder of the page; an older page is replaced.")
@click.option(
    "--runtime", type=PATH, help="Folder `dist` of onnxruntime-web.  [default: fetched by npm once]"
)
def web(bundle: Path | None, to: Path, runtime: Path | None) -> None:
    """Write a static page that captions in the browser; photographs stay on the device.

    Without BUNDLE it has the captioner in the box.
    """
    from distilcap.export.browser.site import write_web
    from distilcap.runtime.hub import find_bundle

    site = write_web(find_bundle(named_bundle(bundle)), to, runtime=runtime)
    size = sum(path.stat().st_size for path in to.rglob("*") if path.is_file()) / 1e6
    CONSOLE.print(f"{site.folder}: {size:.1f} MB; `distilcap serve {site.folder}` shows it.")
    if site.missing:
        CONSOLE.print(site.missing, style="yellow")


@click.command(epilog=PUSH)
@click.argument("bundle", type=PATH)
@click.argument("repo")
@click.option(
    "--private", is_flag=True, help="A new repository is seen by you alone; a public one is refused."
)
def push(bundle: Path, repo: str, private: bool) -> None:
    """Publish BUNDLE on the Hugging Face Hub as REPO (user/name); it is checked first."""
    from distilcap.runtime.hub import find_bundle, push_bundle

    page = push_bundle(find_bundle(named_bundle(bundle)), repo, private)
    CONSOLE.print(f"{page}: `--bundle hf:{repo}` opens it.", soft_wrap=True)


@click.command(epilog=WEB)
@click.argument("site", type=PATH)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, help="Port; 0 takes any free port.")
def serve(site: Path, host: str, port: int) -> None:
    """Serve SITE, as `distilcap web` wrote it, with the headers that threads need; Ctrl-C ends it."""
    from distilcap.export.browser.server import create_server

    with create_server(site, host, port) as server:
        CONSOLE.print(f"http://{host}:{server.server_address[1]}/ (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            CONSOLE.print("Ended.")


@click.command(epilog=BENCH)
@click.argument("bundles", nargs=-1, type=PATH)
@click.option(
    "--photos", type=PATH, help="Folder of photos.  [default: drawn gradients of the encoder's size]"
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 100_000),
    default=50,
    help="Number of images that are timed, one at a time.",
)
@click.option(
    "--threads",
    multiple=True,
    type=THREADS,
    default=(1, 2),
    help="Number of threads of each runtime; may be given more than once.",
)
@click.option("--browser/--no-browser", default=True, help="Whether to measure in Chromium too.")
@click.option(
    "--runtime", type=PATH, help="Folder `dist` of onnxruntime-web.  [default: fetched by npm once]"
)
@click.option("--json", "to", type=PATH, help="Write the figures to this file.")
def bench(
    bundles: tuple[Path, ...],
    photos: Path | None,
    repeats: int,
    threads: tuple[int, ...],
    browser: bool,
    runtime: Path | None,
    to: Path | None,
) -> None:
    """Measure size, milliseconds and memory of BUNDLES, in every runtime that is installed.

    Without BUNDLES it is the captioner in the box that is measured.
    """
    from distilcap.export.bench import bench as measure
    from distilcap.files import write_json
    from distilcap.runtime.formats import find_image_files
    from distilcap.runtime.hub import find_bundle

    if to is not None and to.is_dir():
        raise DataError(f"{to}: a folder has that name; take another for the file of figures.")
    if photos and not photos.is_dir():
        raise DataError(f"{photos}: there is no such folder of photos.")
    files = list(find_image_files(photos)) if photos else []
    if photos and not files:
        raise DataError(f"{photos}: holds no photos.")
    measurements, failed = [], []
    for name in bundles or [named_bundle(None)]:
        try:
            bundle = find_bundle(name)
            PROGRESS.note(f"Measuring {bundle}")
            measured, without = measure(
                bundle,
                photos=files,
                images=repeats,
                threads=threads,
                browser=browser,
                browser_runtime=runtime,
                progress=PROGRESS,
            )
        except BundleError as error:  # none of the other bundles' figures is lost
            failed.append(str(error))
            continue
        measurements += measured
        failed += [f"{bundle} in {what}" for what in without]
    CONSOLE.print(_bench_table(measurements))
    if to is not None:
        write_json(to, [dataclasses.asdict(measurement) for measurement in measurements])
    if failed:
        raise BundleError(f"Not measured: {'; '.join(failed)}")


def _bench_table(measurements: list[Measured]) -> Table:
    table = Table(title="MB, and ms per image one at a time: median (95th percentile)")
    for column in (
        "runtime",
        "precision",
        "threads",
        "MB",
        "pixels",
        "12 MP",
        "encoder",
        "greedy",
        "beam",
        "all",
        "peak MB",
    ):
        table.add_column(column, justify="left" if column in ("runtime", "precision") else "right")
    for measurement in measurements:
        parts = [f"{spread.median:.1f} ({spread.p95:.1f})" for spread in measurement.ms_per_image.values()]
        peak = "" if measurement.peak_megabytes is None else f"{measurement.peak_megabytes:.0f}"
        table.add_row(
            measurement.runtime,
            measurement.precision,
            str(measurement.threads),
            f"{measurement.megabytes['all']:.2f}",
            *parts,
            peak,
        )
    table.caption = (
        "all: encoder and greedy decoding; pixels: decoding and resizing the file; "
        "12 MP: the same of a JPEG of 4000 x 3000"
    )
    return table
