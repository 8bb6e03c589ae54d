"""Bundles by name: `box` (the one in the package), and `hf:user/name` or `hf:user/name@revision` of the
Hugging Face Hub.

What comes from there is a stranger's: only the files that its manifest lists are fetched, each is checked
against its checksum, and nothing gets its final name before. `huggingface_hub` does the talking; where its
server is another ($HF_ENDPOINT), that one is asked.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distilcap.box import NAME, box_bundle
from distilcap.errors import BundleError, ConfigError, DistilCapError, MissingError
from distilcap.files import DISK_FULL, cache_folder, write_text
from distilcap.runtime.limits import MAX_MANIFEST_BYTES
from distilcap.runtime.manifest import CARD, CHECKSUM, MANIFEST, Manifest, manifest_content, read_manifest
from distilcap.shown import first_line, shown

__all__ = ["find_bundle", "push_bundle"]

PREFIX = "hf:"
_NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w.-]+))?")
_COMMIT = re.compile("[0-9a-f]{40}")
_DAY = 86_400  # seconds
_TIMEOUT = 10.0  # seconds that the Hub may be silent; `huggingface_hub` would wait for ever
_FRONT = (
    "---\nlibrary_name: distilcap\npipeline_tag: image-to-text\ntags:\n- image-captioning\n- onnx\n---\n\n"
)
"""What the Hub reads of a card."""

_NO_ANSWER = (OSError, RuntimeError, ValueError)
"""Beside the Hub's own errors: of the network, of its storage (`hf_xet`), of what is no JSON (a portal)."""


def find_bundle(bundle: Path) -> Path:
    """The folder of a bundle: the path itself, the captioner in the box, or where `hf:user/name` is kept.

    Where the Hub cannot be reached, what it gave last is taken.

    Raises:
        ConfigError: the name is not of the form `hf:user/name`, or none that the Hub has.
        OSError: what is fetched cannot be kept.
        MissingError: `huggingface_hub` is not installed, or the package came without the box.
        BundleError: there is no such bundle, it cannot be reached, or it is damaged.
    """
    if str(bundle) == NAME:
        return box_bundle()
    if not str(bundle).startswith(PREFIX):
        return bundle
    hub = _hub()
    repo, revision = _parse(str(bundle).removeprefix(PREFIX))
    kept = cache_folder() / "hub" / repo.replace("/", "--")
    last = kept / f"{revision or 'main'}.txt"
    with _told(hub, f"{PREFIX}{repo}"):
        commit = _commit(hub, repo, revision, last)
        folder = kept / commit
        if not _is_whole(folder):
            _fetch(hub, repo, commit, folder)
        with suppress(OSError):  # the bundle is whole, wherever its name can be written: a read-only cache
            if not last.is_file() or last.read_text("utf-8", "replace") != commit:
                write_text(last, commit)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a fetched bundle is there and undamaged."""
    try:
        read_manifest(folder)
    except BundleError:
        return False
    return True


def _commit(hub: Any, repo: str, revision: str | None, last: Path) -> str:
    """The commit that a revision is; without an answer the `last` that it was."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    try:
        answer = _asked(hub.HfApi(_endpoint()).model_info, repo, revision=revision, timeout=_TIMEOUT)
        if answer.sha is None:
            raise ValueError("JSON without a commit")
        commit = str(answer.sha)
    except (
        hub.errors.RepositoryNotFoundError,
        hub.errors.RevisionNotFoundError,
        hub.errors.HFValidationError,
    ):
        raise
    except (hub.errors.HTTPError, *_NO_ANSWER):
        kept = last.read_text("utf-8", "replace").strip() if last.is_file() else ""
        if _COMMIT.fullmatch(kept) is None:
            raise
        return kept
    if _COMMIT.fullmatch(commit) is None:  # it becomes a folder's name: nothing that leads elsewhere
        raise BundleError(f"{repo}: the Hub's commit must be 40 hexadecimal digits, but is {shown(commit)}.")
    return commit


