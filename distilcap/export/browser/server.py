"""A web server for the page, with the headers that threads in a browser need."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from distilcap.errors import ConfigError

__all__ = ["create_server", "serving"]


_TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".md": "text/plain; charset=utf-8",
}


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | _TYPES

    def end_headers(self) -> None:
        # Shared memory, and with it threads, is given to pages that are isolated from other sites.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: only the command line prints."""


def create_server(site: Path, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server of the files in `site`, not yet serving; port 0 takes any free one.

    Raises:
        ConfigError: `site` holds no page, or the port is taken.
    """
    if not (site / "index.html").is_file():
        raise ConfigError(f"{site}: holds no page; write one by `distilcap web BUNDLE --to {site}`.")
    try:
        return ThreadingHTTPServer((host, port), functools.partial(_Handler, directory=str(site)))
    except OSError as error:
        raise ConfigError(
            f"`port` {port} on {host} cannot be used ({error.strerror}); choose another."
        ) from None


@contextmanager
def serving(site: Path) -> Iterator[str]:
    """Serve `site` on this machine in a thread; gives its address."""
    with create_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
