"""Chromium without a window, driven through its own protocol over a pipe: no driver to install.

https://chromedevtools.github.io/devtools-protocol; messages are JSON, ended by a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distilcap.errors import DistilCapError, MissingError
from distilcap.export.folders import scratch_folder

__all__ = ["Page", "chromium_program", "open_page"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
# The protocol's pipes are the file descriptors 3 and 4 of the browser.
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_LOADED = """new Promise((go) => {
  if (document.readyState === "complete") go();
  else addEventListener("load", () => go());
})"""


def chromium_program() -> str:
    """Where Chromium or Chrome is.

    Raises:
        MissingError: nowhere on the path.
    """
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if path := shutil.which(name):
            return path
    raise MissingError("Chromium is needed for this (on Debian: `apt-get install chromium`).")


class Page:
    """A tab."""

    def __init__(self, commands: int, events: int, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._commands, self._events, self.process, self.seconds = commands, events, process, seconds
        self._calls, self._buffer = 0, b""
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and wait for its result."""
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters}
        if self._session is not None and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self.seconds
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise DistilCapError(f"Chromium: {method}: {answer['error']['message']}.")
                return answer["result"]

    def _read(self, deadline: float) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._events], [], [], max(0.0, deadline - time.monotonic()))
            content = os.read(self._events, 1 << 20) if ready else b""
            if not content:
                raise DistilCapError(f"Chromium gave no answer within {self.seconds:.0f} seconds, or ended.")
            self._buffer += content
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> None:
        """Go to an address and wait until the page is loaded."""
        self.call("Page.navigate", url=address)
        self.evaluate(_LOADED)

    def evaluate(self, script: str) -> Any:
        """The value of a script's last expression, awaited where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            reason = details.get("exception", {}).get("description", details["text"])
            raise DistilCapError(f"The page failed: {str(reason).splitlines()[0]}")
        return answer["result"].get("value")

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        """Give files to an `<input type=file>`, as a person would choose them."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file.resolve()) for file in files])

    def screenshot(self) -> bytes:
        """What is to be seen, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def open_page(*, width: int = 1280, height: int = 900, seconds: float = 120.0) -> Iterator[Page]:
    """Start a browser of its own with an empty profile, and end it afterwards.

    Args:
        width: of the window in pixels. height: likewise.
        seconds: the longest wait for any answer.

    Raises:
        MissingError: there is no Chromium.
    """
    program = chromium_program()
    their_commands, commands = os.pipe()
    events, their_events = os.pipe()
    with scratch_folder() as profile:
        arguments = [program, *_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"]
        start = [sys.executable, "-c", _START, str(their_commands), str(their_events), *arguments]
        process = subprocess.Popen(
            start,
            pass_fds=(their_commands, their_events),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_commands)
        os.close(their_events)
        try:
            yield Page(commands, events, process, seconds)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(commands)
            os.close(events)
