"""Downloads that go on where they stopped: after a broken connection, after a kill."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO

from distilcap.errors import DataError, MissingError
from distilcap.progress import SILENT, Progress

__all__ = ["Remote", "download", "verify"]

_CHUNK = 1 << 20  # of progress
_BLOCK = 1 << 16  # read at once
_OTHER = "it is another file now. Fetch it by other means."
# What a connection dies of; URLError and time-outs are OSErrors, and a redirect to nonsense a ValueError.
_LOST = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True)
class Remote:
    """A file on the network.

    Attributes:
        url: http or https.
        name: of the file here.
        size: in bytes.
        checksum: "sha256:…" or "md5:…" in hexadecimal digits; None where nobody published one.
    """

    url: str
    name: str
    size: int
    checksum: str | None = None


def download(
    remote: Remote,
    folder: Path,
    progress: Progress = SILENT,
    attempts: int = 5,
    pause_seconds: float = 2.0,
    timeout_seconds: float = 60.0,
) -> Path:
    """Fetch a file into `folder`; what is there already is not fetched again.

    Bytes are collected in `NAME.part` beside a note of which version of the file they belong to (its ETag),
    so that the next call asks only for the rest. Where the server cannot send a part, the download begins
    anew. `NAME` appears when size and checksum are right.

    Args:
        remote: what to fetch.
        folder: where to.
        progress: reports every megabyte.
        attempts: how many connections in a row may bring nothing before giving up.
        pause_seconds: before the second attempt; doubled for each further attempt.
        timeout_seconds: of silence, after which a connection counts as broken.

    Raises:
        MissingError: the file cannot be had; what has come so far is kept.
        DataError: the server has a file of another size, and what has come so far is kept; or what came has
            another checksum than it should, and is removed.
    """
    final, part = folder / remote.name, folder / f"{remote.name}.part"
    if final.is_file() and final.stat().st_size == remote.size:
        return final
    folder.mkdir(parents=True, exist_ok=True)
    resumed = part.is_file()
    transfer = _Transfer(remote, part, attempts, pause_seconds, timeout_seconds)
    transfer.run(progress)
    try:
        verify(part, remote, progress)
    except DataError:
        part.unlink()
        transfer.tag.unlink(missing_ok=True)
        if not resumed:
            raise
        # Two versions of the file may have met in one: once more, from the beginning.
        progress.note(f"{remote.name}: what was resumed has another checksum; beginning anew.")
        return download(remote, folder, progress, attempts, pause_seconds, timeout_seconds)
    os.replace(part, final)
    transfer.tag.unlink(missing_ok=True)
    return final


def verify(path: Path, remote: Remote, progress: Progress = SILENT) -> None:
    """Compare a file's size and checksum with what they should be.

    Raises:
        DataError: they differ; the message names both.
    """
    size = path.stat().st_size
    if size != remote.size:
        raise DataError(f"{path}: has {size:,} bytes, but should have {remote.size:,}; fetch it again.")
    if remote.checksum is None:
        return
    kind, _, expected = remote.checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(_CHUNK), b"")
        for block in progress.track(blocks, f"Checking {remote.name} (MB)", -(-size // _CHUNK)):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{path}: has {kind} {digest.hexdigest()}, but should have {expected}. "
            f"It was damaged on the way, or {remote.url} holds another file now."
        )


class _Transfer:
    """One file on its way, over as many connections as it takes."""

    def __init__(self, remote: Remote, part: Path, attempts: int, pause: float, timeout: float) -> None:
        self.remote, self.part = remote, part
        self.attempts, self.pause, self.timeout = attempts, pause, timeout
        self.tag = part.with_name(part.name + ".etag")

    @property
    def have(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def run(self, progress: Progress) -> None:
        """Fetch until all bytes are here; see `download` for what is raised."""
        total, done = -(-self.remote.size // _CHUNK), self.have // _CHUNK
        for _ in progress.track(self._megabytes(), f"Downloading {self.remote.name} (MB)", total, done):
            pass

    def _megabytes(self) -> Iterator[None]:
        """Yield after every megabyte, over one connection after the other."""
        fails, best, reason = 0, self.have, ""
        while self.have < self.remote.size:
            try:
                yield from self._connection()
                reason = "the connection broke off"
            except urllib.error.HTTPError as error:
                reason = f"the server says {error.code} {error.reason}"
                error.close()
                if error.code == 416:  # our part is not a part of what is there now
                    self.part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    fails = self.attempts
            except _Broken as error:
                reason = str(error)
            fails, best = (0, self.have) if self.have > best else (fails + 1, best)
            if fails and self.have < self.remote.size:
                if fails >= self.attempts:
                    kept = f"{self.have:,} of {self.remote.size:,} bytes are here and kept"
                    raise MissingError(f"{self.remote.url} cannot be fetched: {reason} ({kept}).")
                time.sleep(self.pause * 2 ** (fails - 1))

    def _connection(self) -> Iterator[None]:
        start = self.have
        headers = {"Accept-Encoding": "identity", "User-Agent": "distilcap"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if tag := self._version():
                headers["If-Range"] = tag
        try:
            request = urllib.request.Request(self.remote.url, headers=headers)
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError:
            raise
        except _LOST as error:
            raise _Broken(_reason(error)) from None
        with response:
            if response.status != 206 or _first_byte(response.headers) != start:
                start = 0  # the whole file is coming, or another part of it than we asked for
                if response.status == 206:
                    self.part.unlink(missing_ok=True)
                    raise _Broken("the server sent another part than asked for")
            self._check_size(response.headers, start)
            etag = response.headers.get("ETag", "")
            # A weak tag does not promise equal bytes; it is sent again, so it must be fit for a header.
            if re.fullmatch(r'"[!-~]{1,500}"', etag):
                self.tag.write_text(etag)
            else:
                self.tag.unlink(missing_ok=True)
            with self.part.open("r+b" if start else "wb") as file:
                file.seek(start)
                yield from self._blocks(response, file)

    def _version(self) -> str:
        """Which version of the file the part belongs to; "" where it is not noted, or the note is damaged."""
        if not self.tag.is_file():
            return ""
        tag = self.tag.read_text(encoding="ascii", errors="replace")
        return tag if tag.isascii() and tag.isprintable() else ""

    def _blocks(self, response: http.client.HTTPResponse, file: IO[bytes]) -> Iterator[None]:
        """Write what comes as it comes: a connection that dies must not take a buffer of bytes with it."""
        while True:
            try:
                block = response.read1(_BLOCK)
            except _LOST as error:
                raise _Broken(_reason(error)) from None
            if not block:
                return
            before = file.tell()
            file.write(block)
            if file.tell() > self.remote.size:
                raise DataError(f"{self.remote.url}: has more than {self.remote.size:,} bytes; {_OTHER}")
            for _ in range(file.tell() // _CHUNK - before // _CHUNK):
                yield

    def _check_size(self, headers: Message, start: int) -> None:
        """Stop before gigabytes of another file come.

        Raises:
            DataError: the file there has another size.
        """
        length = headers.get("Content-Length", "")
        total = start + int(length) if re.fullmatch("[0-9]{1,18}", length) else self.remote.size
        if total != self.remote.size:
            size = f"{self.remote.size:,}"
            raise DataError(f"{self.remote.url}: has {total:,} bytes, but should have {size}; {_OTHER}")


class _Broken(Exception):
    """A connection died; the next may go on."""


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__


def _first_byte(headers: Message) -> int:
    """Where the part begins that the server sends; -1 where it does not say."""
    match = re.match("bytes ([0-9]{1,18})-", headers.get("Content-Range", ""))
    return int(match[1]) if match else -1
