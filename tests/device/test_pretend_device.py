"""The pretend device fails where a GPU would, counts where the program waits, and computes as the CPU."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from device_waits import waiting
from pretend_device import DEVICE, PretendTensor
from torch import Tensor, nn

from distilcap.models.finite import named
from distilcap.shapes import Regions

HERE = torch.arange(12.0).view(3, 4)
NUMBER = torch.tensor(2.0)
ROWS = torch.tensor([2, 0])


def there(tensor: Tensor) -> Tensor:
    return tensor.to(DEVICE)


@pytest.mark.parametrize(
    ("crash", "message"),
    [
        (lambda: there(HERE) + HERE, "same device"),
        (lambda: HERE.clone().add_(there(HERE)), "same device"),
        (lambda: NUMBER.clone().add_(there(NUMBER)), "same device"),
        (lambda: torch.cat([there(HERE), HERE]), "same device"),
        (lambda: torch.stack([there(NUMBER), NUMBER]), "same device"),
        (lambda: torch.where(there(HERE) > 1, there(HERE), HERE), "same device"),
        (lambda: nn.functional.linear(there(HERE), HERE), "same device"),
        (lambda: torch.mm(there(HERE), there(HERE.T), out=torch.empty(3, 3)), "same device"),
        (lambda: there(HERE).index_select(0, ROWS), "same device"),
        (lambda: there(HERE).gather(1, ROWS[:, None]), "same device"),
        (lambda: HERE[there(ROWS)], "same device"),
        (lambda: there(HERE).index_put((ROWS,), HERE[:2]), "same device"),
        (lambda: nn.functional.embedding(ROWS, there(HERE)), "same device"),
        (lambda: nn.functional.cross_entropy(there(HERE), torch.tensor([0, 1, 2])), "same device"),
        (lambda: there(HERE).numpy(), "numpy"),
        (lambda: np.asarray(there(HERE)), "numpy"),
        (lambda: torch.from_numpy(there(HERE)), "ndarray"),
        (lambda: torch.rand(2, device=DEVICE, generator=torch.Generator()), "generator"),
        (lambda: torch.ops.mkldnn._reorder_linear_weight(there(HERE), 50), "Could not run"),
    ],
)
def test_what_would_crash_on_a_gpu_fails(crash: Callable[[], object], message: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=message):
        crash()


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x + NUMBER,
        lambda x: torch.where(x > 3, x, NUMBER),
        lambda x: x.masked_fill(x > 3, NUMBER),
        lambda x: x[ROWS],
        lambda x: x.index_put((ROWS,), NUMBER),
        lambda x: x.clone().copy_(HERE + 1),
        lambda x: x[0] @ x.T,  # asks for a change of shape in place
        lambda x: nn.functional.linear(x, x).softmax(-1),
        lambda x: torch.mm(x, x.T, out=torch.empty(3, 3, device=x.device)),
        lambda x: nn.functional.scaled_dot_product_attention(*3 * [x[None, None]]),
        lambda x: torch.tensor([1, 2], device=x.device) * torch.arange(2, device=x.device),
        lambda x: x[x > 3],
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_what_a_gpu_computes_is_computed_as_on_the_cpu(
    compute: Callable[[Tensor], Tensor], inference: bool
) -> None:
    with torch.inference_mode(inference):
        result = compute(there(HERE))
        assert result.device == DEVICE
        torch.testing.assert_close(result.cpu(), compute(HERE))  # one kernel may be another


def test_views_share_their_numbers_and_have_gradients() -> None:
    x = there(HERE).requires_grad_()
    y = x * 1
    y[0].mul_(3)
    y.view(12)[11:].zero_()
    y.sum().backward()
    assert isinstance(x.grad, PretendTensor)
    assert x.grad.tolist() == [[3.0] * 4, [1.0] * 4, [1.0, 1.0, 1.0, 0.0]]


def test_modules_move_with_parameters_that_stay_the_same_objects_and_stay_tied() -> None:
    module = nn.ModuleDict({"table": nn.Embedding(3, 4), "output": nn.Linear(4, 3, bias=False)})
    module["output"].weight = module["table"].weight
    before = module["table"].weight
    module.to(DEVICE)
    assert module["output"].weight is module["table"].weight is before
    assert before.device == DEVICE
    copied = copy.deepcopy(module)
    assert copied["output"].weight is copied["table"].weight
    with torch.no_grad():
        before.zero_()
    assert copied["table"].weight.any()


def test_its_random_numbers_are_its_own() -> None:
    torch.manual_seed(5)
    first, on_cpu = torch.rand(3, device=DEVICE), torch.rand(3)
    assert torch.equal(first.cpu(), on_cpu), "one seed is for all devices"
    torch.default_generator.manual_seed(5)
    assert not torch.equal(torch.rand(3, device=DEVICE).cpu(), on_cpu), "that seed was the CPU's"
    numbers = [
        torch.rand(3, generator=torch.Generator(device).manual_seed(7), device=device).cpu()
        for device in (DEVICE, "cpu")
    ]
    assert torch.equal(*numbers)


def test_threads_may_use_it() -> None:
    made: list[Tensor] = []
    thread = threading.Thread(target=lambda: made.append(torch.ones(2, device=DEVICE) + 1))
    thread.start()
    thread.join()
    assert made[0].tolist() == [2.0, 2.0]


def test_products_are_bfloat16_within_autocast() -> None:
    with torch.autocast(DEVICE.type, torch.bfloat16):
        assert nn.functional.linear(there(HERE), there(HERE)).dtype == torch.bfloat16


def test_waits_are_counted_where_the_package_waits() -> None:
    with waiting() as waits:
        there(HERE).tolist()  # by a test, which is not the package
        assert not waits
        assert named(there(HERE)[:, 0] > 1) == ["2", "3"]  # `nonzero` and `tolist`
        regions = Regions.full(there(torch.zeros(3, 2, 4)))
        assert len(regions[there(ROWS)]) == 2  # indices need no count
        assert waits == {"models/finite.py named": 2}
        assert len(regions[there(HERE)[:, 0] > 4]) == 1  # a mask does, of both tensors
    assert waits == {"models/finite.py named": 2, "shapes.py Regions.__getitem__": 2}
