"""The element-wise half of an LSTM over packed captions, and its gradient, without a graph.

c = f c' + i g and h = o tanh(c), with i, f, o sigmoids and g the tanh of the gates. Backwards, from dh and
the dc that the next step left: dc += dh o (1 - tanh(c)^2), and the gates' gradients are dc g i (1 - i),
dc c' f (1 - f), dc i (1 - g^2) and dh tanh(c) o (1 - o); dc' = dc f. All factors of dh and dc are known
before the first step back, so they are computed for all tokens at once, and a step multiplies.

What a step need not wait for is done for all tokens at once: at small widths, calling an operator takes as
long as what it computes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distilcap.models.fast.packing import Packing

__all__ = ["LstmGradient", "LstmStates", "copy_before", "exact_type", "fill_hidden", "kept_of", "lstm_step"]

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def exact_type(dtype: torch.dtype) -> torch.dtype:
    """The type of gates and cells where products are computed in `dtype`."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def lstm_step(gates: Tensor, cell: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """See `models.layers.lstm_cell`: the new hidden state, and what `LstmStates` keeps, whose third is the
    new cell."""
    width = cell.shape[-1]
    candidate = torch.tanh(gates[..., 2 * width : 3 * width])
    gates = torch.sigmoid(gates)
    input_gate, forget_gate, _, output_gate = gates.chunk(4, dim=-1)
    cell = torch.addcmul(input_gate * candidate, forget_gate, cell)
    squashed = torch.tanh(cell)
    return output_gate * squashed, (gates, candidate, cell, squashed)


def kept_of(recorded: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """What `LstmStates` keeps, from what steps gave, in its exact type."""
    return tuple(tensor.to(exact_type(tensor.dtype)) for tensor in recorded)


def fill_hidden(kept: tuple[Tensor, ...], hidden: Tensor, before: Tensor, packing: Packing) -> None:
    """Fill hidden states (P, H), and those before each token but the first, from what `LstmStates` keeps."""
    gates, _, _, squashed = kept
    torch.mul(gates.chunk(4, dim=1)[3], squashed, out=hidden)
    copy_before(hidden, before, packing)


def copy_before(states: Tensor, before: Tensor, packing: Packing) -> None:
    """Fill what is before each token (P, H) but the first ones, from what is after each token (P, H)."""
    for (rows,), last in zip(packing.steps(before)[1:], packing.before(states), strict=True):
        rows.copy_(last)


class LstmStates:
    """An LSTM (Hochreiter & Schmidhuber 1997) over packed captions; gates in PyTorch's order i, f, g, o.

    Args:
        width: of the hidden state (H).
        like: a tensor of the type in which products are computed.

    Attributes:
        gates: (P, 4H) sigmoids of all pre-activations; the third quarter has no meaning.
        candidates: (P, H).
        cells: (P, H).
        squashed: (P, H) tanh of the cells.
        inputs: for each step, the rows (n, 4H) of `gates`: filled with pre-activations before `advance`.
    """

    def __init__(self, packing: Packing, width: int, like: Tensor) -> None:
        total, exact = sum(packing.counts), exact_type(like.dtype)
        self.gates = like.new_empty(total, 4 * width, dtype=exact)
        self.candidates, self.cells, self.squashed = (
            like.new_empty(total, width, dtype=exact) for _ in range(3)
        )
        input_gate, forget_gate, candidate, output_gate = self.gates.chunk(4, dim=1)
        self._steps = packing.steps(
            *(self.gates, input_gate, forget_gate, candidate, output_gate),
            *(self.candidates, self.cells, self.squashed),
        )
        self._previous = packing.before(self.cells)
        self.inputs = [rows for (rows,) in packing.steps(self.gates)]

    @property
    def kept(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `LstmGradient` reads: gates, candidates, cells and their tanh."""
        return self.gates, self.candidates, self.cells, self.squashed

    def advance(self, step: int, hidden: Tensor) -> None:
        """Turn a step's pre-activations into activations and fill `hidden` (n, H)."""
        gates, input_gate, forget_gate, given, output_gate, candidate, cell, squashed = self._steps[step]
        torch.tanh(given, out=candidate)
        gates.sigmoid_()  # at once, though the candidate has no use for it
        torch.mul(input_gate, candidate, out=cell)
        if step:
            cell.addcmul_(forget_gate, self._previous[step - 1])
        torch.tanh(cell, out=squashed)
        torch.mul(output_gate, squashed, out=hidden)


class LstmGradient:
    """The gradient of `LstmStates`, from what it kept.

    Attributes:
        gates: (P, 4H) gradient of the pre-activations, complete after the first step.
        inputs: for each step, the rows (n, 4H) of `gates`.
    """

    def __init__(
        self, packing: Packing, gates: Tensor, candidate: Tensor, cells: Tensor, squashed: Tensor
    ) -> None:
        input_gate, forget_gate, _, output_gate = gates.chunk(4, dim=1)
        # Until a step multiplies them with the gradients that reach it: derivatives, of the cell by the first
        # three pre-activations and of the hidden state by the last.
        self.gates = torch.empty_like(gates)
        by_input, by_forget, by_candidate, by_output = self.gates.chunk(4, dim=1)
        _sigmoid_backward(candidate, input_gate, grad_input=by_input)
        _tanh_backward(input_gate, candidate, grad_input=by_candidate)
        _sigmoid_backward(squashed, output_gate, grad_input=by_output)
        start = len(packing.rows)
        by_forget[:start] = 0  # the first cell is zero
        if len(packing.counts) > 1:
            previous = torch.cat(packing.before(cells))
            _sigmoid_backward(previous, forget_gate[start:], grad_input=by_forget[start:])
        through = torch.ops.aten.tanh_backward(output_gate, squashed)
        width = cells.shape[1]
        by_cell = self.gates.view(len(gates), 4, width)[:, :3]
        self._steps = packing.steps(by_cell, by_output, through, forget_gate)
        # By the next step; captions that are shorter have none.
        d_cell = cells.new_zeros(start, 1, width)
        self._cells = list(zip(packing.heads(d_cell), packing.heads(d_cell[:, 0]), strict=True))
        self.inputs = [rows for (rows,) in packing.steps(self.gates)]

    def retreat(self, step: int, d_hidden: Tensor) -> None:
        """Fill a step's rows of `gates`, given the gradient of its hidden state (n, H); last step first."""
        by_cell, by_output, through, forget_gate = self._steps[step]
        spread, d_cell = self._cells[step]
        d_cell.addcmul_(d_hidden, through)
        by_cell.mul_(spread)
        by_output.mul_(d_hidden)
        d_cell.mul_(forget_gate)
