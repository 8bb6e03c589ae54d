from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from distilcap.encoders.efficientdet import EfficientDet
from distilcap.encoders.efficientnet import EFFICIENTNETS, EfficientNet
from distilcap.encoders.third_party import import_effdet, import_timm


def shake(module: nn.Module) -> None:
    """Give every parameter and running statistic a value of its own, so that no two can be confused."""
    generator = torch.Generator().manual_seed(1)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            uniform(parameter, -0.2, 1) if "edge" in name else uniform(parameter, 0.5, 1.5)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            uniform(part.running_mean, -0.2, 0.2)
            uniform(part.running_var, 0.5, 2)
            uniform(part.bias, -0.2, 0.2)


@pytest.mark.parametrize(
    "name, size", [("efficientnet-lite0", 75), ("efficientnet-lite2", 64), ("efficientnet-b0", 64)]
)
def test_equals_timm(name: str, size: int) -> None:
    timm = import_timm()
    theirs = timm.create_model(f"tf_{name.replace('-', '_')}", pretrained=False, num_classes=0).eval()
    shake(theirs)
    ours = EfficientNet(EFFICIENTNETS[name]).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pixels = torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.double().forward_features(pixels)
        assert torch.allclose(ours.double()(pixels), expected, atol=1e-9 * expected.abs().max())


# 160 has a level of odd size, where "SAME" padding is symmetric.
@pytest.mark.parametrize("size", [128, 160])
def test_efficientdet_equals_effdet(size: int) -> None:
    effdet = import_effdet()
    config = effdet.get_efficientdet_config("tf_efficientdet_d0")
    config.image_size = (size, size)
    theirs = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    shake(theirs)
    ours = EfficientDet().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    pixels = torch.randn(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        for mine, other in zip(ours.double()(pixels), theirs.double()(pixels), strict=True):
            assert [level.shape for level in mine] == [level.shape for level in other]
            for level, expected in zip(mine, other, strict=True):
                deviation = (level - expected).abs().max() / expected.std()
                assert deviation < 1e-9, deviation


def test_efficientdet_has_the_published_size() -> None:
    network = EfficientDet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_880_067
    with torch.no_grad():
        maps = network.eval().fpn(network.backbone(torch.zeros(1, 3, 128, 128)))
    assert [tuple(one.shape) for one in maps] == [(1, 64, side, side) for side in (16, 8, 4, 2, 1)]
