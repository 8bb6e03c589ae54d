"""`distilcap --help` answers at once: nothing heavy is imported before a command is called."""

from __future__ import annotations

import resource
import subprocess
import sys

HEAVY = {
    "torch",
    "numpy",
    "timm",
    "PIL",
    "matplotlib",
    "onnxruntime",
    "ray",
    "accelerate",
    "safetensors",
    "jinja2",
}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from distilcap.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"found = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(found)}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_help_takes_less_than_0_4_seconds_of_a_processor() -> None:
    """Processor seconds: on a busy machine the clock's say little."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "distilcap", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < 0.4
