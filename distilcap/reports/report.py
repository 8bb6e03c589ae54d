"""Reports of results: a page for people, and of tables also Markdown, LaTeX, CSV and plots.

Everything shown is read from the results; nothing is typed here.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilcap.errors import ConfigError, DataError
from distilcap.files import write_bytes, write_json, write_text
from distilcap.progress import Progress
from distilcap.reports.formats import latex, latex_table, markdown, markdown_code
from distilcap.reports.grids import Grid, grids_of, legend, results_csv, signatures
from distilcap.reports.pictures import lies_below, picture_jpeg
from distilcap.reports.plots import TABLE_PLOTS, Plot, draw_plots
from distilcap.reports.records import RESULTS, Results, Sample, read_results

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["check_report_folder", "report_texts", "write_page", "write_report"]

PICTURES = "images"
RULES = (
    "A conclusion is confirmed if all its claims hold, not confirmed if one is refuted, else not decided. "
    "Claims are judged by 95 % intervals over test images and seeds, widened for the number of estimates "
    "that the conclusion looks at (Bonferroni); within one point of CIDEr counts as equal. Numbers beside a "
    "claim: points of CIDEr and their interval."
)


def write_report(results: Results, folder: Path, progress: Progress, photos: bool = True) -> None:
    """Write `results.json`, its pictures and `report.html`; of tables also the other forms, and plots.

    What an earlier report has in the folder goes, since it would be passed on with this one.

    Args:
        photos: without them samples are captions alone: for pictures that may not be passed on.
    """
    samples = tuple(_keep(sample, n, folder, progress, photos) for n, sample in enumerate(results.samples, 1))
    results = dataclasses.replace(results, samples=samples)
    _delete_earlier(folder, {sample.path for sample in samples})
    write_json(folder / RESULTS, results.to_json())
    plots = draw_plots(results)
    pictures = [_picture(sample, folder, progress) for sample in results.samples]
    if results.tables:
        for plot in plots:
            write_bytes(folder / f"{plot.name}.png", plot.png)
    for name, text in _texts(results, plots, pictures).items():
        write_text(folder / name, text)


def check_report_folder(to: Path, images: Iterable[Path] = ()) -> None:
    """Make sure that a report can be written into `to`; for before what takes hours.

    Args:
        images: folders of people's images and captions. They are read again next time, and a report has
            pictures and a JSON file.

    Raises:
        ConfigError: `to` is one of them, or no folder, or has another's `results.json`.
    """
    if to.exists() and not to.is_dir():
        raise ConfigError(f"{to} is a file; name a folder for the results (`--to`).")
    if any(os.path.realpath(folder) == os.path.realpath(to) for folder in images):
        raise ConfigError(f"{to} is the folder of your images; name another for the results (`--to`).")
    if (to / RESULTS).exists():
        try:
            read_results(to / RESULTS)
        except DataError as error:
            raise ConfigError(
                f"{to / RESULTS} would be replaced, but is no report's ({error}); move it, or name another "
                "folder (`--to`)."
            ) from None


def _delete_earlier(folder: Path, kept: set[str]) -> None:
    """Delete the files of an earlier report, but for pictures that are written already.

    Only pictures that its `results.json` names, and other forms only of tables: the rest is a person's own.
    """
    if not (folder / RESULTS).is_file():
        return
    earlier = (folder / RESULTS).read_bytes()
    for picture in folder.glob(f"{PICTURES}/sample-*.jpg"):
        name = f"{PICTURES}/{picture.name}"
        if name not in kept and f'"{name}"'.encode() in earlier:
            picture.unlink()
    if b'"tables":' in earlier:
        for name in ("report.md", "report.tex", "report.csv", *(f"{plot}.png" for plot in TABLE_PLOTS)):
            (folder / name).unlink(missing_ok=True)


def report_texts(results: Results) -> dict[str, str]:
    """What `write_report` writes beside `results.json`, by file name, with dots in place of photographs."""
    pictures = [b"." if sample.path else b"" for sample in results.samples]
    return _texts(results, draw_plots(results), pictures)


def _texts(results: Results, plots: list[Plot], pictures: list[bytes]) -> dict[str, str]:
    texts = {"report.html": _render("report.html", results, plots=plots, pictures=pictures)}
    if results.tables:
        texts["report.md"] = _render("report.md", results, plots=plots)
        texts["report.tex"] = _render("report.tex", results)
        texts["report.csv"] = results_csv(results)
    return texts


def _keep(sample: Sample, number: int, folder: Path, progress: Progress, photos: bool) -> Sample:
    """The sample with its picture below `folder`, or without a picture."""
    path = ""
    if photos and sample.path:
        try:
            picture = picture_jpeg(Path(sample.path))
        except DataError as error:
            progress.note(f"The report leaves a picture out: {error}")
        else:
            path = f"{PICTURES}/sample-{number:02}.jpg"
            write_bytes(folder / path, picture)
    return dataclasses.replace(sample, path=path)


def write_page(results: Results, folder: Path, to: Path, progress: Progress) -> None:
    """Write the page, whole in one file: pictures and plots are embedded.

    Args:
        folder: of `results.json`. The results may be anybody's: only pictures below it are shown.
    """
    pictures = [_picture(sample, folder, progress) for sample in results.samples]
    write_text(to, _render("report.html", results, plots=draw_plots(results), pictures=pictures))


def _picture(sample: Sample, folder: Path, progress: Progress) -> bytes:
    """A sample's picture as JPEG; b"" where there is none, or none that may be shown."""
    if not sample.path:
        return b""
    path = folder / sample.path
    if not lies_below(path, folder):
        progress.note(f"The page leaves a picture out: {sample.path} is not below {folder}.")
        return b""
    try:
        return picture_jpeg(path)
    except DataError as error:
        progress.note(f"The page leaves a picture out: {error}")
        return b""


def _render(template: str, results: Results, **more: Any) -> str:
    """Fill in a template; every value is escaped for the template's format."""
    return (
        _environment(Path(template).suffix)
        .get_template(template)
        .render(
            results=results,
            grids=grids_of(results),
            legend=legend(results),
            rules=RULES,
            signatures=signatures(results),
            **more,
        )
    )


@functools.cache
def _environment(ending: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    options: dict[str, Any] = {"autoescape": True}
    if ending == ".md":
        options = {"finalize": markdown}
    elif ending == ".tex":
        blocks = {"block_start_string": "<%", "block_end_string": "%>"}
        variables = {"variable_start_string": "<<", "variable_end_string": ">>"}
        options = {"finalize": latex, **blocks, **variables}
    environment = Environment(
        loader=PackageLoader("distilcap.reports"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters["base64"] = _base64
    environment.filters["code"] = markdown_code
    environment.filters["tabular"] = _tabular
    return environment


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _tabular(grid: Grid) -> str:
    return latex_table(grid.headings, grid.rows)
