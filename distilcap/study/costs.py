"""Hours and money of a plan on several GPUs: its stages as the engine ray would run them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from distilcap.errors import ConfigError
from distilcap.store.planning import Facts
from distilcap.study.estimate import Cost

__all__ = ["COCO", "Bill", "bill"]

COCO = Facts(
    images={"train": 113_287, "val": 5_000, "test": 5_000},
    captions=5.0,
    words=9_491,
    regions=36,
    dim=69,
    pixels=512**2,
)
"""COCO in Karpathy's splits (2015), with the 9,487 words seen five times and the four special ones, and what
EfficientDet-D0's 36 regions hold."""


@dataclass(frozen=True)
class Bill:
    """What a plan takes on some GPUs.

    Attributes:
        busy: share of the GPUs' hours in which they work.
        money: of all GPUs for all hours, idle or not.
    """

    gpus: int
    hours: float
    busy: float
    money: float


def bill(costs: Sequence[Cost], gpus: int, price: float) -> Bill:
    """Hours and money of what a plan has yet to build.

    Each stage that computes on a GPU has a GPU to itself, and every GPU has a CPU process beside it for the
    other stages; a stage begins when its inputs are there and a GPU or process is free, in the plan's order.

    Args:
        price: of a GPU for an hour.

    Raises:
        ConfigError: there is no GPU, or it is paid for working.
    """
    if gpus < 1:
        raise ConfigError(f"`gpus` must be at least 1, but is {gpus}.")
    if price < 0:
        raise ConfigError(f"`price` must be at least 0, but is {price:g}.")
    todo = [cost for cost in costs if cost.planned.to_do]
    missing = {cost.planned.stage.key for cost in todo}
    waiting = {
        cost.planned.stage.key: {stage.key for stage in cost.planned.stage.inputs()} & missing
        for cost in todo
    }
    free = {True: gpus, False: gpus}
    running: list[tuple[float, str, bool]] = []
    now = worked = 0.0
    while todo or running:
        for cost in list(todo):
            stage = cost.planned.stage
            if free[stage.on_gpu] and not waiting[stage.key]:
                todo.remove(cost)
                free[stage.on_gpu] -= 1
                worked += cost.seconds * stage.on_gpu
                heapq.heappush(running, (now + cost.seconds, stage.key, stage.on_gpu))
        now, done, on_gpu = heapq.heappop(running)
        free[on_gpu] += 1
        for inputs in waiting.values():
            inputs.discard(done)
    hours = now / 3600
    return Bill(gpus, hours, worked / (now * gpus) if now else 0.0, hours * gpus * price)
