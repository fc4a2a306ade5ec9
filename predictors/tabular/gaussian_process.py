"""A Gaussian process with one distance over all features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...basics import Array
from ...errors import InputError
from .contract import PARTS, TabularPredictor, filled
from .threads import on_one_thread


class GaussianProcess(TabularPredictor):
    """A Gaussian process that maximises the marginal likelihood over scales and noise.

    The kernel ``"rbf"`` is a exp(-|x - x'|^2 / (2 l^2)) + noise on standardised features.
    ``"matern"`` is the Matern kernel with nu = 3/2 in its place. ``"wl"`` is the Weisfeiler-Lehman
    subtree kernel + noise: a dot product of counts of neighbourhoods, scaled to unit length.

    Source: Rasmussen and Williams 2006; the kernel of graphs is that of Ru et al., NAS-BOWL, ICLR
    2021.

    Args:
        kernel: see above; ``"wl"`` reads neighbourhoods and ignores ``parts``.
        random_state: the seed of the restarts.
        parts, space, task, inputs, proxies: see ``Ridge``.

    Raises:
        InputError: there is no such kernel.
    """

    def __init__(
        self,
        parts: Sequence[str] = PARTS,
        kernel: str = "rbf",
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.parts = parts
        self.kernel = kernel
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    @property
    def read_parts(self) -> tuple[str, ...]:
        return ("neighbourhoods",) if self.kernel == "wl" else tuple(self.parts)

    @on_one_thread
    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        import warnings

        from sklearn.exceptions import ConvergenceWarning

        process = self._process(self._start(matrix.shape[1]), optimise=True)
        with warnings.catch_warnings():
            # A scale at its bound means a kernel without noise or of only noise. Both are valid.
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(self._kernel_input(matrix), labels)
        self.scales_ = process.kernel_.theta
        self.matrix_, self.labels_ = matrix, labels
        self._fitted: Any = None

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        if getattr(self, "_fitted", None) is None:  # made from fitted attributes, as after loading
            kernel = self._start(self.matrix_.shape[1]).clone_with_theta(self.scales_)
            process = self._process(kernel, optimise=False)
            self._fitted = process.fit(self._kernel_input(self.matrix_), self.labels_)
        mean, std = self._fitted.predict(self._kernel_input(matrix), return_std=True)
        return mean, std

    def _process(self, kernel: Any, optimise: bool) -> Any:
        from sklearn.gaussian_process import GaussianProcessRegressor

        return GaussianProcessRegressor(
            kernel,
            optimizer="fmin_l_bfgs_b" if optimise else None,
            random_state=self.random_state,
        )

    def _start(self, columns: int) -> Any:
        from sklearn.gaussian_process.kernels import (
            RBF,
            ConstantKernel,
            DotProduct,
            Matern,
            WhiteKernel,
        )

        scale, bounds = max(columns, 1) ** 0.5, (0.1, 300.0)
        kernels = {
            "rbf": lambda: RBF(scale, bounds),
            "matern": lambda: Matern(scale, bounds, nu=1.5),
            "wl": lambda: DotProduct(0.0, "fixed"),
        }
        if self.kernel not in kernels:
            raise InputError(f"kernel: got {self.kernel!r}, expected one of {', '.join(kernels)}")
        amplitude = ConstantKernel(1.0, (1e-3, 1e3))
        return amplitude * kernels[self.kernel]() + WhiteKernel(0.1, (1e-4, 2.0))

    def _kernel_input(self, matrix: Array) -> Array:
        table = filled(matrix)
        if self.kernel != "wl":
            return table
        length = np.linalg.norm(table, axis=1, keepdims=True)
        return table / np.where(length > 0, length, 1.0)
