"""Run measurements: `python -m benchmarks speed|scores|features|encoders|… [OPTIONS]`, or several names."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import sys

import benchmarks
from distilcap.errors import DistilCapError

NOT_RUN = {"coco_data", "coco_rehearsal_page", "own_photos_page", "pages", "reference"}


def main() -> None:
    names = sorted(
        one.name
        for one in pkgutil.iter_modules(benchmarks.__path__)
        if not one.name.startswith("_") and one.name not in NOT_RUN
    )
    wanted = list(itertools.takewhile(names.__contains__, sys.argv[1:]))
    if not wanted:
        sys.exit(f"usage: python -m benchmarks NAME … [OPTIONS]; NAME is one of {', '.join(names)}")
    options = sys.argv[1 + len(wanted) :]
    for name in wanted:
        sys.argv = [f"python -m benchmarks {name}", *options]
        try:
            importlib.import_module(f"benchmarks.{name}").main()
        except DistilCapError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


if __name__ == "__main__":
    main()
