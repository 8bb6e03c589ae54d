"""A device that is none: data of the CPU under another device's name, so that a machine without a GPU can say
where code would crash on one or wait for it.

PyTorch keeps a device type for other people's backends, which may be written in Python. A tensor of this one
holds a tensor of the CPU. Every operation on it is computed there, but fails where it would on a GPU: tensors
of two devices in one operation, NumPy, generators of the CPU, operators that GPUs have not. It counts where
the program waits for the device: wherever numbers, or shapes that depend on numbers, come back to the CPU.
Random numbers come from a generator of its own, which `torch.manual_seed` seeds as it seeds a GPU's.

It cannot show whether kernels are right, what memory and time they take, how they round, and what changes
from run to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from device_waits import note_wait
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["DEVICE", "Generator", "PretendTensor", "recording"]

NAME = "pretend"
aten = torch.ops.aten

_COPIES = {aten._to_copy, aten.copy_}
"""Operators that take tensors of two devices."""

_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""Operators whose indices may be on the CPU, if what they index is on the device."""

_NUMBERS = {aten.masked_fill, aten.masked_fill_, aten.index_fill, aten.index_fill_, aten.fill_, *_INDEXED}
"""Operators, beside element-wise ones, that may read a single number from the CPU."""

_WAITS = {
    aten._local_scalar_dense,  # of `item`, `bool`, `float`, `int`
    aten.nonzero,
    aten.masked_select,
    aten.multinomial,  # asks whether it was given probabilities
    aten.equal,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
}
"""Operators that return when the device has come so far: their result, or its shape, is for the CPU."""

_LOWER = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv2d")
"""Operators that compute in bfloat16 within `torch.autocast`."""


class PretendTensor(Tensor):
    """A tensor on the device.

    Attributes:
        held: the tensor of the CPU that has its numbers.
    """

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> PretendTensor:
        assert type(held) is Tensor, type(held)
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first.")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **kwargs: Any) -> str:
        return f"{self.held!r} on {DEVICE}"


_recording = False


@contextmanager
def recording() -> Iterator[None]:
    """As while a CUDA graph is recorded, nothing waits for the device or is copied to it from the CPU."""
    global _recording
    _recording = True
    try:
        yield
    finally:
        _recording = False


def _refuse_in_recordings(func: Any) -> None:
    if _recording:
        raise RuntimeError(f"{func}: operation not permitted when stream is capturing")


@dataclass(frozen=True)
class _Traits:
    """What there is to know of an operator."""

    composite: bool
    supported: bool
    copies: bool
    indexes: bool
    reads_numbers: bool
    writes_first: bool
    waits: bool
    draws: bool
    views: bool
    reshapes: bool


@cache
def _traits(func: Any) -> _Traits:
    packet, tags, arguments = func.overloadpacket, func.tags, func._schema.arguments
    # Only a PyTorch that is built with CUDA knows what a GPU has.
    built: bool = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
    has = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    return _Traits(
        composite=func._can_decompose(),
        supported=func.namespace == "aten" and (not built or has(func.name(), "CUDA")),
        copies=packet in _COPIES,
        indexes=packet in _INDEXED,
        reads_numbers=packet in _NUMBERS or torch.Tag.pointwise in tags,
        writes_first=bool(arguments and arguments[0].alias_info and arguments[0].alias_info.is_write),
        waits=packet in _WAITS,
        draws=torch.Tag.nondeterministic_seeded in tags,
        views=func.is_view,
        reshapes=torch.Tag.inplace_view in tags,
    )


def _compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    traits = _traits(func)
    if traits.composite:  # which is what inference mode asks for
        return func.decompose(*args, **kwargs)
    given = list(_flat((*args, *kwargs.values())))
    _check(func, traits, args, given)
    to_cpu = traits.copies and not _stays(args, kwargs)
    if to_cpu or traits.waits or (traits.indexes and _has_mask(args[1])):
        _refuse_in_recordings(func)
        note_wait()
    elif traits.copies and any(type(value) is Tensor for value in given):
        _refuse_in_recordings(func)
    own_args, own_kwargs = _held(args), {name: _held(value) for name, value in kwargs.items()}
    if traits.draws:
        with _random_numbers(given):
            result = func(*own_args, **own_kwargs)
    else:
        result = func(*own_args, **own_kwargs)
    if to_cpu:
        return result
    if traits.reshapes:  # such as `squeeze_`: what is around the held tensor changes its shape as well
        with no_dispatch():
            func(*args, **kwargs)
    known = {id(value.held): value for value in given if type(value) is PretendTensor}
    for value in known.values():
        assert value.shape == value.held.shape, f"{func} changes the shape of a tensor in place"
    if not torch.is_inference_mode_enabled():
        return _on_device(result, known)
    # In inference mode, too, a view of an ordinary tensor is an ordinary tensor.
    with torch.inference_mode(not traits.views or args[0].is_inference()):
        return _on_device(result, known)


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _held(value: Any) -> Any:
    if isinstance(value, PretendTensor):
        return value.held
    if isinstance(value, (list, tuple)):
        return [_held(part) for part in value]
    return torch.device("cpu") if isinstance(value, torch.device) else value


