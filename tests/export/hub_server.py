"""A Hub in memory: as much of the Hugging Face Hub's protocol as uploads and downloads of bundles need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    files: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False

    @property
    def sha(self) -> str:
        return list(self.commits)[-1] if self.commits else "0" * 40

    def commit(self) -> None:
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in self.files.items()})
        self.commits[hashlib.sha1(content.encode()).hexdigest()] = dict(self.files)


@dataclass
class Hub:
    """What the server holds, and the paths that it was asked for."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    instead: tuple[str, object] | None = None  # of paths with that in them, and the JSON that answers them


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, content: bytes | dict | list, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self._send(404, {"error": code}, X_Error_Code=code)

    def _stood_in(self) -> bool:
        if self.hub.instead is None or self.hub.instead[0] not in self.path:
            return False
        self._send(200, json.dumps(self.hub.instead[1]).encode())
        return True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(path)
        if self._stood_in():
            return
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(/revision/[^/]+)?", path):
            repository = self.hub.repositories.get(match[1])
            if repository is None:
                self._missing("RepoNotFound")
                return
            siblings = [{"rfilename": name} for name in repository.files]
            facts = {"id": match[1], "sha": repository.sha, "siblings": siblings, "tags": []}
            self._send(200, facts | {"private": repository.private})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            files = self.hub.repositories[match[1]].files
            self._send(
                200,
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ],
            )
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self.hub.repositories.get(match[1])
            if repository is None:
                self._missing("RepoNotFound")
            elif match[3] not in repository.files:
                self._missing("EntryNotFound")
            else:
                data = repository.files[match[3]]
                self._send(
                    200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=repository.sha
                )
        else:
            self._missing("EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.hub.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._stood_in():
            return
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            new = Repository(private=asked.get("visibility") == "private" or bool(asked.get("private")))
            self.hub.repositories.setdefault(name, new).commit()
            self._send(200, {"url": f"{self.hub.address}/{name}"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            self._send(200, {"files": modes})
        elif match := re.match(r"/api/models/([^/]+/[^/]+)/commit/", self.path):
            repository = self.hub.repositories[match[1]]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del repository.files[line["value"]["path"]]
            repository.commit()
            self._send(
                200, {"commitUrl": f"{self.hub.address}/{match[1]}/commit/x", "commitOid": repository.sha}
            )
        else:
            self._send(200, {})


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serve an empty Hub on localhost."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
