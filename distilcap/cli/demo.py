"""`distilcap demo`: the whole line on a drawn data set."""

from __future__ import annotations

import time
from pathlib import Path

import click

from distilcap.cli.bounds import PATH
from distilcap.cli.common import CONSOLE, PROGRESS

__all__ = ["demo"]

EXAMPLE = """\b
Example:
  distilcap demo --to demo
"""


@click.command(epilog=EXAMPLE)
@click.option("--to", type=PATH, default=Path("demo"), help="Folder to write into.")
def demo(to: Path) -> None:
    """Draw pictures, train a teacher, let it teach a small student, score all, and write the page.

    Takes minutes the first time and seconds after that. Writes results.json, report.html, bundle/, web/ (a
    page with the student, for drawn pictures) and web-photos/ (one with the captioner in the box).
    """
    started = time.perf_counter()
    from distilcap.box import box_bundle
    from distilcap.cli.report import OutputOptions, run_distillation
    from distilcap.data.scenes import draw_scenes
    from distilcap.export.browser.site import write_web
    from distilcap.pipeline.demo import IMAGE_SIZE, IMAGES, demo_plan
    from distilcap.store.engine import EngineOptions

    draw_scenes(to / "scenes", tuple(IMAGES.values()), size=IMAGE_SIZE, progress=PROGRESS)
    title = "DistilCap demo: drawn scenes, teacher to student"
    plan = demo_plan(to / "scenes", to / "store")
    run_distillation(title, plan, to / "store", EngineOptions(), OutputOptions(to))
    site = write_web(to / "bundle", to / "web")
    write_web(box_bundle(), to / "web-photos")
    CONSOLE.print(f"Browser pages: {to / 'web'}; for photographs of your own {to / 'web-photos'}")
    if site.missing:
        CONSOLE.print(site.missing, soft_wrap=True)
    CONSOLE.print(f"{time.perf_counter() - started:.0f} s in all")
