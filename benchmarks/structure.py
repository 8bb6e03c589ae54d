"""The import graph between packages, as docs/architecture.md tells it: `python -m benchmarks structure`."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import grimp  # comes with import-linter

import distilcap


def main() -> None:
    """Print modules, arrows, circles, each package's imports, and the largest files."""
    graph = grimp.build_graph("distilcap", cache_dir=None)

    def package(module: str) -> str:
        return module.split(".")[1] if "." in module else "distilcap"

    arrows: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if package(module) != package(imported) != "distilcap":
                arrows[package(module), package(imported)] += 1
    after: dict[str, set[str]] = defaultdict(set)
    for source, target in arrows:
        after[source].add(target)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            fresh = after[waiting.pop()] - seen
            seen |= fresh
            waiting += fresh
        return seen

    circles = [name for name in list(after) if name in reachable(name)]
    imports = sum(len(graph.find_modules_directly_imported_by(module)) for module in graph.modules)
    print(f"{len(graph.modules)} modules, {imports} imports, {len(arrows)} arrows between packages")
    print(f"packages in a circle: {', '.join(circles) or 'none'}")
    for name in sorted(after):
        print(f"  {name} -> {', '.join(sorted(after[name]))}")
    root = Path(distilcap.__file__).parent
    lines = {
        path.relative_to(root).as_posix(): len(path.read_text().splitlines()) for path in root.rglob("*.py")
    }
    largest = sorted(lines, key=lines.__getitem__, reverse=True)[:6]
    print(
        f"{sum(lines.values()):,} lines; largest: " + ", ".join(f"{name} {lines[name]}" for name in largest)
    )


if __name__ == "__main__":
    main()
