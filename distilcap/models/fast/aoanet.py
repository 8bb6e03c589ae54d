"""AoANet, faster: the equations of `models.aoanet` in the same order, in fewer and larger operators.

A step multiplies with weights that are packed once a search (`products`) and projects each word once
(`layers`); on the CPU, where no weight is dropped, attention is PyTorch's fused operator, which copies no
keys and values. Regions are refined by `refiner`, given captions are read by `aoanet_recurrence`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import glu

from distilcap.models.aoanet import AoANet, RefinerLayer
from distilcap.models.captioner import Memory, State
from distilcap.models.fast.aoanet_recurrence import DropoutMasks, aoanet_recurrence
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.dropout import Dropout
from distilcap.models.fast.head_attention import multi_head_attention
from distilcap.models.fast.layers import FastWordEmbedding, FastWordPredictor
from distilcap.models.fast.lstm import lstm_step
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.refiner import FastRefinerLayer

__all__ = ["FastAoANet"]


class FastAoANet(FastCaptioner, AoANet):
    """See `AoANet`."""

    plain = AoANet
    parts: ClassVar = {RefinerLayer: FastRefinerLayer}
    words: FastWordEmbedding
    output: FastWordPredictor
    context_dropout: Dropout
    weight_dropout: Dropout

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        return self.recorded_step(tokens, state, memory)[:2]

    def recorded_step(
        self, tokens: Tensor, state: State, memory: Memory
    ) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        """See `FastCaptioner.recorded_step`."""
        keys, values, mean_gates, mask = memory
        hidden, cell, context = state
        gates = (
            self.words.projected(tokens, self.lstm_from_word)
            + mean_gates[:, None]
            + self.lstm_from_mean(self.context_dropout(context))
            + self.lstm_from_state(hidden)
        )
        hidden, lstm = lstm_step(gates, cell)
        query = self.query(self.query_norm(hidden))
        attended = multi_head_attention(query, keys, values, mask, self.options.heads, self.weight_dropout)
        paired = self.context.linear(torch.cat([attended, hidden], dim=-1))
        context = glu(paired, dim=-1)
        return self.output(context), (hidden, lstm[2], context), (attended, query, paired, *lstm)

    def read(
        self, memory: Memory, tokens: Tensor, packing: Packing, recorded: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `FastCaptioner.read`."""
        keys, values, mean_gates, mask = memory
        gates = self.words.projected(tokens, self.lstm_from_word)
        gates = gates.add_(mean_gates.index_select(0, packing.images))
        dropout = DropoutMasks()
        if self.training:
            images, captions, _ = packing.shape
            shape = (len(packing.counts), images * self.options.heads, captions, keys.shape[1])
            dropout = DropoutMasks(
                self.context_dropout.mask((len(tokens), self.options.hidden), gates),
                self.weight_dropout.mask(shape, gates),
            )
        return aoanet_recurrence(
            gates,
            keys,
            values,
            mask,
            self.lstm_from_mean.weight,
            self.lstm_from_state.weight,
            self.query_norm.weight,
            self.query_norm.bias,
            self.query.weight,
            self.query.bias,
            self.context.linear.weight,
            self.context.linear.bias,
            self.options.heads,
            dropout,
            packing,
            recorded,
        )
