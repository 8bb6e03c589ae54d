"""`python -m distilcap` is `distilcap`."""

from distilcap.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
