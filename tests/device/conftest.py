"""A device for every test of this folder: the pretend one, or the one that DISTILCAP_TEST_DEVICE names."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

REAL = os.environ.get("DISTILCAP_TEST_DEVICE")
# Where PyTorch knows the pretend device as well, gradients on a GPU fail in its engine; and PyTorch must know
# it before it computes the first gradient.
collect_ignore = ["test_pretend_device.py"] if REAL else []
if not REAL:
    from pretend_device import DEVICE, Generator


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The pretend device, with generators of its kind; or a real one ("cuda"), whose waits nobody counts."""
    if REAL:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # convolutions round as on a CPU
        yield torch.device(REAL)
        return
    monkeypatch.setattr(torch, "Generator", Generator)
    before = torch.__future__.get_swap_module_params_on_conversion()
    # Parameters stay the same objects when a module moves, as they do when it moves to a GPU.
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield DEVICE
    torch.__future__.set_swap_module_params_on_conversion(before)
