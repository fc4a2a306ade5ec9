"""The scores of one model: a result for each proxy, and values per node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..graphs import Graph
from .registry import Measure

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """One proxy's score of one model.

    Attributes:
        name, version: those of the proxy.
        value: the score, None if there is none.
        status: ``"ok"``; ``"not applicable"`` if the proxy is not defined for the network, which
            is not a failure; ``"unsupported"`` if it needs other data or another form of
            the model; ``"non-finite"``, ``"out of memory"`` or ``"error"``.
        reason: why there is no value; None if there is a value.
        seconds: the time of its own function plus its share of the passes (the time of a pass is
            divided evenly among the proxies that use it).
        peak_memory: the largest memory of its passes in bytes, above that at the start; None if
            unknown.
    """

    name: str
    version: int
    value: float | None
    status: str
    reason: str | None
    seconds: float
    peak_memory: int | None


class Scores(Mapping[str, Result]):
    """The results of one model by proxy name, and its values per node of the graph."""

    def __init__(
        self,
        graph: Graph,
        results: dict[str, Result],
        nodes: dict[str, npt.NDArray[np.float64]],
    ):
        self.graph = graph
        self._results = results
        self._nodes = nodes

    def __getitem__(self, name: str) -> Result:
        if name not in self._results:
            raise KeyError(f"{name!r} was not scored; scored were {', '.join(self._results)}")
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def nodes(self, name: str) -> npt.NDArray[np.float64]:
        """Return a proxy's values aligned with ``graph.nodes``, as float64 (n,), NaN where none.

        A weight that several nodes use counts at the first. If the proxy is a sum of parts, the
        values of the nodes add up to its value; a part whose weight no node uses is left out.

        Raises:
            InputError: the proxy has no values per node, or no value at all.
        """
        result = self[name]
        if name not in self._nodes:
            why = result.reason or "its value is one number for the whole network"
            raise InputError(f"name: {name!r} has no values per node: {why}")
        return self._nodes[name]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per proxy: name, value, status, reason and costs."""
        import pandas as pd

        return pd.DataFrame([asdict(result) for result in self.values()])

    def _repr_html_(self) -> str:
        shown = self.to_frame()[["name", "value", "status", "reason", "seconds"]]
        return str(shown.to_html(index=False, border=0, na_rep="-"))

    def __repr__(self) -> str:
        rows = [
            f"  {r.name:16} {r.value:.6g}"
            if r.value is not None
            else f"  {r.name:16} {r.status}: {r.reason}"
            for r in self.values()
        ]
        return "\n".join(["Scores(", *rows, ")"])


def on_nodes(measure: Measure, graph: Graph) -> npt.NDArray[np.float64] | None:
    """Return a measure's values per node; None if it has none."""
    if measure.by_parameter is None and measure.by_node is None:
        return None
    values = np.full(len(graph), np.nan)
    for node, value in (measure.by_node or {}).items():
        values[node] = value
    for name, value in (measure.by_parameter or {}).items():
        owner = graph.parameter_node.get(name)
        if owner is not None:
            values[owner] = np.nan_to_num(values[owner]) + value
    return values
