"""Chromium without a window, driven by Playwright."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distilcap.errors import DistilCapError, MissingError
from distilcap.shown import first_line

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["chromium_program", "open_page"]

# Beside Playwright's own, such as --headless, --no-sandbox and --disable-background-networking.
_FLAGS = ("--disable-gpu", "--disable-sync")


def chromium_program() -> str:
    """Where Chromium or Chrome is.

    Raises:
        MissingError: it is not on the path, or Playwright is not installed.
    """
    if importlib.util.find_spec("playwright") is None:
        raise MissingError("Playwright drives Chromium and is missing: `pip install 'distilcap[browser]'`.")
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if program := shutil.which(name):
            return program
    raise MissingError("Chromium is needed for this (on Debian: `apt-get install chromium`).")


@contextmanager
def open_page(*, width: int = 1280, height: int = 900, seconds: float = 120.0) -> Iterator[Page]:
    """Start a browser with an empty profile, and end it afterwards.

    Args:
        width: of the page in pixels. height: likewise.
        seconds: the longest wait for the page, except in `evaluate`.

    Raises:
        MissingError: Chromium or Playwright is not there.
        DistilCapError: Chromium does not start, or the page fails.
    """
    program = chromium_program()
    from playwright.sync_api import Error, sync_playwright

    try:
        with (
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=program, args=_FLAGS) as browser,
        ):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(1000 * seconds)
            yield page
    except Error as error:
        raise DistilCapError(f"The page in Chromium failed: {first_line(error)}") from error
