"""Java, for the metric whose official program needs it: where it is, and how much memory it may take."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import MissingError

__all__ = ["Java", "find_java", "memory_megabytes"]

_OLDEST_JAVA = 8
_FOLDERS = (
    "/usr/lib/jvm/*/bin/java",
    "/opt/java/*/bin/java",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
    "C:/Program Files/*/j*/bin/java.exe",
)


@dataclass(frozen=True)
class Java:
    """A Java program and its version, such as 17."""

    program: Path
    version: int


@functools.cache
def _version(program: Path) -> int | None:
    """The version of a Java program; None if it does not run (macOS has a stub that only asks for Java)."""
    try:
        done = subprocess.run(
            [program, "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(rb'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else None


def find_java() -> Java:
    """Find Java: of JAVA_HOME, on the PATH, or where systems install it.

    Raises:
        MissingError: there is none of version 8 or later.
    """
    named = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    programs = [Path(named, "bin", "java.exe" if os.name == "nt" else "java")] if named else []
    programs += [Path(on_path)] if on_path else []
    for pattern in _FOLDERS:
        anchor = Path(Path(pattern).anchor)
        programs += sorted(anchor.glob(str(Path(pattern).relative_to(anchor))), reverse=True)
    old: list[str] = []
    for program in (one.absolute() for one in programs):  # it may run in another folder
        version = _version(program) if program.is_file() else None
        if version is not None and version >= _OLDEST_JAVA:
            return Java(program, version)
        if version is not None:
            old.append(f"{program} is version {version}")
    if old:
        raise MissingError(f"Java must be of version {_OLDEST_JAVA} or later, but {old[0]}")
    raise MissingError(
        f"Java was not found: install version {_OLDEST_JAVA} or later, or name its folder in JAVA_HOME"
    )


def memory_megabytes() -> int:
    """How much Java may take: 60 % of this machine's or container's memory, 1 GiB to 8 GiB."""
    limits: list[int] = []
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue  # not Linux, the other version of cgroups, or "max"
    allowed = min(limits, default=8 << 30) * 6 // 10 >> 20
    return max(1024, min(8192, allowed))
