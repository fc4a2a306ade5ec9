"""Correlations, eigenvalues and their entropy, and spectral norms, on a matrix's smaller side."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ScoreError

_DENSE = 256  # up to this size all singular values cost no more than the largest by steps
_PRECISION = torch.finfo(torch.float32).eps  # of what is recorded, in the usual type
_CONVERGED = 1e-9  # residual of a Ritz pair, relative to its value


def is_finite(values: Tensor) -> bool:
    """Return whether all values are numbers, neither NaN nor infinite."""
    # The sum is one quick look at all values, but finite ones may overflow in it.
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def finite(values: Tensor, what: str) -> Tensor:
    """Return the values unchanged if they are finite.

    Raises:
        ScoreError: ``what`` holds NaN or infinities, for which a solver would only report that it
            did not converge.
    """
    if not is_finite(values):
        raise ScoreError(f"{what} are not finite", "non-finite")
    return values


def eigenvalues(symmetric: Tensor, what: str) -> Tensor:
    """Return the eigenvalues of a symmetric matrix of ``what``, ascending, in float64."""
    values: Tensor = torch.linalg.eigvalsh(finite(symmetric.double(), what))
    return values


def of_rank(values: Tensor, size: int) -> Tensor:
    """Return singular values or eigenvalues of a matrix, those that are rounding set to zero.

    Notes:
        Golub and Van Loan, Matrix Computations, section 5.4.1: a value below the precision of the
        entries, times the larger side of the matrix, in the largest value is zero. The precision is
        that of float32 in any type, so that a network has the same rank in all.

    Example:
        >>> of_rank(torch.tensor([1e-8, 1e-3, 1.0]), 10).tolist()
        [0.0, 0.0010000000474974513, 1.0]
    """
    return torch.where(values > _PRECISION * size * values.max(), values, 0)


def gram(rows: Tensor) -> Tensor:
    """Return the smaller of ``rows^T rows`` and ``rows rows^T``, for rows (R, C).

    Both have the same eigenvalues except for zeros, and so the same trace and norm.

    Example:
        >>> gram(torch.ones(2, 3)).tolist()
        [[3.0, 3.0], [3.0, 3.0]]
    """
    return rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows


def standardised(rows: Tensor) -> Tensor:
    """Return columns without their mean and of norm 1, of which products are correlations.

    A constant column, whose correlation is undefined, becomes 0.
    """
    centred = rows - rows.mean(dim=0)
    norms = centred.norm(dim=0)
    constant = norms <= 4 * torch.finfo(rows.dtype).eps * rows.norm(dim=0)
    return torch.where(constant, torch.zeros_like(centred), centred / norms)


def correlation(rows: Tensor) -> Tensor:
    """Return the correlation (C, C) of columns; what is undefined is 0."""
    columns = standardised(rows)
    return columns.T @ columns


def entropy(values: Tensor) -> Tensor:
    """Return the Shannon entropy, in nats, of non-negative float64 values divided by their sum.

    Example:
        >>> round(float(entropy(torch.tensor([2.0, 2.0, 0.0]).double())), 4)
        0.6931
    """
    shares = values / values.sum().clamp_min(1e-300)
    return -(shares * torch.log(shares.clamp_min(1e-300))).sum()


def spectral_norm(left: Tensor, right: Tensor, what: str) -> float:
    """Return the largest singular value of ``left^T right``, for (R, C) and (R, D) of ``what``.

    A matrix with more columns than rows is replaced by the triangle of its QR decomposition, which
    has as many columns as rows: a product with an orthonormal matrix keeps singular values. The
    remaining product is at most (min(R, C), min(R, D)). Beyond a certain size, its largest singular
    value is found by Lanczos's method, with a relative error of 1e-6.

    Raises:
        ScoreError: the product is not finite.

    Example:
        >>> spectral_norm(torch.eye(2), torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, -4.0]]), "ours")
        4.0
    """
    product = finite(_narrow(left).T @ _narrow(right), what).double()
    if min(product.shape) <= _DENSE:
        squares = torch.linalg.eigvalsh(gram(product))
        return float(squares[-1].clamp_min(0).sqrt())
    return _lanczos(product)


def _narrow(matrix: Tensor) -> Tensor:
    """Return at most as many columns as rows, whose products with themselves are the same."""
    if matrix.shape[1] <= len(matrix):
        return matrix
    triangle: Tensor = torch.linalg.qr(matrix.T, mode="r").R
    return triangle.T


def _lanczos(matrix: Tensor) -> float:
    """Return the largest singular value by Lanczos's method on the Gram matrix, in float64.

    Notes:
        Golub and Van Loan, Matrix Computations, section 10.1, orthogonalised in full. The start is
        drawn by a fixed seed. That a Ritz pair's residual is small says that there is an eigenvalue
        near, not that it is the largest; the residual asked for is so small that the start would
        have to be all but orthogonal to the largest's vector to miss it by more than 1e-6.
    """
    if len(matrix) < matrix.shape[1]:
        matrix = matrix.T
    size = matrix.shape[1]
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector = (start / start.norm()).to(matrix.device)
    basis = matrix.new_zeros(0, size)
    squares = matrix.new_zeros(size, size)  # tridiagonal: the Gram matrix in the basis
    for step in range(size):
        basis = torch.cat((basis, vector[None]))
        image = matrix.T @ (matrix @ vector)
        squares[step, step] = image @ vector
        for _ in range(2):  # once leaves rounding of the first
            image = image - basis.T @ (basis @ image)
        length = image.norm()
        values, vectors = torch.linalg.eigh(squares[: step + 1, : step + 1])
        if float(length * vectors[-1, -1].abs()) <= _CONVERGED * float(values[-1]):
            break
        vector = image / length
        if step + 1 < size:
            squares[step, step + 1] = squares[step + 1, step] = length
    return float(values[-1].clamp_min(0).sqrt())
