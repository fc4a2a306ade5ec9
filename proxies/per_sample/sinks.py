"""Sinks: what is kept of per-sample gradients, which come layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from ...errors import NotApplicable
from ..recording.signals import ALL_ZERO, SignSums

_COLUMNS = 1 << 16  # that are made double at a time


class Sink(ABC):
    """A taker of per-sample gradients, layer by layer.

    Attributes:
        whole: whether it needs all samples of a layer at once.
    """

    whole = False

    @abstractmethod
    def take(self, name: str, first: int, gradients: Tensor) -> None:
        """Take gradients (n, ...) of one weight, of samples ``first`` to ``first + n``."""

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        """Take the same as factors: gradients are outer products of (n, o) and (n, i)."""
        self.take(name, first, torch.einsum("no,ni->noi", output, input))

    @abstractmethod
    def result(self) -> Any:
        """Return the signal that the gradients make."""


class Signs(Sink):
    """The sums of the gradients' signs; the last sink to take, since it writes to what it gets."""

    def __init__(self, leaves: dict[str, Tensor], samples: int):
        self._samples = samples
        self._sums = {n: torch.zeros_like(leaf, requires_grad=False) for n, leaf in leaves.items()}
        self._any = False  # whether any gradient was not zero

    def take(self, name: str, first: int, gradients: Tensor) -> None:
        self._any = self._any or bool(gradients.any())
        self._sums[name] += gradients.sign_().sum(dim=0).view_as(self._sums[name])

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        # the sign of a product is the product of the signs
        self._any = self._any or bool((output.any(dim=1) & input.any(dim=1)).any())
        self._sums[name] += output.sign().T @ input.sign()

    def result(self) -> SignSums:
        """Return the sums of all samples.

        Raises:
            NotApplicable: all gradients are zero.
        """
        if not self._any:
            raise NotApplicable(ALL_ZERO)
        return SignSums(self._samples, self._sums)


class Entries(Sink):
    """The gradients of one weight of each layer, drawn by the seed: (N, layers)."""

    def __init__(self, leaves: dict[str, Tensor], samples: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self._place = {
            name: (i, int(torch.randint(leaf.numel(), (), generator=generator)))
            for i, (name, leaf) in enumerate(leaves.items())
        }
        self._entries = torch.zeros(samples, len(leaves), dtype=torch.float64)

    def take(self, name: str, first: int, gradients: Tensor) -> None:
        layer, index = self._place[name]
        rows = gradients.flatten(1)[:, index]
        self._entries[first : first + len(rows), layer] = rows.to("cpu", torch.float64)

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        layer, index = self._place[name]
        row, column = divmod(index, input.shape[1])
        rows = output[:, row].double() * input[:, column].double()
        self._entries[first : first + len(rows), layer] = rows.cpu()

    def result(self) -> Tensor:
        """Return the entries (N, layers)."""
        return self._entries


class Kernel(Sink):
    """The Gram matrix (N, N) of the samples' gradients over all weights."""

    whole = True

    def __init__(self, samples: int):
        self._kernel = torch.zeros(samples, samples, dtype=torch.float64)
        self._waiting: dict[str, Tensor] = {}

    def take(self, name: str, first: int, gradients: Tensor) -> None:
        rows, samples = gradients.flatten(1), len(self._kernel)
        if len(rows) < samples:  # a part of the samples: the products need all of them
            if name not in self._waiting:
                self._waiting[name] = rows.new_zeros(samples, rows.shape[1])
            self._waiting[name][first : first + len(rows)] = rows
        else:
            self._kernel += _products(rows)

    def take_outer(self, name: str, first: int, output: Tensor, input: Tensor) -> None:
        if len(output) < len(self._kernel):
            super().take_outer(name, first, output, input)
            return
        self._kernel += _products(output) * _products(input)

    def result(self) -> Tensor:
        """Return the matrix of all that was taken."""
        while self._waiting:
            _, rows = self._waiting.popitem()
            self._kernel += _products(rows)
        return self._kernel


def _products(rows: Tensor) -> Tensor:
    """Return ``rows rows^T`` in float64; single precision would round small eigenvalues off."""
    found = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(_COLUMNS, dim=1):
        double = part.double()
        found.addmm_(double, double.T)
    return found.cpu()