def _fetch(hub: Any, repo: str, commit: str, folder: Path) -> None:
    """Download a bundle beside its final name, check it, and give it that name; a damaged one there goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(".fetch-*"):
        with suppress(FileNotFoundError):  # another process may be as tidy
            if time.time() - left.stat().st_mtime > _DAY:  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        fetched = Path(scratch) / "bundle"
        fetched.mkdir()

        def download(name: str) -> Path:
            raw = Path(scratch) / "raw"
            path = _asked(
                hub.hf_hub_download, repo, name, revision=commit, local_dir=raw, endpoint=_endpoint()
            )
            return Path(shutil.copy(path, fetched / name))

        for name in _manifest_at(download(MANIFEST), f"{PREFIX}{repo}").files:
            download(name)
        download(CHECKSUM)
        try:
            read_manifest(fetched)
        except BundleError as error:  # named by where it came from: the scratch folder goes
            raise BundleError(str(error).replace(str(fetched), f"{PREFIX}{repo}")) from None
        try:
            fetched.rename(folder)
        except OSError:  # a damaged bundle is there, or that of another process, which was faster
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                fetched.rename(folder)


def _manifest_at(path: Path, repo: str) -> Manifest:
    """A downloaded manifest, named by where it came from."""
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{repo}: its {MANIFEST} is larger than {MAX_MANIFEST_BYTES:,} bytes.")
    where = f"{repo}/{MANIFEST}"
    return Manifest.from_json(manifest_content(path.read_bytes(), where), where)


def push_bundle(folder: Path, repo: str, private: bool = False) -> str:
    """Publish a bundle as `user/name`, for whoever is logged in (`hf auth login`, or $HF_TOKEN).

    Files of an older bundle there are replaced, others stay; its model card becomes the page's text.

    Returns:
        the address of its page.

    Raises:
        ConfigError: `repo` is not of the form `user/name`, or none that the Hub has.
        MissingError: `huggingface_hub` is not installed.
        BundleError: the bundle is damaged, the repository holds something else than a bundle or is public
            where `private` is asked for, or the server refuses it.
    """
    if repo != _parse(repo)[0]:
        raise ConfigError(f"`repo` must be user/name, but is {shown(repo)}.")
    hub = _hub()
    manifest = read_manifest(folder)
    names = [*manifest.files, MANIFEST, CHECKSUM]
    with _told(hub, repo), tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "bundle"
        whole.mkdir()
        for name in names:
            shutil.copy(folder / name, whole / name)
        if (card := whole / CARD).is_file():
            (whole / "README.md").write_text(_FRONT + card.read_text(encoding="utf-8"), encoding="utf-8")
        api = hub.HfApi(_endpoint())
        page = _asked(api.create_repo, repo, private=private, exist_ok=True)
        # Of one that is there, `create_repo` keeps what it is.
        if private and not _asked(api.model_info, repo, timeout=_TIMEOUT).private:
            raise BundleError(
                f"{repo}: is public; make it private in its settings on the Hub, or take another name."
            )
        message = f"Bundle of {manifest.made_by}"
        older = _older_bundle(hub, api, repo, Path(scratch))
        gone = [glob.escape(name) for name in older - {*names, "README.md"}]
        _asked(
            api.upload_folder,
            repo_id=repo,
            folder_path=whole,
            commit_message=message,
            delete_patterns=gone,
        )
    return str(page)


def _older_bundle(hub: Any, api: Any, repo: str, scratch: Path) -> set[str]:
    """The files of the bundle that a repository holds.

    Raises:
        BundleError: it holds other files, and no bundle: somebody's work.
    """
    there = set(map(str, _asked(api.list_repo_files, repo)))
    if MANIFEST not in there:
        if others := sorted(there - {"README.md", ".gitattributes"}):
            raise BundleError(
                f"{repo}: holds {shown(others[0])} and no bundle; publish into a repository of its own."
            )
        return set()
    path = _asked(hub.hf_hub_download, repo, MANIFEST, local_dir=scratch / "older", endpoint=_endpoint())
    return there & _manifest_at(Path(path), repo).files.keys()


def _asked(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call of `huggingface_hub` gives, which takes JSON of any shape for the Hub's own.

    Raises:
        ValueError: the answer had another shape.
    """
    try:
        return call(*arguments, **options)
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"JSON of another shape: {type(error).__name__}: {error}") from None


def _parse(name: str) -> tuple[str, str | None]:
    match = _NAME.fullmatch(name)
    if match is None or ".." in name:
        raise ConfigError(f"{shown(PREFIX + name)}: must be of the form {PREFIX}user/name or with @revision.")
    return match["repo"], match["revision"]


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _hub() -> Any:
    try:
        import huggingface_hub.errors
    except ModuleNotFoundError:
        raise MissingError(
            "The Hub needs the package huggingface_hub: pip install 'distilcap[hub]' brings it."
        ) from None
    return huggingface_hub


@contextmanager
def _told(hub: Any, what: str) -> Iterator[None]:
    """Errors of the Hub as one line."""
    try:
        yield
    except DistilCapError:
        raise
    except hub.errors.RepositoryNotFoundError:
        raise BundleError(f"{what}: the Hub has no such repository, or you may not see it.") from None
    except hub.errors.RevisionNotFoundError:
        raise BundleError(f"{what}: has no such revision.") from None
    except hub.errors.LocalEntryNotFoundError as error:
        raise BundleError(f"{what}: the Hub did not give a file ({shown(first_line(error))}).") from None
    except hub.errors.EntryNotFoundError:
        raise BundleError(f"{what}: holds no whole bundle; only what `distilcap push` wrote opens.") from None
    except hub.errors.HFValidationError as error:
        raise ConfigError(f"{what}: no name that the Hub has ({shown(first_line(error))}).") from None
    except (hub.errors.HTTPError, *_NO_ANSWER) as error:
        # What is wrong here, such as a full disk, is none of the Hub's; the command line tells it.
        if isinstance(error, OSError) and (error.filename or error.errno in DISK_FULL):
            raise
        raise BundleError(
            f"{what}: the Hub did not answer as it should ({shown(first_line(error))}): see whether "
            f"{_endpoint() or 'huggingface.co'} is one, or a proxy answers in its place, and try again."
        ) from None
