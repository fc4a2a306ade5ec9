"""The checks that every predictor must pass, including predictors of other packages."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from ..errors import InputError
from ..graphs import Graph, trace
from ..metrics import kendall
from .contract import Predictor


def check_predictor(
    predictor: Predictor, X: Sequence[Any] | None = None, y: Sequence[float] | None = None
) -> None:
    """Raise an AssertionError that says what is wrong if a predictor violates the contract.

    Args:
        predictor: a predictor that is not fitted; it stays unfitted.
        X: at least 8 architectures to try the predictor on; by default 16 small networks.
        y: their labels; by default the logarithms of their numbers of parameters.

    Example:
        >>> from archrank.predictors import Ridge
        >>> check_predictor(Ridge(parts=("statistics",)))
    """
    if X is None:
        X = small_graphs()
        y = [float(np.log(graph.params)) for graph in X]
    assert y is not None, "y: pass labels with X"
    labels = np.asarray(y, dtype=np.float64)
    for check in (
        _arguments,
        _unfitted,
        _fitting,
        _predictions,
        _labels,
        _little,
        _files,
        _pickles,
    ):
        check(clone(predictor), list(X), labels)


def small_graphs() -> list[Graph]:
    """Return graphs of 16 networks: 1 to 4 convolutions, four widths, some with a skip."""
    from torch import Tensor, nn

    class Net(nn.Module):
        def __init__(self, width: int, depth: int):
            super().__init__()
            self.stem = nn.Conv2d(3, width, 3, padding=1)
            self.blocks = nn.ModuleList(
                nn.Conv2d(width, width, 1 + 2 * (i % 2), padding=i % 2) for i in range(depth)
            )
            self.head = nn.Linear(width, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for block in self.blocks:
                x = x + block(x.relu()) if len(self.blocks) % 2 else block(x.relu())
            output: Tensor = self.head(x.mean(dim=(2, 3)))
            return output

    return [trace(Net(w, d), (3, 8, 8)) for w in (4, 8, 12, 16) for d in (1, 2, 3, 4)]


def _raises(error: type[Exception], call: Callable[[], Any], what: str) -> None:
    said = None
    try:
        call()
    except error as raised:
        said = str(raised)
    assert said is not None, f"{what}: expected {error.__name__}, nothing was raised"
    assert said, f"{what}: {error.__name__} without a message"


def _same(values: Any, others: Any) -> bool:
    """Tell whether values are equal up to rounding.

    Sums in libraries depend on where in memory an array begins.
    """
    return np.allclose(values, others, rtol=1e-6, atol=1e-6 * float(np.abs(others).max()))


def _arguments(predictor: Predictor, X: list[Any], y: Any) -> None:
    params = predictor.get_params(deep=False)
    again = type(predictor)(**params).get_params(deep=False)
    for name, value in params.items():
        assert again[name] is value, f"the constructor changes its argument {name}"
    assert not [n for n in vars(predictor) if n.endswith("_")], "it learns in its constructor"


def _unfitted(predictor: Predictor, X: list[Any], y: Any) -> None:
    _raises(NotFittedError, lambda: predictor.predict(X), "predict before fit")


def _fitting(predictor: Predictor, X: list[Any], y: Any) -> None:
    before = predictor.get_params(deep=False)
    given = y.copy()
    assert predictor.fit(X, y) is predictor, "fit does not return self"
    assert (y == given).all(), "fit changes the labels"
    for name, value in predictor.get_params(deep=False).items():
        assert value is before[name], f"fit changes the argument {name}"
    first = predictor.predict(X)
    assert _same(predictor.fit(X, y).predict(X), first), "fitting again gives another"
    assert _same(clone(predictor).fit(X, y).predict(X), first), "a clone gives another"


def _predictions(predictor: Predictor, X: list[Any], y: Any) -> None:
    predictor.fit(X, y)
    predicted = predictor.predict(X)
    assert predicted.shape == (len(X),), f"predict gives shape {predicted.shape}"
    assert np.isfinite(predicted).all(), "predict gives values that are not finite"
    scale = float(np.abs(predicted).max()) * 1e-4
    backwards = predictor.predict(X[::-1])[::-1]
    assert np.allclose(backwards, predicted, atol=scale), "predictions depend on the order"
    alone = np.concatenate([predictor.predict([item]) for item in X[:3]])
    assert np.allclose(alone, predicted[:3], atol=scale), "predictions depend on the others"
    assert predictor.predict([]).shape == (0,), "no architectures give no empty array"
    assert predictor.score(X, y) == kendall(predicted, y), "score is not Kendall's tau"
    if not predictor.gives_std:
        _raises(InputError, lambda: predictor.predict(X, return_std=True), "no gives_std")
        return
    mean, std = predictor.predict(X, return_std=True)
    assert _same(mean, predicted), "return_std changes the predictions"
    assert std.shape == mean.shape, f"return_std gives shape {std.shape}"
    assert (std >= 0).all(), "return_std gives negative deviations"


def _labels(predictor: Predictor, X: list[Any], y: Any) -> None:
    for wrong in (np.nan, np.inf, -np.inf):
        spoilt = y.copy()
        spoilt[1] = wrong
        _raises(InputError, partial(predictor.fit, X, spoilt), f"a label {wrong}")
    _raises(InputError, lambda: predictor.fit(X, y[:-1]), "fewer labels")
    _raises(InputError, lambda: predictor.fit(X, np.stack([y, y])), "labels of two dimensions")
    _raises(InputError, lambda: predictor.fit(X, ["high"] * len(X)), "labels that are words")
    _raises(InputError, lambda: predictor.fit([], []), "nothing to learn from")
    _raises(InputError, lambda: predictor.fit(X[0], y), "one architecture instead of a sequence")
    constant = predictor.fit(X, np.full(len(X), 0.7)).predict(X)
    assert np.allclose(constant, 0.7), "constant labels are not predicted as such"


def _little(predictor: Predictor, X: list[Any], y: Any) -> None:
    one = predictor.fit(X[:1], y[:1]).predict(X)
    assert np.allclose(one, y[0]), "one label is not predicted everywhere"
    assert np.isfinite(predictor.fit(X[:3], y[:3]).predict(X)).all(), "three labels fail"
    twice = predictor.fit([*X, *X], np.concatenate([y, y + 1.0])).predict(X)
    assert np.isfinite(twice).all(), "equal architectures with unlike labels fail"


def _files(predictor: Predictor, X: list[Any], y: Any) -> None:
    predictor.fit(X, y)
    predicted = predictor.predict(X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        predictor.save(path)
        predictor.save(path)  # again, over itself
        loaded = type(predictor).load(path)
        assert _same(loaded.predict(X), predicted), "what was saved predicts otherwise"
        assert not [f for f in path.iterdir() if f.suffix in (".pkl", ".pt")], "it was pickled"
        facts = path / "predictor.json"
        text = facts.read_text()
        newer = {**json.loads(text), "format": 10**6}
        for damaged in (text[: len(text) // 2], "{}", json.dumps(newer)):
            facts.write_text(damaged)
            _raises(InputError, lambda: type(predictor).load(path), "a damaged file")
        facts.write_text(text)
        arrays = path / "arrays.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-7])
        _raises(InputError, lambda: type(predictor).load(path), "a file cut short")
        _raises(InputError, lambda: type(predictor).load(path / "none"), "no file")


def _pickles(predictor: Predictor, X: list[Any], y: Any) -> None:
    predictor.fit(X, y)
    copy = pickle.loads(pickle.dumps(predictor))
    assert _same(copy.predict(X), predictor.predict(X)), "a pickled copy gives another"
