"""Files are whole or not there; JSON errors name file and line; every module says what it offers."""

from __future__ import annotations

import ast
import errno
import hashlib
from pathlib import Path

import pytest

import distilcap
from distilcap.errors import DataError
from distilcap.files import atomic_path, read_json, sha256_of, write_bytes, write_json, write_text


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": [1, "ü"]})
    assert read_json(path) == {"a": [1, "ü"]}
    write_text(path, "second")
    assert path.read_text() == "second"
    assert sha256_of(path) == hashlib.sha256(b"second").hexdigest()


def test_a_failed_write_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")

    def half_written() -> None:
        with atomic_path(path) as scratch:
            scratch.write_bytes(b"ne")
            assert path.read_bytes() == b"old"
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        half_written()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file.bin"]


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
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets)
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
