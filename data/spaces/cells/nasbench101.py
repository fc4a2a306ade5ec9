"""NAS-Bench-101's cells, which EC-NAS trains too."""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import permutations
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import PooledLinear
from ..contract import Signature, Space
from ..reading import ArchitectureReader

OPERATORS = ("conv3x3", "conv1x1", "maxpool3x3")
MOST_VERTICES, MOST_EDGES = 7, 9

Matrix = tuple[tuple[int, ...], ...]
Cell101 = tuple[Matrix, tuple[str, ...]]
"""The upper triangular adjacency of all vertices, and the operators of the inner vertices."""


class Unit(Piece):
    """Convolution, norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, momentum=0.003)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Cut(Piece):
    """The first channels."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.width]


def vertex_channels(matrix: Matrix, c_in: int, c_out: int) -> list[int]:
    """Count the channels of every vertex; vertices that feed the output share its channels.

    Source: Ying et al., NAS-Bench-101, ICML 2019 (released code).
    """
    n = len(matrix)
    channels = [c_in, *[0] * (n - 2), c_out]
    feeding = [v for v in range(1, n - 1) if matrix[v][n - 1]]
    for i, v in enumerate(feeding):
        channels[v] = c_out // len(feeding) + (i < c_out % len(feeding))
    for v in range(n - 3, 0, -1):
        if not matrix[v][n - 1]:
            channels[v] = max(channels[t] for t in range(v + 1, n - 1) if matrix[v][t])
    return channels


class Cell(Piece):
    """One cell: vertices sum cut inputs, the output is their concat plus a projected input."""

    def __init__(self, matrix: Matrix, operators: tuple[str, ...], c_in: int, c_out: int):
        super().__init__()
        self.matrix = matrix
        n = len(matrix)
        channels = vertex_channels(matrix, c_in, c_out)
        self.projections = nn.ModuleDict()
        self.cuts = nn.ModuleDict()
        self.operators = nn.ModuleList()
        for t in range(1, n):
            if matrix[0][t]:
                self.projections[str(t)] = Unit(c_in, channels[t], 1)
            if t == n - 1:
                break
            for v in range(1, t):
                if matrix[v][t] and channels[v] > channels[t]:
                    self.cuts[f"{v}-{t}"] = Cut(channels[t])
            name, width = operators[t - 1], channels[t]
            self.operators.append(
                nn.MaxPool2d(3, 1, 1) if name == "maxpool3x3" else Unit(width, width, int(name[-1]))
            )

    def forward(self, x: Tensor) -> Tensor:
        n = len(self.matrix)
        values = [x]
        for t in range(1, n - 1):
            terms = [
                self.cuts[f"{v}-{t}"](values[v]) if f"{v}-{t}" in self.cuts else values[v]
                for v in range(1, t)
                if self.matrix[v][t]
            ]
            if self.matrix[0][t]:
                terms.append(self.projections[str(t)](x))
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            values.append(self.operators[t - 1](total))
        inner = [values[v] for v in range(1, n - 1) if self.matrix[v][n - 1]]
        if not inner:
            return self.projections[str(n - 1)](x)  # type: ignore[no-any-return]
        out = inner[0] if len(inner) == 1 else torch.cat(inner, 1)
        if self.matrix[0][n - 1]:
            out = out + self.projections[str(n - 1)](x)
        return out


