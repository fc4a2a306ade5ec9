"""The contract of predictors: scikit-learn's contract, with sequences of architectures as ``X``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast, overload

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError

from ..basics import Array
from ..errors import InputError
from ..graphs import Graph
from ..metrics import kendall
from . import saving
from .reading import Reader, Sample, listed
from .showing import as_html, state_of

AT_ONCE = 1024
"""The number of networks whose graphs are in memory together during prediction."""


class Predictor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A predictor that learns from labelled architectures and predicts the labels of others.

    ``X`` is always a sequence of graphs, of modules (which need ``inputs``), of architecture
    strings (which need ``space``), or of ``Sample``. Subclasses take these four arguments among
    others, store all arguments unchanged, and implement ``_fit`` and ``_predict`` on samples.
    Fitted attributes end in ``_`` and consist of arrays, numbers, strings, lists, dicts and
    predictors, so that ``save`` can write them.

    Args:
        space, task: the space of architecture strings or its name, and the task of its networks.
        inputs: the input shape of modules without the batch dimension, or other inputs that
            ``archrank.trace`` takes.
        proxies: zero-cost proxies to compute for each architecture, as features.

    Attributes:
        n_samples_: the number of architectures that the predictor was fitted to.
        label_mean_, label_std_: the mean and standard deviation of the labels.
    """

    higher_is_better: ClassVar[bool] = True
    """Whether larger labels are better."""

    space: Any
    task: str | None
    inputs: Any
    proxies: Sequence[str]
    n_samples_: int
    label_mean_: float
    label_std_: float

    # --- what subclasses say ------------------------------------------------------------------

    @abstractmethod
    def _fit(self, samples: list[Sample], labels: Array) -> None:
        """Learn from samples and their standardised labels (mean 0, standard deviation 1)."""

    @abstractmethod
    def _predict(self, samples: list[Sample]) -> tuple[Array, Array | None]:
        """Return standardised predictions and their standard deviations, or None for those."""

    # --- the contract -------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from architectures and their labels, where larger labels are better.

        Raises:
            InputError: there are no architectures, a label is not a finite number, or the numbers
                of labels and architectures differ. Constant labels are allowed, and so are
                different labels for equal architectures.
        """
        samples, labels = self._read_to_fit(X, y)
        if self.label_std_:
            self._fit(samples, labels)
        return self

    @overload
    def predict(self, X: Any, return_std: Literal[False] = False) -> Array: ...

    @overload
    def predict(self, X: Any, return_std: Literal[True]) -> tuple[Array, Array]: ...

    @overload
    def predict(self, X: Any, return_std: bool) -> Array | tuple[Array, Array]: ...

    def predict(self, X: Any, return_std: bool = False) -> Array | tuple[Array, Array]:
        """Return predicted labels (n,), and with ``return_std`` also standard deviations (n,).

        Raises:
            NotFittedError: the predictor was not fitted.
            InputError: ``X`` is not what ``fit`` takes, or the predictor gives no standard
                deviations.
        """
        mean, std = self._in_parts(X, self._predict)
        if return_std and (std is None or not self.gives_std):
            raise InputError(f"return_std: {type(self).__name__} predicts no standard deviations")
        scaled = mean * self.label_std_ + self.label_mean_
        return scaled if std is None or not return_std else (scaled, std * self.label_std_)

    def score(self, X: Any, y: Any, sample_weight: None = None) -> float:
        """Return Kendall's tau-b between predictions and labels.

        Raises:
            InputError: ``sample_weight`` is given, although tau takes no weights.
        """
        if sample_weight is not None:
            raise InputError(
                "sample_weight: got weights, and Kendall's tau takes none; leave it out"
            )
        predicted = self.predict(X)
        return kendall(predicted, checked_labels(y, len(predicted)))

    @property
    def gives_std(self) -> bool:
        """Tell whether ``predict(return_std=True)`` works for this predictor as it is fitted."""
        return True

    @property
    def needed_proxies(self) -> tuple[str, ...]:
        """Return the proxies that the predictor computes itself."""
        return tuple(self.proxies)

    @property
    def usable_proxies(self) -> tuple[str, ...]:
        """The proxies whose scores the predictor reads if samples have them.

        It computes only ``needed_proxies`` itself.
        """
        return self.needed_proxies

    @property
    def enough(self) -> Callable[[Graph], bool] | None:
        """Return a function that tells whether a graph needs no proxies.

        It is None if every network needs all ``usable_proxies``.
        """
        return None

    def explain(self, X: Any) -> dict[str, Array]:
        """Return the parts of predictions by name, one value for each architecture.

        The result is empty for predictors without such parts.
        """
        return {}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_samples_")

    # --- what it looks like -------------------------------------------------------------------

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        called: str = super().__repr__(N_CHAR_MAX)
        return f"{called}: {state_of(self)}" if self.__sklearn_is_fitted__() else called

    def _repr_html_(self) -> str:
        return as_html(self, super().__repr__())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    # --- files --------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the predictor to the folder ``path`` as safetensors and JSON, without pickle.

        The folder appears whole or not at all, and replaces a saved predictor of the same path.

        Raises:
            InputError: an argument or a fitted attribute cannot be written, such as a module or a
                function.
        """
        saving.write(self, Path(path), Predictor)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a predictor of this class from the folder that ``save`` wrote.

        Raises:
            InputError: the folder holds no predictor of this class, a damaged one, or one of a
                newer format.
        """
        return cast(Self, saving.read(Path(path), cls))

    # --- reading ------------------------------------------------------------------------------

    def _in_parts(
        self, X: Any, predict: Callable[[list[Sample]], tuple[Array, Array | None]]
    ) -> tuple[Array, Array | None]:
        """Return a method's values (n,) for architectures, with few graphs in memory at a time.

        The values are zeros if labels were constant, since nothing was learnt then.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"{type(self).__name__} is not fitted: call fit(X, y) first")
        given = listed(X)
        mean = np.zeros(len(given))
        std: Array | None = np.zeros(len(given))
        for part in self.reader.parts(given, AT_ONCE):
            samples = self._read([given[i] for i in part])
            if not self.label_std_:
                continue
            mean[part], deviations = predict(samples)
            if std is not None and deviations is not None:
                std[part] = deviations
            else:
                std = None
        return mean, std

    def _read_to_fit(self, X: Any, y: Any) -> tuple[list[Sample], Array]:
        """Return samples and their standardised labels, and store the scale of the labels."""
        samples = self._read(X)
        labels = checked_labels(y, len(samples))
        self.n_samples_ = len(samples)
        self.label_mean_ = float(labels.mean())
        spread = float(labels.std())
        # Labels that differ only by rounding are constant.
        self.label_std_ = spread if spread > 1e-12 * max(abs(self.label_mean_), 1.0) else 0.0
        return samples, (labels - self.label_mean_) / (self.label_std_ or 1.0)

    def _read(self, given: Any) -> list[Sample]:
        return self.reader.read(given)

    @property
    def reader(self) -> Reader:
        """Return the reader that makes samples of the predictor's inputs."""
        return Reader(self.space, self.task, self.inputs, self.needed_proxies)


def checked_labels(y: Any, count: int) -> Array:
    """Return labels as an array (count,); raise an InputError if they are invalid."""
    try:
        labels = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y: expected numbers ({error})") from None
    if labels.ndim != 1 or len(labels) != count:
        raise InputError(
            f"y: got shape {labels.shape} for {count} architectures, expected ({count},)"
        )
    if not count:
        raise InputError("X: got no architectures, expected at least one")
    bad = np.flatnonzero(~np.isfinite(labels))
    if len(bad):
        places = ", ".join(map(str, bad[:5]))
        raise InputError(
            f"y: {len(bad)} of {count} labels are not finite numbers (the first at {places}); "
            "leave those architectures out"
        )
    return labels
