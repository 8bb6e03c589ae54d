"""What measurements that write into docs/ share: recorded lines, and the part between the marks of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distilcap.files import parse_json, write_text

__all__ = ["END", "put_between", "read_lines"]

END = "<!-- end of table -->"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, in order; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [dict(parse_json(line, f"{path}, line {number}")) for number, line in enumerate(lines, 1)]


def put_between(page: Path, begin: str, content: str, end: str = END) -> None:
    """Replace what lies between a page's two marks."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    write_text(page, before + begin + content + end + rest.split(end)[1])
