"""`distilcap demo`: the whole line on a drawn data set."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilcap.cli.common import CONSOLE, PROGRESS

if TYPE_CHECKING:
    from distilcap.stages.train import Train
    from distilcap.store.stage import Store

__all__ = ["demo"]

BUNDLE_BEAM = 3
"""Of the page; the table's beam is the members'."""

EXAMPLE = """\b
Example:
  distilcap demo --to demo
"""


@click.command(epilog=EXAMPLE)
@click.option("--to", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
def demo(to: Path) -> None:
    """Draw pictures, train a teacher, let it teach a small student, score all, and write the page.

    Takes minutes the first time and seconds after that. Writes results.json, report.html, bundle/ and web/.
    """
    started = time.perf_counter()
    from distilcap.cli.report import run_members
    from distilcap.data.scenes import draw_scenes
    from distilcap.pipeline.demo import IMAGE_SIZE, IMAGES, demo_members
    from distilcap.store.stage import Store

    draw_scenes(to / "scenes", tuple(IMAGES.values()), size=IMAGE_SIZE, progress=PROGRESS)
    members = demo_members(to / "scenes")
    run_members("DistilCap demo: drawn scenes, teacher to student", members, to / "store", to)
    _write_pocket(members[-1].trains[0], Store(to / "store"), to)
    CONSOLE.print(f"{time.perf_counter() - started:.0f} s in all", highlight=False)


def _write_pocket(run: Train, store: Store, to: Path) -> None:
    """Export the distilled student as a bundle, and write the page that captions with it."""
    from distilcap.export.browser.site import write_web
    from distilcap.export.folders import whole_folder
    from distilcap.runtime.manifest import MANIFEST
    from distilcap.stages.export import Export
    from distilcap.stages.label import decoding_of

    stage = Export(run, decoding=decoding_of(run, BUNDLE_BEAM))
    exported, bundle = store.build(stage, PROGRESS) / "bundle", to / "bundle"
    with whole_folder(bundle, MANIFEST) as new:
        shutil.copytree(exported, new, dirs_exist_ok=True)
    site = write_web(bundle, to / "web")
    CONSOLE.print(f"Bundle: {bundle}   Browser page: {to / 'web'}", highlight=False)
    if site.missing:
        CONSOLE.print(site.missing, highlight=False, soft_wrap=True)
