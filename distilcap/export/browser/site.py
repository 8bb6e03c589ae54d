"""A static page that captions in the browser from a bundle, offline once it was loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from distilcap.errors import MissingError
from distilcap.export.folders import scratch_folder, whole_folder
from distilcap.files import cache_folder, sha256_of
from distilcap.runtime.manifest import CHECKSUM, MANIFEST, read_manifest

__all__ = ["RUNTIME_FILES", "RUNTIME_VERSION", "Site", "browser_runtime", "write_web"]

RUNTIME_VERSION = "1.30.0"
_INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""ONNX Runtime Web in the package's `dist`, with the SHA-256 of each file."""

_SERVICE_WORKER, _UNWRITTEN = "service-worker.js", '{ version: "unwritten", files: [] }'
_INDEX, _NO_VERSION = "index.html", '<meta name="version" content="unwritten">'
_PAGE = (
    _INDEX,
    "style.css",
    "app.json",
    "page.js",
    "distilcap.js",
    "distilcap.d.ts",
    "package.json",
    "worker.js",
    "captioner.js",
    "pixels.js",
    "search.js",
)
_NOTICE = f"""ONNX Runtime Web {RUNTIME_VERSION}, the files of this folder.
Copyright (c) Microsoft Corporation. MIT licence: https://github.com/microsoft/onnxruntime/blob/main/LICENSE
"""


@dataclass(frozen=True)
class Site:
    """A page that was written.

    Attributes:
        folder: to be served by any web server.
        missing: what it lacks to work, in one line; None where it is complete.
    """

    folder: Path
    missing: str | None


def write_web(bundle: Path, to: Path, *, runtime: Path | None = None) -> Site:
    """Write the page for a bundle.

    ONNX Runtime Web (14.3 MB) comes from `runtime`, or from the cache, or by npm into the cache, or from the
    page that is replaced. Where none can be had, the page is written without it and `Site.missing` says what
    to do.

    Args:
        bundle: as `export_bundle` wrote it.
        to: folder of the page; an older page there is replaced, and what a person put beside its files stays
            (such as `.git` and `CNAME`). Any other folder is refused.
        runtime: a folder that holds `RUNTIME_FILES`.

    Raises:
        BundleError: the bundle is not whole.
        ConfigError: `to` holds something else.
        MissingError: `runtime` lacks a file, or has another version's or a damaged one.
    """
    manifest = read_manifest(bundle)
    missing = None
    try:
        runtime = _complete(runtime) if runtime else browser_runtime()
    except MissingError as error:
        if runtime:
            raise
        if _is_whole(to / "ort"):
            runtime = to / "ort"  # of the page that is replaced
        else:
            missing = str(error)
    page = resources.files("distilcap.export.browser") / "web"
    template = (page / _SERVICE_WORKER).read_text()
    ours = {*_PAGE, _SERVICE_WORKER, "bundle", "ort"} if _is_page(to, template) else set()
    with whole_folder(to, _SERVICE_WORKER, ours) as folder:
        for name in _PAGE:
            (folder / name).write_bytes((page / name).read_bytes())
        (folder / "bundle").mkdir()
        # Of a stranger's bundle, nothing that a browser would show as a page or run as a script.
        listed = (name for name in manifest.files if name.endswith((".onnx", ".bin", ".md")))
        for name in [MANIFEST, CHECKSUM, *listed]:
            shutil.copyfile(bundle / name, folder / "bundle" / name)
        if runtime:
            (folder / "ort").mkdir()
            (folder / "ort" / "NOTICE.txt").write_text(_NOTICE)
            for name in RUNTIME_FILES:
                shutil.copyfile(runtime / name, folder / "ort" / name)
        _write_version(folder, template)
    return Site(to, missing)


def _is_page(folder: Path, template: str) -> bool:
    """Whether a folder holds an older page: a person's own site may have a service worker, too."""
    try:
        worker = (folder / _SERVICE_WORKER).read_text("utf-8", "replace")
    except OSError:
        return False
    return worker.startswith(template.partition("\n")[0])


def _write_version(folder: Path, template: str) -> None:
    """Name the files to keep offline, and a version that changes with any of them.

    The page has the version, too: by its text the service worker knows that another one is served.
    """
    digest = hashlib.sha256(template.encode())
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in files:
        digest.update(f"{name}\n".encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    version = digest.hexdigest()[:16]
    site = {"version": version, "files": files}
    page = (folder / _INDEX).read_text("utf-8")
    assert _UNWRITTEN in template
    assert _NO_VERSION in page
    (folder / _SERVICE_WORKER).write_text(template.replace(_UNWRITTEN, json.dumps(site)))
    (folder / _INDEX).write_text(
        page.replace(_NO_VERSION, _NO_VERSION.replace("unwritten", version)), "utf-8"
    )


def browser_runtime() -> Path:
    """The folder of ONNX Runtime Web in `files.cache_folder`, filled by npm where it is not whole.

    Raises:
        MissingError: it is not cached and npm cannot bring it.
    """
    folder = cache_folder() / f"onnxruntime-web-{RUNTIME_VERSION}"
    if _is_whole(folder):
        return folder
    package = f"onnxruntime-web@{RUNTIME_VERSION}"
    fix = f"Run `npm pack {package}` where there is a network, unpack it, and pass its `dist` by `--runtime`."
    npm = shutil.which("npm")
    if npm is None:
        raise MissingError(f"The page lacks {package}, and there is no npm to bring it. {fix}")
    with scratch_folder() as scratch:
        command = [npm, "pack", package, "--silent", "--fetch-retries=0", f"--pack-destination={scratch}"]
        try:
            done = subprocess.run(command, cwd=scratch, capture_output=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            raise MissingError(f"The page lacks {package}: npm took over five minutes. {fix}") from None
        archives = list(scratch.glob("*.tgz"))
        if done.returncode or not archives:
            raise MissingError(f"The page lacks {package}: npm could not fetch it. {fix}")
        if base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode() != _INTEGRITY:
            raise MissingError(f"The page lacks {package}: what npm brought has another checksum. {fix}")
        with (
            whole_folder(folder, next(iter(RUNTIME_FILES)), {*RUNTIME_FILES}) as new,
            tarfile.open(archives[0]) as archive,
        ):
            for name in RUNTIME_FILES:
                content = archive.extractfile(f"package/dist/{name}")
                assert content is not None, name
                (new / name).write_bytes(content.read())
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        return all(sha256_of(folder / name) == digest for name, digest in RUNTIME_FILES.items())
    except OSError:
        return False


def _complete(folder: Path) -> Path:
    for name, digest in RUNTIME_FILES.items():
        path = folder / name
        if not path.is_file():
            raise MissingError(f"{path}: missing; `--runtime` must be onnxruntime-web's `dist` folder.")
        if sha256_of(path) != digest:
            raise MissingError(
                f"{path}: damaged, or not of version {RUNTIME_VERSION}, which alone was held against Python; "
                f"`npm pack onnxruntime-web@{RUNTIME_VERSION}` brings that."
            )
    return folder
