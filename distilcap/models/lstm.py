"""The element-wise half of an LSTM and its gradient, written into given memory, without a graph."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["exact_type", "lstm_backward", "lstm_forward"]

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def exact_type(dtype: torch.dtype) -> torch.dtype:
    """The type of gates and cells where products are computed in `dtype`."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def lstm_forward(gates: Tensor, previous: Tensor | None, cell: Tensor, hidden: Tensor) -> None:
    """Advance an LSTM (Hochreiter & Schmidhuber 1997; gates in PyTorch's order i, f, g, o).

    Args:
        gates: (n, 4H) pre-activations; become the activations.
        previous: (n, H) the previous cell; None is zeros.
        cell: (n, H) where the new cell goes.
        hidden: (n, H) where the new hidden state goes.
    """
    width = cell.shape[1]
    gates[:, : 2 * width].sigmoid_()
    gates[:, 2 * width : 3 * width].tanh_()
    gates[:, 3 * width :].sigmoid_()
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
    torch.mul(input_gate, candidate, out=cell)
    if previous is not None:
        cell.addcmul_(forget_gate, previous)
    torch.mul(output_gate, cell.tanh(), out=hidden)


def lstm_backward(
    gates: Tensor, previous: Tensor | None, cell: Tensor, d_hidden: Tensor, d_cell: Tensor, d_gates: Tensor
) -> None:
    """The gradient of `lstm_forward`.

    Args:
        gates: (n, 4H) activations.
        previous: (n, H) the previous cell; None is zeros.
        cell: (n, H) the new cell.
        d_hidden: (n, H) gradient of the new hidden state.
        d_cell: (n, H) gradient of the new cell by later steps; becomes that of the previous cell.
        d_gates: (n, 4H) where the gradient of the pre-activations goes.
    """
    width = cell.shape[1]
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
    d_input, d_forget, d_candidate, d_output = d_gates.chunk(4, dim=1)
    squashed = cell.tanh()
    torch.mul(d_hidden, squashed, out=d_output)
    through = torch.mul(d_hidden, output_gate)
    d_cell.add_(_tanh_backward(through, squashed, grad_input=through))
    torch.mul(d_cell, candidate, out=d_input)
    torch.mul(d_cell, input_gate, out=d_candidate)
    if previous is None:
        d_forget.zero_()
    else:
        torch.mul(d_cell, previous, out=d_forget)
    both, kept = d_gates[:, : 2 * width], gates[:, : 2 * width]
    _sigmoid_backward(both, kept, grad_input=both)
    _tanh_backward(d_candidate, candidate, grad_input=d_candidate)
    _sigmoid_backward(d_output, output_gate, grad_input=d_output)
    d_cell.mul_(forget_gate)