def _on_device(value: Any, known: dict[int, PretendTensor]) -> Any:
    if isinstance(value, Tensor):
        return known[id(value)] if id(value) in known else PretendTensor(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_on_device(part, known) for part in value)
    return value


def _stays(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the result of a copy is on the device."""
    device = kwargs.get("device") or args[0].device
    return bool(device.type == NAME)


def _has_mask(indices: list[Tensor | None]) -> bool:
    """Whether it has to be counted what a mask selects."""
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _check(func: Any, traits: _Traits, args: tuple[Any, ...], given: list[Any]) -> None:
    if not traits.supported:
        raise NotImplementedError(f"Could not run '{func}' with arguments from the '{NAME}' backend.")
    if traits.copies:
        return
    on_cpu = [value for value in given if isinstance(value, Tensor) and type(value) is not PretendTensor]
    if traits.indexes and type(args[0]) is PretendTensor:
        on_cpu = [value for value in args[2:3] if type(value) is not PretendTensor]
    if traits.reads_numbers:
        written = args[0] if traits.writes_first else None
        on_cpu = [tensor for tensor in on_cpu if tensor.ndim or tensor is written]
    if on_cpu:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got some on {DEVICE} and one of "
            f"shape {tuple(on_cpu[0].shape)} on {on_cpu[0].device}."
        )


class Generator(torch.Generator):
    """Takes the place of `torch.Generator`: makes one on the device, or one on the CPU."""

    device: ClassVar[torch.device]  # type: ignore[misc]

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:  # type: ignore[misc]
        if torch.device(device).type != NAME:
            return _CpuGenerator(device)
        made = super().__new__(cls)
        _generators[made._cdata] = made  # type: ignore[attr-defined]
        return made


_generators: dict[int, Generator] = {}
"""Those of the device, by their address: an operator is not given the objects themselves."""
_CpuGenerator = torch.Generator
_own = torch.Generator()


@contextmanager
def _random_numbers(given: list[Any]) -> Iterator[None]:
    """The device draws from its own generator, or from one of its kind that is given."""
    for value in given:
        if isinstance(value, _CpuGenerator):
            if value._cdata not in _generators:  # type: ignore[attr-defined]
                raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
            yield
            return
    of_cpu = torch.get_rng_state()
    torch.set_rng_state(_own.get_state())
    try:
        yield
    finally:
        _own.set_state(torch.get_rng_state())
        torch.set_rng_state(of_cpu)


class _Module:
    """What PyTorch expects as `torch.pretend`."""

    is_available = is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: _own.manual_seed(seed))
    get_rng_state = staticmethod(lambda device=None: _own.get_state())
    set_rng_state = staticmethod(lambda state, device=None: _own.set_state(state))
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])


def _made_by(factory: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def on_device(*args: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        return PretendTensor(factory(*args, dtype=dtype))

    return on_device


def _copy_from(source: Tensor, target: PretendTensor, non_blocking: bool = False) -> Tensor:
    """How `torch.tensor(…, device=…)` fills its tensor."""
    _refuse_in_recordings("torch.tensor")
    target.held.copy_(source)
    return target


def _in_bfloat16(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    own = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def lower(*args: Any) -> Tensor:
        floats = (torch.float32, torch.bfloat16)
        with torch._C._ExcludeDispatchKeyGuard(own):
            return operator(
                *(arg.bfloat16() if isinstance(arg, Tensor) and arg.dtype in floats else arg for arg in args)
            )

    return lower


_setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
DEVICE = torch.device(NAME, 0)
Generator.device = DEVICE
_operators, _others = torch.library.Library("aten", "IMPL"), torch.library.Library("_", "IMPL")
# What begins on the device begins with these; the rest are operations on its tensors.
_operators.impl("empty.memory_format", _made_by(torch.empty), "PrivateUse1")
_operators.impl("empty_strided", _made_by(torch.empty_strided), "PrivateUse1")
for _name in ("arange", "arange.start", "arange.start_step"):
    _operators.impl(_name, _made_by(torch.arange), "PrivateUse1")
_operators.impl("_copy_from", _copy_from, "PrivateUse1")
_others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
for _name in _LOWER:
    _operators.impl(_name, _in_bfloat16(getattr(aten, _name)), "AutocastPrivateUse1")
