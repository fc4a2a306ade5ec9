"""The quantities of architectures that a search knows without measuring them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...basics import SIZES, Array
from ...data.spaces.contract import Space
from ...errors import InputError
from ...predictors.contract import Predictor
from ...predictors.reading import Reader, Sample

_WITHOUT_GRAPHS = {"code", "context"}  # kinds of features that do not come from graphs


class Knowledge:
    """Everything known about architectures without measuring; each architecture is read once.

    Here, architectures are canonical strings (``canonical``).

    Args:
        space, task: the space and the task of the architectures.
        functions: name -> function from a list of architectures to numbers.
        samples: canonical architecture -> the sample that was read before.

    Attributes:
        refused: architecture -> why it cannot be built.
    """

    def __init__(
        self,
        space: Space,
        task: str | None,
        functions: Mapping[str, Callable[[Sequence[str]], Any]],
        samples: Mapping[str, Sample] | None = None,
    ):
        self.space = space
        self.task = task
        self.reader = Reader(space, task)
        self.needs_graphs = True
        self.refused: dict[str, str] = {}
        self._functions = dict(functions)
        self._samples: dict[str, Sample] = dict(samples or {})
        self._values: dict[str, dict[str, float]] = {}
        self._any: Sample | None = None

    def read_for(self, predictor: Predictor) -> None:
        """Read what a predictor learns from; skip graphs if it uses none."""
        self.reader = Reader(self.space, self.task, proxies=tuple(predictor.needed_proxies))
        parts = getattr(predictor, "read_parts", getattr(predictor, "parts", ()))
        self.needs_graphs = not parts or not set(parts) <= _WITHOUT_GRAPHS

    def knows(self, name: str) -> bool:
        """Say whether a quantity is known without measuring it."""
        return name in SIZES or name in self._functions

    def values(self, name: str, keys: Sequence[str]) -> Array:
        """Return a known quantity (n,).

        Raises:
            InputError: the function of that name does not give one finite number for each
                architecture.
        """
        known = self._values.setdefault(name, {})
        new = [key for key in dict.fromkeys(keys) if key not in known]
        if new and name in self._functions:
            made = np.asarray(self._functions[name](new), dtype=np.float64)
            if made.shape != (len(new),) or not np.isfinite(made).all():
                raise InputError(
                    f"known: {name} gave shape {made.shape} for {len(new)} architectures, expected "
                    "as many finite numbers"
                )
            known.update(zip(new, made.tolist(), strict=True))
        elif new:
            for key in new:
                known[key] = float(getattr(self._sample(key, True).graph, name))
        return np.array([known[key] for key in keys])

    def can_be_built(self, key: str) -> bool:
        """Say whether the graph can be read; if not, ``refused`` says why."""
        if key in self.refused:
            return False
        try:
            self._sample(key)
        except Exception as error:  # spaces of other packages may raise anything
            self.refused[key] = f"{type(error).__name__}: {error}"
            return False
        return True

    def samples(self, keys: Sequence[str]) -> list[Sample]:
        """Return the samples that predictors read."""
        return [self._sample(key) for key in keys]

    def _sample(self, key: str, with_graph: bool = False) -> Sample:
        if self.needs_graphs or with_graph:
            if key not in self._samples:
                (self._samples[key],) = self.reader.read([key])
            return self._samples[key]
        if key in self._samples:
            return self._samples[key]
        if self._any is None:
            self._any = self.reader.read([key])[0]
        # A predictor of codes uses no graphs, and making graphs takes long.
        return Sample(self._any.graph, key, self.space.encode(key))
