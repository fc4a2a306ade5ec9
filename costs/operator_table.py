"""The additive table: the cost of a network is the sum of the costs of its operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy import optimize

from ..basics import Array
from ..errors import InputError
from ..predictors.contract import Predictor
from ..predictors.reading import Reader, Sample
from .operators.inventory import counted, inventory
from .predictor import checked_costs

_PULL = 1e-4  # towards zero: tells apart entries that networks never have one without the other


class OperatorTable(Predictor):
    """cost = fixed + sum over operators of their entries, none negative.

    An entry stands for one operator of exactly one size. ``fit`` finds the entries from whole
    networks by non-negative least squares of relative errors; ``of`` takes entries that were
    measured one by one (``archrank.costs.measuring.operator_costs``). An operator without an
    entry counts as nothing, and ``unknown`` names it.

    Source: Cai et al., ProxylessNAS, ICLR 2019, and Once-for-All, ICLR 2020; Wu et al., FBNet,
    CVPR 2019 (tables measured one by one).

    Notes:
        Fitting to whole networks is our choice.

    Args:
        space, task, inputs, proxies: see ``Predictor``. Architecture
            strings stand for their own graphs, unused operators included.

    Attributes:
        table_: operator -> cost, as ``operators`` names it.
        fixed_: the cost of a network of no operators.

    Example:
        >>> from archrank.data import space
        >>> archs = space("fbnet").sample(300, seed=0)
        >>> costs = [space("fbnet").graph(arch).flops for arch in archs]
        >>> table = OperatorTable(space="fbnet").fit(archs[:200], costs[:200])
        >>> table.score(archs[200:], costs[200:]) > 0.95, min(table.table_.values()) >= 0
        (True, True)
        >>> [sorted(missing) for missing in table.unknown(archs[:1])]
        [[]]
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(
        self,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    @classmethod
    def of(cls, entries: Mapping[str, float], fixed: float = 0.0, **options: Any) -> OperatorTable:
        """Return a table of entries that are known; ``options`` are of the constructor.

        Raises:
            InputError: an entry is not a finite number of at least 0, or none is larger.
        """
        costs = {str(name): float(cost) for name, cost in entries.items()}
        bad = [name for name, cost in costs.items() if not 0 <= cost < np.inf]
        if bad or not any(costs.values()):
            raise InputError(
                f"entries: {len(bad)} of {len(costs)} are not finite numbers of at least 0"
                f"{f', the first {bad[0]!r}' if bad else ', or all are 0'}"
            )
        made = cls(**options)
        made.n_samples_, made.label_mean_, made.label_std_ = 0, 0.0, 1.0
        made.table_, made.fixed_ = costs, float(fixed)
        return made

    @property
    def reader(self) -> Reader:
        return replace(super().reader, exact=True)

    def fit(self, X: Any, y: Any) -> Self:
        """Find the entries from networks and their costs, all larger than 0.

        Raises:
            InputError: as ``Predictor.fit``, or a cost is not larger than 0.
        """
        self.table_: dict[str, float] = {}
        return super().fit(X, checked_costs(y))

    def unknown(self, X: Any) -> list[dict[str, float]]:
        """Return the operators without an entry of each architecture, and how often they occur."""
        return [
            {name: n for name, n in _operators(s).items() if name not in self.table_}
            for s in self._read(X)
        ]

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        costs = labels * self.label_std_ + self.label_mean_
        names = sorted({name for sample in samples for name in _operators(sample)})
        # Each column as a share of the network's cost, so that errors are relative ones.
        counts = np.concatenate(
            [counted(map(_operators, samples), names), np.ones((len(samples), 1))], axis=1
        )
        shares = counts / costs[:, None]
        length = np.sqrt((shares**2).mean(axis=0))
        pull = np.sqrt(_PULL * len(samples)) * np.eye(len(length))
        target = np.concatenate([np.ones(len(samples)), np.zeros(len(length))])
        found, _ = optimize.nnls(np.concatenate([shares / length, pull]), target)
        *entries, self.fixed_ = (found / length).tolist()
        self.table_ = dict(zip(names, entries, strict=True))

    @property
    def gives_std(self) -> bool:
        return False

    def _predict(self, samples: list[Sample]) -> tuple[Array, None]:
        entries = np.array(list(self.table_.values()))
        costs = self.fixed_ + counted(map(_operators, samples), self.table_) @ entries
        return (costs - self.label_mean_) / self.label_std_, None


def _operators(sample: Sample) -> dict[str, float]:
    return inventory(sample.graph).operators
