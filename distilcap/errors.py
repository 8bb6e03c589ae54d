"""What can go wrong for a person, as one tree of exceptions.

The command line prints a `DistilCapError` as one line and exits with code 2. Every message says
what is wrong, where, and the fix, in one grammar: "`beam_size` must be at least 1, but is 0."
Invariants of our own code are `assert`s, not these.
"""

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "DistilCapError",
    "LaunchError",
    "MissingError",
    "TrainingError",
    "memory_error",
]


class DistilCapError(ValueError):
    """Base of all errors that a person can fix."""


class ConfigError(DistilCapError):
    """An option or a recipe has a value that cannot work."""


class DataError(DistilCapError):
    """A file that a person gave (captions, images, features) is missing or malformed."""


class MissingError(DistilCapError):
    """A program, a package or weights that a step needs are not there."""


class TrainingError(DistilCapError):
    """A training run diverged; the last good checkpoint is kept."""


class LaunchError(DistilCapError):
    """Another process of the same launch has ended, and this process cannot go on without it."""


class BundleError(DistilCapError):
    """An exported bundle is damaged, incomplete or of an unknown version."""


def memory_error(error: BaseException | None) -> DistilCapError | None:
    """What to tell where an exception, or the one that it came of, is PyTorch's of memory that ran out.

    PyTorch's are RuntimeErrors; a GPU's alone has a class of its own.
    """
    while error is not None:
        text = str(error)
        if isinstance(error, RuntimeError) and any(said in text for said in _NO_MEMORY):
            return DistilCapError(
                f"There is not enough memory ({text.strip().splitlines()[0].rstrip('.')}). A smaller "
                "`--batch-images` or `--captions-per-image` needs less, and so do fewer stages at once (a "
                "larger `--gpus-per-stage` or `--cpus-per-stage`). What was done is kept."
            )
        error = error.__cause__ or error.__context__
    return None


_NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
