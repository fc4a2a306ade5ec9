"""The common part of predictors made of torch modules: watched training, and adaptation."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, Self

from ...basics import Array
from ...errors import InputError
from ..contract import Predictor, checked_labels
from ..reading import Sample
from .learning.plan import EpochProgress


class Watch(NamedTuple):
    """The checkpoints and the progress function of a training.

    Attributes:
        folder: the folder of checkpoints; None to write none.
        progress: a function called after each epoch.
    """

    folder: Path | None = None
    progress: EpochProgress | None = None

    @classmethod
    def of(cls, checkpoint: str | Path | None, progress: EpochProgress | None) -> Watch:
        """Return the watch for the arguments of ``fit``."""
        return cls(None if checkpoint is None else Path(checkpoint), progress)

    def file(self, name: str) -> Path | None:
        """Return the path of a checkpoint, or None."""
        return None if self.folder is None else self.folder / name


UNWATCHED = Watch()
"""The watch of a training that writes no checkpoint and reports no progress."""


class NetworkPredictor(Predictor):
    """A predictor made of torch modules, which it stores as ``_built`` and as arrays."""

    @abstractmethod
    def _fit(self, samples: list[Sample], labels: Array, watch: Watch = UNWATCHED) -> None:
        """Learn from samples and their standardised labels; ``watch`` follows the training."""

    def fit(
        self,
        X: Any,
        y: Any,
        checkpoint: str | Path | None = None,
        progress: EpochProgress | None = None,
    ) -> Self:
        """Learn from architectures and their labels, where larger is better.

        Args:
            X, y: see ``Predictor.fit``.
            checkpoint: a folder of checkpoints, from which interrupted trainings continue.
            progress: a function called after each epoch of each training.

        Raises:
            InputError: see ``Predictor.fit`` and the class.
        """
        samples, labels = self._read_to_fit(X, y)
        if self.label_std_:
            self._fit(samples, labels, Watch.of(checkpoint, progress))
        return self

    def _read_to_adapt(self, X: Any, y: Any) -> tuple[list[Sample], Array]:
        """Return samples and labels for further training; raise an InputError if there are no
        weights."""
        if not getattr(self, "label_std_", 0.0):
            raise InputError("adapt: fit it first, to labels that differ")
        samples = self._read(X)
        return samples, checked_labels(y, len(samples))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for copies and pickles, without modules, which are rebuilt from
        arrays."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_built"}
