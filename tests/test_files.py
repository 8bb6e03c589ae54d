"""Files are whole or not there; JSON errors name file and line; every module says what it offers."""

from __future__ import annotations

import ast
import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

import distilcap
from distilcap.errors import ConfigError, DataError
from distilcap.files import (
    atomic_path,
    cache_folder,
    copy_all,
    failures_named,
    parse_json,
    read_json,
    sha256_of,
    verify_checksum,
    write_bytes,
    write_checksum,
    write_json,
    write_text,
)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": [1, "ü"]})
    assert read_json(path) == {"a": [1, "ü"]}
    write_text(path, "second")
    assert path.read_text() == "second"
    assert sha256_of(path) == hashlib.sha256(b"second").hexdigest()
    path.chmod(0o400)
    with atomic_path(path) as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o600
        scratch.write_text("mine alone")
    assert path.stat().st_mode & 0o777 == 0o400


def test_a_failed_write_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def half_written() -> None:
        with atomic_path(path) as scratch:
            scratch.write_bytes(b"ne")
            assert path.read_bytes() == b"old"
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        half_written()
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("error", [0, errno.EPERM, errno.EOPNOTSUPP])
def test_a_new_file_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Also on a camera's card, or a share, that has no hard links."""

    def no_links(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    if error:
        monkeypatch.setattr(os, "link", no_links)
    path, link = tmp_path / "file", tmp_path / "link"
    write_text(path, "first", new=True)
    link.symlink_to("nowhere")
    for there in (path, link):
        with pytest.raises(FileExistsError) as caught:
            write_text(there, "second", new=True)
        assert caught.value.filename == str(there)
    assert path.read_text() == "first"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "link"]


def test_a_failed_write_says_of_which_file() -> None:
    path = Path("somewhere/weights.safetensors")
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ):
        with pytest.raises(OSError, match="No space left") as caught, failures_named(path):
            raise error
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    with pytest.raises(OSError, match="other") as caught, failures_named(path):
        raise OSError(errno.ENOENT, "No such file", "other")
    with pytest.raises(SafetensorError), failures_named(path):
        raise SafetensorError("Error while deserializing header")


def test_checksum_files_are_those_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "a b.jsonl"
    path.write_text("content\n")
    verify_checksum(path)  # none, so nothing to check
    write_checksum(path)
    assert (tmp_path / "a b.jsonl.sha256").read_text() == f"{sha256_of(path)}  a b.jsonl\n"
    verify_checksum(path)
    verify_checksum(tmp_path)
    path.write_text("contend\n")
    with pytest.raises(DataError, match=r"a b\.jsonl: differs from its checksum file a b\.jsonl\.sha256"):
        verify_checksum(path)


def test_not_a_number_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"score": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_bad_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(DataError, match=r"x.json: there is no such file"):
        read_json(path)
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(DataError, match=r"x.json:2: not valid JSON: Expecting value"):
        read_json(path)
    path.write_bytes(b'"\xff"')
    with pytest.raises(DataError, match=r"x.json: not UTF-8 text \(byte 1\)"):
        read_json(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits"),
        ("[NaN]", "NaN is not a number"),
        ("-Infinity", "-Infinity is not a number"),
        ("[1e999]", "1e999 is too large a number"),
        (r'{"id": "a\\\ud800"}', r"""'\ud800' behind '{"id": "a\\\\' is half a character"""),
        (r'["\ude00\ud83d"]', r"""'\ude00' behind '["' is half a character"""),
    ],
)
def test_json_that_cannot_be_used_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_json(text, "labels.jsonl:3")
    assert str(caught.value) == f"labels.jsonl:3: not usable JSON: {message}."


def test_whole_characters_are_not_halves() -> None:
    assert parse_json(r'["\ud83d\ude00", "\\ud800", "1e308", 1e308, -0.0]', "x") == [
        "😀",
        r"\ud800",
        "1e308",
        1e308,
        0,
    ]


def test_what_a_link_leads_to_is_written_and_a_pipe_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_json(tmp_path / "link.json", 1)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "1\n"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "pipe", 2)
    assert os.read(reader, 10) == b"2\n"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 3


def test_what_cannot_be_written_is_named_and_not_the_scratch_file(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_json(tmp_path / "folder.json", 1)
    assert caught.value.filename == str(tmp_path / "folder.json")
    with pytest.raises(OSError, match=r"'/proc/no\.json'$") as failed:
        write_json(Path("/proc/no.json"), 1)
    assert failed.value.filename == "/proc/no.json"


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_is_what_shutil_copies(links: bool, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below" / "deeper").mkdir(parents=True)
    (source / "below" / "deeper" / "file").write_text("content")
    (source / "link").symlink_to("below/deeper/file")
    (source / "folder").symlink_to("below")
    for name in (".hidden", "below/left", "script"):
        (source / name).write_text(name)
    (source / "script").chmod(0o750)
    os.utime(source / "script", (1e9, 1e9))
    shutil.copytree(source, tmp_path / "theirs", symlinks=links, ignore=shutil.ignore_patterns("l*t", ".*"))
    copy_all(source, tmp_path / "ours", links, ("l*t", ".*"))

    def content(folder: Path) -> dict[str, tuple[object, ...]]:
        return {
            path.relative_to(folder).as_posix(): (
                path.lstat().st_mode,
                path.lstat().st_mtime_ns if not path.is_symlink() else os.readlink(path),
                path.read_bytes() if path.is_file() else b"",
            )
            for path in (folder, *folder.rglob("*"))
        }

    assert content(tmp_path / "ours") == content(tmp_path / "theirs")
    (tmp_path / "ours" / "more").write_text("of a person")
    copy_all(source, tmp_path / "ours")
    assert (tmp_path / "ours" / "more").read_text() == "of a person"


def test_a_disk_that_becomes_full_ends_a_copy_with_its_first_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "source" / name).mkdir(parents=True)
        (tmp_path / "source" / name / "file").write_text("content")
        (tmp_path / "to" / name).mkdir(parents=True)
        (tmp_path / "to" / name / "file").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        copy_all(tmp_path / "source", tmp_path / "to")
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename in [str(tmp_path / "to" / name / "file") for name in ("a", "b")]


def test_names_may_be_as_long_as_the_file_system_has_them(tmp_path: Path) -> None:
    path = tmp_path / f"{'狗' * 83}.json"  # 254 bytes
    write_json(path, 1)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_cache_without_a_home_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("DISTILCAP_CACHE", raising=False)
    with pytest.raises(ConfigError, match="DISTILCAP_CACHE"):
        cache_folder()


def test_names_that_are_not_utf_8_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.json: cannot hold a name that is not UTF-8, .*udcff"):
        write_json(tmp_path / "x.json", {"path": "photos/\udcff.jpg"})
    assert not list(tmp_path.iterdir())


def modules() -> list[Path]:
    root = Path(distilcap.__file__).parent
    return [path for path in root.rglob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_every_module_lists_what_it_offers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module begins with what it is for"
    offered = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if getattr(target, "id", "") == "__all__"
        ),
        None,
    )
    assert offered is not None, "a module has __all__"
    defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {alias.asname or alias.name for alias in node.names}
    assert set(offered) <= defined
    assert sorted(offered) == sorted(set(offered))
