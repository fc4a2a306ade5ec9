"""Hyperband with a model of good architectures (BOHB), which begins with cheap measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ...basics import Array, IntArray
from ...data.spaces.contract import Space
from ...errors import InputError
from ..choices import Choices
from .draws import Strategy

_GOOD = 0.15  # the share of values whose architectures are good
_WIDTH = 0.2  # the bandwidth of the kernels
_TRIES = 100  # draws until one is new to the bracket


@dataclass
class _Bracket:
    """A set of architectures, of which fewer remain at each higher fidelity.

    Attributes:
        rung: the position of its current fidelity.
        to_draw: the number of architectures still to draw. They are drawn one at a time, so that
            the model knows all told values.
        waiting: architectures promoted from the fidelity below that were not proposed yet.
        running: proposed architectures whose values were not told yet.
        values: the values of this rung by architecture.
    """

    rung: int
    to_draw: int
    waiting: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)

    def holds(self, arch: str) -> bool:
        """Say whether the bracket measures the architecture at its current fidelity."""
        return arch in self.values or arch in self.running


class Hyperband(Strategy):
    """Successive halving from several fidelities, with new architectures from a model of good ones.

    A bracket measures n architectures at a low fidelity, the best 1/eta of them at the next, and so
    on up to the highest. Brackets begin at each fidelity in turn, the lowest first. With S + 1
    fidelities, a bracket that begins s steps below the highest has n = ceil((S + 1) / (s + 1) *
    eta^s) architectures. While a bracket awaits values, the next one begins, so you can ask for any
    number of architectures.

    New architectures come from a model with probability 1 - ``explore``, and are random otherwise.
    The model is fitted to the highest fidelity with at least ``choices + 2`` values; until there is
    one, all new architectures are random. Two densities, l of the best 15 % and g of the others,
    are products of kernel densities over choices. Of ``candidates`` draws from l, the one with the
    largest l / g is used. Aitchison and Aitken's kernel gives 1 - h to the option itself and h /
    (options - 1) to each other option.

    Source: Li et al., Hyperband, JMLR 2018; Falkner et al., BOHB, ICML 2018.

    Notes:
        In the source, the bandwidths h follow from the data; the fixed h = .2 is our choice.

    Args:
        space: a name or a space of choices.
        fidelities: the costs of measuring (such as epochs), ascending.
        eta: one of ``eta`` architectures goes on to the next fidelity.
        model: False draws all architectures at random, which is Hyperband alone.
        explore, candidates: see above.
        seed: same seed and values, same search.

    Raises:
        InputError: fidelities do not ascend, or eta is below 2.

    Example:
        >>> search = Hyperband("nats_sss", fidelities=(1, 3, 9), seed=0)
        >>> for _ in range(60):
        ...     arch, epochs = search.propose()
        ...     search.report(arch, epochs, sum(map(int, arch.split(":"))) - 9 / epochs)
        >>> search.best() in search.space
        True
    """

    def __init__(
        self,
        space: str | Space,
        fidelities: Sequence[float],
        eta: int = 3,
        model: bool = True,
        explore: float = 1 / 3,
        candidates: int = 64,
        seed: int = 0,
    ):
        super().__init__(space, seed)
        if not fidelities or any(a >= b for a, b in pairwise(fidelities)):
            raise InputError(f"fidelities: got {tuple(fidelities)}, expected ascending numbers")
        if eta < 2:
            raise InputError(f"eta: got {eta}, expected at least 2")
        self.choices = Choices(self.space)
        self.fidelities = tuple(fidelities)
        self.eta = eta
        self.model = model
        self.explore = explore
        self.candidates = candidates
        self.values: list[dict[str, float]] = [{} for _ in self.fidelities]
        self._brackets: list[_Bracket] = []
        self._begun = 0
        self._model: tuple[list[Array], list[Array]] | None = None  # None until it is fitted

    def propose(self) -> tuple[str, float]:
        """Return the architecture to measure next, and at which fidelity."""
        while True:
            open_ones = (b for b in self._brackets if b.waiting or b.to_draw)
            bracket = next(open_ones, None) or self._begin()
            arch = bracket.waiting.pop(0) if bracket.waiting else self._new(bracket)
            if arch is not None:
                bracket.running.append(arch)
                return arch, self.fidelities[bracket.rung]

    def report(self, arch: str, fidelity: float, value: float) -> None:
        """Take the value of a measurement, proposed or not; NaN if it failed."""
        if fidelity not in self.fidelities:
            raise InputError(f"fidelity: got {fidelity}, expected one of {self.fidelities}")
        rung = self.fidelities.index(fidelity)
        value = -math.inf if math.isnan(value) else float(value)
        self.values[rung][arch] = value
        self._model = None
        for bracket in self._brackets:
            if bracket.rung == rung and arch in bracket.running:
                bracket.running.remove(arch)
                bracket.values[arch] = value
                self._advance(bracket)
                return

    def best(self) -> str:
        """Return the best architecture at the highest fidelity that has values.

        Raises:
            InputError: nothing was told.
        """
        for known in reversed(self.values):
            if known:
                return max(known, key=known.__getitem__)
        raise InputError("best: nothing was told yet")

    def ask(self) -> str:
        """Return the architecture to measure at the highest fidelity, without halving."""
        return self.draw()

    def tell(self, arch: str, value: float) -> None:
        """Take a value at the highest fidelity."""
        self.report(arch, self.fidelities[-1], value)

    def _begin(self) -> _Bracket:
        last = len(self.fidelities) - 1
        rung = self._begun % (last + 1)
        self._begun += 1
        steps = last - rung
        bracket = _Bracket(rung, math.ceil((last + 1) / (steps + 1) * self.eta**steps))
        self._brackets.append(bracket)
        return bracket

    def _new(self, bracket: _Bracket) -> str | None:
        """Return a draw that is new to the bracket; None if there seem to be no more."""
        bracket.to_draw -= 1
        for _ in range(_TRIES):
            if not bracket.holds(arch := self.draw()):
                return arch
        bracket.to_draw = 0
        if not bracket.running:
            self._advance(bracket)
        return None

    def _advance(self, bracket: _Bracket) -> None:
        """Move the best of a complete rung to the next."""
        if bracket.to_draw or bracket.waiting or bracket.running:
            return
        alive = {arch: value for arch, value in bracket.values.items() if value > -math.inf}
        best = sorted(alive, key=lambda arch: -alive[arch])
        bracket.rung += 1
        bracket.waiting = best[: max(len(bracket.values) // self.eta, 1)]
        bracket.values = {}
        if bracket.rung == len(self.fidelities) or not bracket.waiting:
            self._brackets.remove(bracket)

    # --- the model ------------------------------------------------------------------------------

    def _draw(self) -> str:
        if self._model is None and self.model:
            self._model = self._fitted()
        if self._model is None or self._rng.random() < self.explore:
            return self.space.draw(self._rng)
        best, others = self._model
        drawn = [self._rng.choices(range(len(p)), p.tolist(), k=self.candidates) for p in best]
        ratios = [np.log(p[row] / q[row]) for p, q, row in zip(best, others, drawn, strict=True)]
        return self.choices.arch(np.array(drawn)[:, np.sum(ratios, axis=0).argmax()])

    def _fitted(self) -> tuple[list[Array], list[Array]] | None:
        """Return densities of the best and of the others, or None while values are too few."""
        enough = len(self.choices.counts) + 2
        known = next((known for known in reversed(self.values) if len(known) >= enough), None)
        if known is None:
            return None
        order = sorted(known, key=lambda arch: -known[arch])
        good = max(math.ceil(_GOOD * len(order)), 2)
        rows = np.array([self.choices.active_positions(arch) for arch in order])
        return self._densities(rows[:good]), self._densities(rows[good:])

    def _densities(self, rows: IntArray) -> list[Array]:
        """Return the density of every choice's options in rows (n, choices)."""
        made = []
        for column, count in zip(rows.T, self.choices.counts.tolist(), strict=True):
            counted = np.bincount(column[column >= 0], minlength=count).astype(np.float64)
            total = max(counted.sum(), 1.0)
            other = _WIDTH / max(count - 1, 1)
            share = counted / total if counted.any() else np.full(count, 1.0 / count)
            made.append(share * (1 - _WIDTH) + (1 - share) * other)
        return made
