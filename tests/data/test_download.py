"""Downloads from a server on this machine that breaks connections, forgets, and changes its mind."""

import hashlib
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from distilcap.data.sources.download import Remote, _first_byte, _Transfer, download, verify
from distilcap.errors import DataError, MissingError

CONTENT = bytes(range(251)) * 12_000  # 3 MB


@dataclass
class Behaviour:
    """What the server does; `seen` is what was asked of it."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    ranges: bool = True
    length: bool = True
    break_after: int | None = None  # bytes, then the connection is reset
    silent_after: int | None = None  # bytes of the first answer, then nothing until the test is over
    fail_first: list[int] = field(default_factory=list)  # status codes of the first answers
    wrong_part: bool = False
    seen: list[str | None] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        how = self.server.behaviour  # type: ignore[attr-defined]
        asked = self.headers.get("Range")
        how.seen.append(asked)
        if how.fail_first:
            self.send_error(how.fail_first.pop(0))
            return
        start = 0
        if asked and how.ranges and self.headers.get("If-Range", how.etag) == how.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(how.content):
                self.send_error(416)
                return
            self.send_response(206)
            shown = start + 1 if how.wrong_part else start
            self.send_header("Content-Range", f"bytes {shown}-{len(how.content) - 1}/{len(how.content)}")
        else:
            self.send_response(200)
        if how.length:
            self.send_header("Content-Length", str(len(how.content) - start))
        if how.etag:
            self.send_header("ETag", how.etag)
        self.end_headers()
        self._send(how, how.content[start:])

    def _send(self, how: Behaviour, body: bytes) -> None:
        if how.break_after is not None and how.break_after < len(body):
            self.wfile.write(body[: how.break_after])
            self.wfile.flush()
            time.sleep(0.05)  # a reset overtakes what the other side has not read yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif how.silent_after is not None:
            self.wfile.write(body[: how.silent_after])
            self.wfile.flush()
            how.silent_after = None  # the next connection speaks
            how.over.wait()
        else:
            self.wfile.write(body)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@dataclass
class Server:
    url: str
    how: Behaviour

    def remote(self, content: bytes = CONTENT, checksum: bool = True) -> Remote:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}" if checksum else None
        return Remote(f"{self.url}/file.zip", "file.zip", len(content), digest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    http = QuietServer(("127.0.0.1", 0), Handler)
    http.behaviour = Behaviour()  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Server(f"http://127.0.0.1:{http.server_port}", http.behaviour)  # type: ignore[attr-defined]
    http.behaviour.over.set()  # type: ignore[attr-defined]
    http.shutdown()
    http.server_close()
    thread.join()


class Counting:
    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, int | None, int]] = {}
        self.notes: list[str] = []

    def track(self, items: Any, description: str, total: int | None = None, done: int = 0) -> Iterator[Any]:
        count = 0
        for count, item in enumerate(items, 1):  # noqa: B007
            yield item
        self.counts[description] = (count, total, done)

    def note(self, message: str) -> None:
        self.notes.append(message)


def fetch(server: Server, folder: Path, remote: Remote | None = None, **options: Any) -> Path:
    options = {"attempts": 3, "pause_seconds": 0.01, "timeout_seconds": 10.0} | options
    return download(remote or server.remote(), folder, **options)


def test_a_whole_file_in_one_go(server: Server, tmp_path: Path) -> None:
    progress = Counting()
    path = fetch(server, tmp_path / "new" / "folder", progress=progress)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["file.zip"]
    assert progress.counts["Downloading file.zip (MB)"] == (2, 3, 0)
    assert fetch(server, path.parent) == path
    assert server.how.seen == [None]  # the second call asked nothing


def test_many_broken_connections(server: Server, tmp_path: Path) -> None:
    server.how.break_after = 400_000  # less than a megabyte each, and more of them than `attempts`
    assert fetch(server, tmp_path, attempts=7).read_bytes() == CONTENT
    assert len(server.how.seen) >= 8
    starts = [int(asked[6:-1]) for asked in server.how.seen if asked]
    assert starts == sorted(starts)
    assert starts[0] > 0


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.how.ranges = False
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:1_000_000])
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.how.seen == ["bytes=1000000-"]


def test_broken_connections_without_ranges_give_up_and_say_so(server: Server, tmp_path: Path) -> None:
    server.how.ranges, server.how.break_after = False, 400_000
    with pytest.raises(
        MissingError, match=r"file\.zip cannot be fetched: .* \(.* of 3,012,000 bytes are here"
    ):
        fetch(server, tmp_path)
    assert not (tmp_path / "file.zip").exists()
    server.how.break_after = None
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_silent_connection_counts_as_broken(server: Server, tmp_path: Path) -> None:
    server.how.silent_after = 500_000
    assert fetch(server, tmp_path, timeout_seconds=1.0, attempts=20).read_bytes() == CONTENT
    assert len(server.how.seen) >= 2  # on a busy machine more connections count as silent


def test_the_file_changed_meanwhile(server: Server, tmp_path: Path) -> None:
    """The ETag of the part is another: the server sends all of the new file."""
    server.how.etag = '"two"'
    (tmp_path / "file.zip.part").write_bytes(b"old" * 1000)
    (tmp_path / "file.zip.part.etag").write_text('"one"')
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert not (tmp_path / "file.zip.part.etag").exists()


@pytest.mark.parametrize("note", [b"\xff\xfe", b'"one"\r\nX: y', b"\0" * 9, b""])
def test_a_damaged_note_of_the_version_is_passed_over(server: Server, tmp_path: Path, note: bytes) -> None:
    (tmp_path / "file.zip.part").write_bytes(CONTENT[:1000])
    (tmp_path / "file.zip.part.etag").write_bytes(note)
    assert download(server.remote(), tmp_path).read_bytes() == CONTENT


def test_two_versions_in_one_file_are_seen_and_fixed(server: Server, tmp_path: Path) -> None:
    """Without ETags only the checksum tells; then once more from the beginning."""
    server.how.etag = None
    (tmp_path / "file.zip.part").write_bytes(b"x" * 1000)
    progress = Counting()
    assert fetch(server, tmp_path, progress=progress).read_bytes() == CONTENT
    assert server.how.seen == ["bytes=1000-", None]
    assert progress.notes == ["file.zip: what was resumed has another checksum; beginning anew."]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    remote = replace(server.remote(), checksum="md5:" + "0" * 32)
    with pytest.raises(DataError, match=r"has md5 [0-9a-f]{32}, but should have 0{32}\. It was damaged"):
        fetch(server, tmp_path, remote)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file.zip").write_bytes(CONTENT)
    verify(tmp_path / "file.zip", server.remote())
    with pytest.raises(DataError, match=r"file\.zip: has 3,012,000 bytes, but should have 5; fetch it again"):
        verify(tmp_path / "file.zip", replace(server.remote(), size=5))


@pytest.mark.parametrize("length", [True, False])
def test_another_file_at_the_address_stops_at_once(server: Server, tmp_path: Path, length: bool) -> None:
    server.how.content, server.how.length = CONTENT + b"more", length
    with pytest.raises(DataError, match=r"has (3,012,004|more than 3,012,000) bytes.* another file now"):
        fetch(server, tmp_path)
    assert len(server.how.seen) == 1


def test_without_length_or_checksum_the_size_still_counts(server: Server, tmp_path: Path) -> None:
    server.how.length = False
    assert fetch(server, tmp_path, server.remote(checksum=False)).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [500, 503, 429, 408])
def test_passing_errors_are_tried_again(server: Server, tmp_path: Path, code: int) -> None:
    server.how.fail_first = [code, code]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert len(server.how.seen) == 3


@pytest.mark.parametrize("code", [404, 403])
def test_lasting_errors_are_not(server: Server, tmp_path: Path, code: int) -> None:
    server.how.fail_first = [code] * 9
    with pytest.raises(MissingError, match=rf"cannot be fetched: the server says {code} .* \(0 of 3,012,000"):
        fetch(server, tmp_path)
    assert len(server.how.seen) == 1


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        remote = Remote(f"http://127.0.0.1:{free.getsockname()[1]}/x", "x", 10)
        with pytest.raises(
            MissingError, match=r"cannot be fetched: .*[Rr]efused.* \(0 of 10 bytes are here and kept\)"
        ):  # the port stays taken, and nobody listens
            download(remote, tmp_path, attempts=2, pause_seconds=0.01)


def test_parts_that_do_not_fit(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "file.zip.part"
    server.how.wrong_part = True  # the server sends another part than asked for
    part.write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    for content, codes, asked in (
        (CONTENT + b"more", [], [None]),  # longer than the file: of another one
        (CONTENT[:9], [416], ["bytes=9-", None]),  # the server finds it too long
        (CONTENT, [], []),  # killed between the last byte and the check
    ):
        (tmp_path / "file.zip").unlink()
        part.write_bytes(content)
        server.how.wrong_part, server.how.fail_first = False, codes
        server.how.seen.clear()
        assert fetch(server, tmp_path).read_bytes() == CONTENT
        assert server.how.seen == asked


def test_a_killed_process_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.how.silent_after = 1_000_000
    remote = server.remote()
    script = (
        "import sys; from pathlib import Path; from distilcap.data.sources.download import Remote, download\n"
        f"remote = Remote({remote.url!r}, {remote.name!r}, {remote.size}, {remote.checksum!r})\n"
        "download(remote, Path(sys.argv[1]))"
    )
    part = tmp_path / "file.zip.part"
    deadline = time.monotonic() + 600
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        try:
            while not (part.exists() and part.stat().st_size > 500_000):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    assert not (tmp_path / "file.zip").exists()
    size = part.stat().st_size
    assert 0 < size < len(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.how.seen == [None, f"bytes={size}-"]


@pytest.mark.parametrize("length", ["9" * 5_000, "\u00b2", "-1", "1e3", "", "x"])
def test_lengths_and_ranges_that_are_no_numbers_are_passed_over(tmp_path: Path, length: str) -> None:
    transfer = _Transfer(Remote("http://here/file", "file", 7), tmp_path / "file.part", 1, 0, 1)
    headers = Message()
    headers["Content-Length"], headers["Content-Range"] = length, f"bytes {length}-6/7"
    transfer._check_size(headers, 0)
    assert _first_byte(headers) == -1


def test_a_redirect_to_nonsense_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        urlsplit("http://[::1")

    monkeypatch.setattr("urllib.request.urlopen", nowhere)
    with pytest.raises(MissingError, match=r"cannot be fetched: Invalid IPv6 URL"):
        download(Remote("http://here/file", "file", 7), tmp_path, attempts=1)
