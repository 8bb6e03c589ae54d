"""The whole way of a detector, on one trained here: effdet trains it, our plain network carries it on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_detector import boxes_behind
from torch import Tensor

from distilcap.encoders.detector import DetectorEncoder
from distilcap.encoders.registry import create_encoder

SIZE = 64


def scene(generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """One bright red or blue rectangle on grey noise: pixels (3, S, S), box (x, y, x, y), class from 0."""
    pixels = 0.3 * torch.randn(3, SIZE, SIZE, generator=generator)
    width, height = torch.randint(16, 44, (2,), generator=generator).tolist()
    left = int(torch.randint(0, SIZE - width, (1,), generator=generator))
    top = int(torch.randint(0, SIZE - height, (1,), generator=generator))
    kind = int(torch.randint(0, 2, (1,), generator=generator))
    pixels[2 * kind, top : top + height, left : left + width] += 2
    return pixels, torch.tensor([left, top, left + width, top + height]).float(), kind


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (…, 4)."""
    sides = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


@pytest.mark.slow
def test_a_detector_trained_here_finds_its_objects(tmp_path: Path) -> None:
    pytest.importorskip("effdet")
    encoder = create_encoder("effdet:tf_efficientdet_d0", size=SIZE, weights="random", regions=5)
    assert isinstance(encoder, DetectorEncoder)
    from effdet import DetBenchTrain

    bench = DetBenchTrain(encoder.network)
    bench.train()
    optimizer = torch.optim.AdamW(bench.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # of drop-connect
    steps = 300
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 20) * min(1, 2 * (1 - step / steps))
        scenes = [scene(generator) for _ in range(8)]
        target = {
            "bbox": [box[None, [1, 0, 3, 2]] for _, box, _ in scenes],
            "cls": [torch.tensor([kind + 1]) for _, _, kind in scenes],
        }
        loss = bench(torch.stack([pixels for pixels, _, _ in scenes]), target)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bench.parameters(), 10)
        optimizer.step()
    torch.save(encoder.network.state_dict(), tmp_path / "trained.pth")

    ours = create_encoder("efficientdet-d0", size=SIZE, weights=tmp_path / "trained.pth", regions=5)
    assert isinstance(ours, DetectorEncoder)
    scenes = [scene(generator) for _ in range(40)]
    pixels = torch.stack([pixels for pixels, _, _ in scenes])
    with torch.inference_mode():
        boxes, scores, classes, mask = boxes_behind(ours, pixels)
        features = ours(pixels)
    truth = torch.stack([box for _, box, _ in scenes]) / SIZE
    kinds = torch.tensor([kind for _, _, kind in scenes])
    found = overlap(boxes[:, 0], truth) > 0.5
    right = classes[:, 0] == kinds
    print(
        f"found {found.float().mean():.2f}, right class {right.float().mean():.2f}, {scores[:, 0].mean():.2f}"
    )
    assert found.float().mean() > 0.8
    assert right.float().mean() > 0.8
    assert torch.equal(features.features[:, 0, -5:-1], boxes[:, 0])
    assert mask[:, 0].all()
