"""Run one measurement: `python -m benchmarks speed|scores|features|encoders|… [OPTIONS]`."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

NOT_RUN = {"coco_data", "coco_rehearsal_page", "own_photos_page", "pages", "reference"}


def main() -> None:
    names = sorted(
        one.name
        for one in pkgutil.iter_modules(benchmarks.__path__)
        if not one.name.startswith("_") and one.name not in NOT_RUN
    )
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python -m benchmarks NAME [OPTIONS]; NAME is one of {', '.join(names)}")
    module = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    sys.argv = [f"python -m benchmarks {sys.argv[1]}", *sys.argv[2:]]
    module.main()


if __name__ == "__main__":
    main()
