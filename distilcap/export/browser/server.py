"""A web server for the page, with the headers that threads in a browser need."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from distilcap.errors import ConfigError

__all__ = ["create_server", "serving"]


_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".md": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; style-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    # Shared memory, and with it threads, is given to pages that are isolated from other sites.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET and HEAD with the files of one folder; everything else is not found."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "distilcap", ""
    timeout = 30  # seconds, of silence

    def send_head(self) -> Any:
        """Send a file's headers; gives the file."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body, which nobody reads, must not pass for the next request
        if file_in(Path(self.directory), self.path) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        # Of another site that was served here, a newer file would be "not modified" by the older one of this.
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """The file that an address names."""
        return str(file_in(Path(self.directory), path))

    def guess_type(self, path: Any) -> str:
        """Its type, by its ending alone; the machine's own table of types is not asked."""
        return _TYPES.get(Path(path).suffix.lower(), "application/octet-stream")

    def end_headers(self) -> None:
        """Add the headers that every answer has."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: only the command line prints."""


def file_in(folder: Path, address: str) -> Path | None:
    """The file of `folder` that the path of an address names; of a folder's, which ends in "/", its page.

    None for what is no regular file, hidden, or outside of the folder, through links too.
    """
    name = unquote(address.partition("?")[0].partition("#")[0])
    parts = (name + "index.html" if name.endswith("/") or not name else name).removeprefix("/").split("/")
    if any(part == "" or part.startswith(".") or not part.isprintable() or "\\" in part for part in parts):
        return None
    try:
        root = folder.resolve(strict=True)
        path = root.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError):  # a loop of links
        return None
    return path if path.is_relative_to(root) and path.is_file() else None


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle is no error of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def create_server(site: Path, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server of the files in `site`, not yet serving; port 0 takes any free port.

    Raises:
        ConfigError: `site` holds no page, or the port is taken or none.
    """
    if not (site / "index.html").is_file():
        raise ConfigError(f"{site}: holds no page; write it by `distilcap web BUNDLE --to {site}`.")
    if not 0 <= port <= 65_535:
        raise ConfigError(f"`port` must be from 0 to 65,535, but is {port}.")
    try:
        return _Server((host, port), functools.partial(_Handler, directory=str(site)))
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a machine
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        raise ConfigError(f"`port` {port} on {host} cannot be used ({reason}); choose another.") from None


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