class NASBench101(Space):
    """``rows:operators``: adjacency rows joined by ``/``, operators of inner vertices joined by
    ``,``.

    There are at most seven vertices and nine edges after pruning. Pruning drops vertices that the
    input does not reach or that do not reach the output. ``size`` is the published number of
    different graphs. There are more strings, since vertices may be in other orders.

    Example:
        >>> from archrank.data import space
        >>> nb101 = space("nasbench101")
        >>> nb101.graph("01/00:").params
        882570
        >>> nb101.canonical("0110/0001/0001/0000:conv3x3,conv1x1")
        '0110/0001/0001/0000:conv1x1,conv3x3'
    """

    name = "nasbench101"
    title = "NAS-Bench-101, EC-NAS"
    reference = "Ying et al., NAS-Bench-101, ICML 2019; Bakhtiarifard et al., EC-NAS, ICASSP 2024"
    tasks: ClassVar[dict[str, Signature]] = {"cifar10": Signature((3, 32, 32), 10)}
    size = 423_624

    def parse(self, arch: str) -> Cell101:
        """Return the pruned cell."""
        reader = ArchitectureReader(arch, self.name)
        rows: list[tuple[int, ...]] = []
        while not rows or reader.take("/"):
            start, row = reader.position, list[int]()
            while not (reader.peek("/") or reader.peek(":")):
                if len(row) == MOST_VERTICES:
                    reader.fail("at most seven vertices")
                row.append(reader.digit((0, 1)))
                if row[-1] and len(row) <= len(rows) + 1:
                    reader.fail("0: edges go from earlier to later vertices", reader.position - 1)
            if len(row) != len(rows[0] if rows else row) or len(row) < 2:
                reader.fail("rows of equal length, two to seven digits", start)
            rows.append(tuple(row))
        if len(rows) != len(rows[0]):
            reader.fail(f"{len(rows[0])} rows, not {len(rows)}")
        reader.expect(":")
        operators = []
        for i in range(len(rows) - 2):
            if i:
                reader.expect(",")
            operators.append(reader.one_of(OPERATORS))
        reader.end()
        pruned = prune((tuple(rows), tuple(operators)))
        if pruned is None:
            reader.fail("a path from the first to the last vertex", 0)
        if sum(map(sum, pruned[0])) > MOST_EDGES:
            reader.fail(f"at most {MOST_EDGES} edges", 0)
        return pruned

    def format(self, cell: Cell101) -> str:
        """Return the architecture string of a cell."""
        return "/".join("".join(map(str, row)) for row in cell[0]) + ":" + ",".join(cell[1])

    def normalise(self, arch: str) -> str:
        return self.format(self.parse(arch))

    def canonical(self, arch: str) -> str:
        """Return the alphabetically first string over all orders of the vertices."""
        return self.format(_first_order(self.parse(arch)))

    def draw(self, rng: random.Random) -> str:
        """Draw as the benchmark does: uniform matrices of seven vertices until one is valid."""
        n = MOST_VERTICES
        while True:
            matrix = tuple(
                tuple(rng.randint(0, 1) if t > v else 0 for t in range(n)) for v in range(n)
            )
            pruned = prune((matrix, tuple(rng.choice(OPERATORS) for _ in range(n - 2))))
            if pruned is not None and sum(map(sum, pruned[0])) <= MOST_EDGES:
                return self.format(pruned)

    def neighbours(self, arch: str) -> list[str]:
        """Add or remove one edge, or change one operator."""
        matrix, operators = self.parse(arch)
        n = len(matrix)
        found: dict[str, None] = {}
        for v in range(n):
            for t in range(v + 1, n):
                rows = [list(row) for row in matrix]
                rows[v][t] = 1 - rows[v][t]
                pruned = prune((tuple(map(tuple, rows)), operators))
                if pruned is not None and sum(map(sum, pruned[0])) <= MOST_EDGES:
                    found[self.format(pruned)] = None
        for i in range(len(operators)):
            for name in OPERATORS:
                changed = (*operators[:i], name, *operators[i + 1 :])
                found[self.format((matrix, changed))] = None
        found.pop(self.format((matrix, operators)), None)
        return list(found)

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return the 21 possible edges, then one-hot operators, where the output is the last
        vertex."""
        matrix, operators = self.parse(arch)
        n = len(matrix)
        place = [*range(n - 1), MOST_VERTICES - 1]
        edges = np.zeros((MOST_VERTICES, MOST_VERTICES), np.float32)
        for v in range(n):
            for t in range(n):
                edges[place[v], place[t]] = matrix[v][t]
        kinds = np.zeros((MOST_VERTICES - 2, len(OPERATORS)), np.float32)
        for i, name in enumerate(operators):
            kinds[i, OPERATORS.index(name)] = 1
        return np.concatenate([edges[np.triu_indices(MOST_VERTICES, 1)], kinds.ravel()])

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        matrix, operators = self.parse(arch)
        width = 128
        layers: list[nn.Module] = [Unit(task.inputs[0], width, 3)]
        c_in = width
        for stack in range(3):
            if stack:
                layers.append(nn.MaxPool2d(2, 2))
                width *= 2
            for _ in range(3):
                layers.append(Cell(matrix, operators, c_in, width))
                c_in = width
        return nn.Sequential(*layers, PooledLinear(width, task.outputs))


def prune(cell: Cell101) -> Cell101 | None:
    """Drop vertices that are on no path from input to output; return None without such a path."""
    matrix, operators = cell
    n = len(matrix)
    ahead, back = {0}, {n - 1}
    for v in range(n):
        if v in ahead:
            ahead.update(t for t in range(v + 1, n) if matrix[v][t])
    for v in reversed(range(n)):
        if any(matrix[v][t] and t in back for t in range(v + 1, n)):
            back.add(v)
    kept = sorted(ahead & back)
    if 0 not in kept or n - 1 not in kept:
        return None
    rows = tuple(tuple(matrix[v][t] for t in kept) for v in kept)
    return rows, tuple(operators[v - 1] for v in kept[1:-1])


@lru_cache(maxsize=100_000)
def _first_order(cell: Cell101) -> Cell101:
    matrix, operators = cell
    n = len(matrix)
    best: Cell101 | None = None
    for order in permutations(range(1, n - 1)):
        place = (0, *order, n - 1)
        # Only orders in which every edge goes forwards are valid.
        if any(matrix[place[t]][place[v]] for v in range(n) for t in range(v + 1, n)):
            continue
        rows = tuple(tuple(matrix[v][t] for t in place) for v in place)
        found = rows, tuple(operators[v - 1] for v in order)
        if best is None or found < best:
            best = found
    assert best is not None
    return best
