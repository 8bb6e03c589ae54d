"""A device for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pretend_device import DEVICE, Generator


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The pretend device, with generators of its kind."""
    monkeypatch.setattr(torch, "Generator", Generator)
    before = torch.__future__.get_swap_module_params_on_conversion()
    # Parameters stay the same objects when a module moves, as they do when it moves to a GPU.
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield DEVICE
    torch.__future__.set_swap_module_params_on_conversion(before)
