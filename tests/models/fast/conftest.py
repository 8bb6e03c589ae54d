"""The dropout masks of fast code, given to plain code: so that both drop the same elements."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from distilcap.models.captioner import Captioner
from distilcap.models.fast.dropout import Dropout
from distilcap.models.fast.packing import Packing


class Given(nn.Module):
    """A dropout whose masks are given, one for each call."""

    def __init__(self, masks: list[Tensor]) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, values: Tensor) -> Tensor:
        return values * self.masks.pop(0).view_as(values)


class Masks:
    """All masks that fast dropouts drew, in order."""

    def __init__(self) -> None:
        self.drawn: list[tuple[Dropout, Tensor]] = []

    def give_to(self, module: nn.Module, packing: Packing | None = None) -> None:
        """Let the dropouts of a plain module take them, which are named in the order of their use."""
        for name, dropout in list(module.named_modules()):
            if not isinstance(dropout, nn.Dropout) or not dropout.p:
                continue
            fast, mask = self.drawn.pop(0)
            steps = [mask]
            while self.drawn and self.drawn[0][0] is fast:  # it drops more than once
                steps.append(self.drawn.pop(0)[1])
            if packing is None or name.startswith(("regions", "refiner")):
                pass
            elif isinstance(module, Captioner) and type(module).predict is not Captioner.predict:
                # Plain code reads whole captions, too; only words are predicted from packed ones.
                steps = [packing.unpack(mask)] if name == "output.dropout" else steps
            elif name == "weight_dropout":  # (steps, B x heads, K, R)
                steps = list(mask)
            else:  # (P, …)
                steps = list(packing.unpack(mask).unbind(dim=2))
            module.set_submodule(name, Given(steps))
        assert not self.drawn


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> Masks:
    """Fills as fast dropouts draw."""
    masks, draw = Masks(), Dropout.mask

    def keep(dropout: Dropout, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
        mask = draw(dropout, shape, like)
        if mask is not None:
            masks.drawn.append((dropout, mask.clone()))  # some are overwritten
        return mask

    monkeypatch.setattr(Dropout, "mask", keep)
    return masks
