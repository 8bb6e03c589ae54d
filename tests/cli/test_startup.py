"""`distilcap --help` answers at once: little is imported before a command is called, and nothing heavy."""

from __future__ import annotations

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


def test_help_imports_little() -> None:
    """Modules are counted, not seconds: on a busy machine those say little."""
    code = (
        "import sys\n"
        "from distilcap.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"found = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'{len(sys.modules)} modules, {sorted(found)}' if found or len(sys.modules) > 200 else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout
