"""The server of the page, by raw sockets: what a browser would never send."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.errors import ConfigError
from distilcap.export.browser import server as server_module
from distilcap.export.browser.server import create_server, file_in

SECRET = b"a secret"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site beside a secret, with links that lead out of it, and things that are no page's."""
    parent = tmp_path_factory.mktemp("parent")
    site = parent / "site"
    (site / "bundle").mkdir(parents=True)
    (site / "page").mkdir()
    (site / "page" / "index.html").write_text("<!doctype html>")
    (parent / "index.html").write_bytes(SECRET)
    (site / "index.html").write_text("<!doctype html>")
    (site / "page.js").write_text("let x;")
    (site / "bundle" / "a b.bin").write_bytes(b"weights")
    for kind in ("page.svg", "evil.xhtml", "no-ending"):
        (site / "bundle" / kind).write_text("<script>")
    (parent / "secret.txt").write_bytes(SECRET)
    (parent / "site-beside").mkdir()
    (parent / "site-beside" / "secret.txt").write_bytes(SECRET)
    (site / "link.txt").symlink_to(parent / "secret.txt")
    (site / "folder").symlink_to(parent)
    (site / "loop").symlink_to("loop")
    (site / "inner.js").symlink_to("page.js")
    (site / ".hidden").write_bytes(SECRET)
    (site / ".git").mkdir()
    (site / ".git" / "config").write_bytes(SECRET)
    os.mkfifo(site / "pipe")
    return site


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[tuple[str, int]]:
    with create_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """All that the server answers to bytes, until it closes the connection."""
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def ask(address: tuple[str, int], path: str, method: str = "GET") -> tuple[int, Message, bytes]:
    request = f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    head, _, body = exchange(address, request.encode()).partition(b"\r\n\r\n")
    status, _, headers = head.decode().partition("\r\n")
    return int(status.split()[1]), message_from_string(headers), body


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.html?threads=2", "text/html; charset=utf-8"),
        ("/page/?threads=2", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript"),
        ("/inner.js", "text/javascript"),  # a link that stays inside
        ("/bundle/a%20b.bin", "application/octet-stream"),
        ("/bundle/page.svg", "application/octet-stream"),
        ("/bundle/evil.xhtml", "application/octet-stream"),
        ("/bundle/no-ending", "application/octet-stream"),
    ],
)
def test_files_of_the_site_are_served_with_strict_headers(
    address: tuple[str, int], path: str, kind: str
) -> None:
    status, headers, body = ask(address, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert len(body) == int(headers["Content-Length"]) > 0
    check_headers(headers)
    status, headers, body = ask(address, path, "HEAD")
    assert (status, body) == (200, b"")


def test_an_older_site_hides_behind_no_newer_one(address: tuple[str, int]) -> None:
    request = (
        b"GET / HTTP/1.1\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\nConnection: close\r\n\r\n"
    )
    assert exchange(address, request).startswith(b"HTTP/1.1 200 ")


def check_headers(headers: Message) -> None:
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


OUTSIDE = [
    *("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt"),
    *("//secret.txt", "/..\\secret.txt", "/..%5csecret.txt", "/./page.js", "/bundle/./../page.js"),
    *("/bundle//a%20b.bin", "/bundle/../../secret.txt", "/bundle/"),
    *("/../site-beside/secret.txt", "/link.txt", "/folder/secret.txt", "/loop"),
    *("/.hidden", "/.git/config", "/.git", "/%2ehidden", "/bundle/.", "/pipe", "/bundle", "/folder/"),
    *("/page.js/", "/page.js%00", "/page.js%00.html", "/%0d%0aX:%20y", "/" + "a" * 5_000, "/" + "a/" * 5_000),
    *("/%ff%fe", "/%", "/%zz", "http://here/../secret.txt", "*", "secret.txt/../../secret.txt", "/gone.js"),
    *("/index.html/../../secret.txt", "/~root", "/C:/x", "/etc/passwd", "//etc/passwd", "/%2fetc/passwd"),
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: ascii(path[:30]))
def test_everything_else_is_not_found(address: tuple[str, int], path: str) -> None:
    for method in ("GET", "HEAD"):
        status, headers, body = ask(address, path, method)
        assert status == 404, body
        assert SECRET not in body
        check_headers(headers)


PARTS = ["..", ".", "", "%2e", "site", "folder", "bundle", "secret.txt", "link.txt", "\\", "page.js"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PARTS), max_size=6))
def test_no_path_leads_out(site: Path, parts: list[str]) -> None:
    path = file_in(site, "/" + "/".join(parts))
    assert path is None or (path.is_relative_to(site) and path.read_bytes() != SECRET)


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "X" * 50]
)
def test_only_get_and_head(address: tuple[str, int], method: str) -> None:
    status, headers, _ = ask(address, "/page.js", method)
    assert status == 501
    assert headers["Connection"] == "close"


@pytest.mark.parametrize(
    "request_bytes, status",
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", None),  # TLS
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET / HTTP/x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1 more\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nIf-Modified-Since: nonsense\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nRange: bytes=9-1\r\nConnection: close\r\n\r\n", b"200"),
        (b"\xff\xfe\xfd\r\n\r\n", None),
    ],
)
def test_nonsense_is_answered_or_dropped(
    address: tuple[str, int], capfd: pytest.CaptureFixture[str], request_bytes: bytes, status: bytes | None
) -> None:
    answer = exchange(address, request_bytes)
    if status:
        assert status in answer
    assert ask(address, "/page.js")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_body_is_no_second_request(address: tuple[str, int]) -> None:
    hidden = b"GET /page.js HTTP/1.1\r\n\r\n"
    length = str(len(hidden)).encode()
    for header in (b"Content-Length: " + length, b"Transfer-Encoding: chunked", b"Content-Length: x"):
        answer = exchange(address, b"GET / HTTP/1.1\r\n" + header + b"\r\n\r\n" + hidden)
        assert answer.count(b"HTTP/1.1 ") == 1
    # Without a body, one connection serves request after request.
    assert exchange(address, hidden * 3).count(b"HTTP/1.1 200") == 3


def test_a_client_that_leaves_is_no_error(
    site: Path, address: tuple[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    large = site / "large.bin"
    large.write_bytes(bytes(20_000_000))
    for _ in range(5):
        client = socket.create_connection(address, timeout=10)
        client.sendall(b"GET /large.bin HTTP/1.1\r\n\r\n")
        client.recv(10)
        # Unread data: the connection is reset, not closed.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.close()
    assert ask(address, "/page.js")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_silent_client_is_let_go(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_module._Handler.timeout
    monkeypatch.setattr(server_module._Handler, "timeout", 0.05)
    with create_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with socket.create_connection(server.server_address[:2], timeout=30) as client:
            client.sendall(b"GET / HT")
            assert client.recv(100) == b""
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
def test_ports_that_are_none(site: Path, port: int) -> None:
    with pytest.raises(ConfigError, match=rf"`port` must be from 0 to 65,535, but is {port}"):
        create_server(site, port=port)


@pytest.mark.parametrize("host", ["a..b", "x" * 100, "999.1.1.1", "nowhere.invalid"])
def test_hosts_that_are_none(site: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"`port` 0 on .* cannot be used \(.+\); choose another"):
        create_server(site, host, 0)
