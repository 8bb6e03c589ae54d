"""`python -m distilcap` and the command `distilcap`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; see `cli.main.main`."""
    try:
        from distilcap.cli.main import main as run  # takes a moment, in which Ctrl-C may come
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
