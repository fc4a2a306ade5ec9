"""NAS-Bench-101: 10,000 original cells, a slice of the published order and so a fair sample.

What is published names each cell by the benchmark's hash alone. The cells are found again by
hashing all 423,624 that there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, product
from typing import Any

import pandas as pd

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group
from ..raw import DamagedFileError, Raw

_EPOCHS = (108, 36, 12, 4)
_LARGEST, _MOST_EDGES, _OPERATORS = 7, 9, 3
_INPUT, _OUTPUT = -1, -2  # what the hash knows them by

Edges = tuple[tuple[int, int], ...]
Cell = tuple[Edges, tuple[int, ...]]

TABLE = Published(
    "NAS-Bench-101: 10,000 cells, a fair sample",
    "nasbench101",
    {
        "main": Part(
            *("nasbench101_10k/nb101_10k", ("adjacency", "operations"), keys.nasbench101_digits)
        )
    },
    tasks=tuple(
        Task(
            "cifar10" if epochs == 108 else f"cifar10@{epochs}",
            "validation accuracy of one training, fraction",
            epochs=epochs,
            column=f"val_acc_{epochs}",
            again=("cifar10@36",) if epochs == 108 else (),
        )
        for epochs in _EPOCHS
    ),
    costs=(group("main", "trainable_parameters", "params"),),
    hardware=(group("main", "train_seconds", unit="s, of 108 epochs"),),
    definitions={"params": PARAMS},
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the figures, and find the cell of each hash: minutes.

    Raises:
        DamagedFileError: a hash is of no cell.
    """
    columns: dict[str, list[Any]] = raw.json("data-10k.json")
    (hashes,) = (values for values in columns.values() if isinstance(values[0], str))
    known = cells_of(hashes)
    lost = [code for code in hashes if code not in known]
    if lost:
        raise DamagedFileError(
            f"data-10k.json: {lost[0]!r} is not the hash of a cell; get the file again"
        )
    sizes = [len(known[code][1]) for code in hashes]
    found = pd.DataFrame({"module_hash": hashes, "n_vertices": sizes})
    found["adjacency"] = [_adjacency(known[code][0], len(known[code][1])) for code in hashes]
    found["operations"] = ["".join(map(str, known[code][1][1:-1])) for code in hashes]
    found["trainable_parameters"] = columns["trainable_parameters"]
    for epochs in reversed(_EPOCHS):
        found[f"val_acc_{epochs}"] = columns[f"{epochs}_final_validation_accuracy"]
    return {"nb101_10k": found.assign(train_seconds=columns["final_training_time"])}


def cells_of(hashes: Collection[str]) -> dict[str, Cell]:
    """Find the cell of each hash: its edges, and what its vertices do. Hashes of none are left out.

    Example:
        >>> code = cell_hash(((0, 1), (1, 2)), (-1, 1, -2))
        >>> cells_of([code])[code]
        (((0, 1), (1, 2)), (-1, 1, -2))
    """
    wanted = set(hashes)
    found: dict[str, Cell] = {}
    for edges, labels in _cells():
        if len(found) == len(wanted):
            break
        code = cell_hash(edges, labels)
        if code in wanted:
            found.setdefault(code, (edges, labels))
    return found


def cell_hash(edges: Edges, labels: Sequence[int]) -> str:
    """Hash a cell as the benchmark does: equal for cells that differ in the order of vertices.

    Each vertex begins with its numbers of edges and its label, and takes in the hashes of its
    neighbours as often as there are vertices.

    Args:
        edges: pairs of vertices.
        labels: of each vertex: -1 input, -2 output, 0 conv3x3, 1 conv1x1, 2 maxpool3x3.

    Source: Ying et al., NAS-Bench-101, ICML 2019, appendix S1.
    """
    size = len(labels)
    before = [[v for v, t in edges if t == vertex] for vertex in range(size)]
    after = [[t for v, t in edges if v == vertex] for vertex in range(size)]
    hashes = [
        _md5(str((len(after[vertex]), len(before[vertex]), labels[vertex])))
        for vertex in range(size)
    ]
    for _ in range(size):
        hashes = [
            _md5(
                "".join(sorted(hashes[v] for v in before[vertex]))
                + f"|{''.join(sorted(hashes[t] for t in after[vertex]))}|{hashes[vertex]}"
            )
            for vertex in range(size)
        ]
    return _md5(str(sorted(hashes)))


def _cells() -> Iterator[Cell]:
    """List every cell at least once, first in the order of vertices that was trained.

    The order matters a little: channels that cannot be shared evenly go to the first vertices.
    """
    for size in range(2, _LARGEST + 1):
        wirings: dict[str, Edges] = {}
        for edges in sorted(_wirings(size), key=_number):
            wirings.setdefault(cell_hash(edges, (_INPUT, *[0] * (size - 2), _OUTPUT)), edges)
        for edges in wirings.values():
            for operators in product(range(_OPERATORS), repeat=size - 2):
                yield edges, (_INPUT, *operators, _OUTPUT)


def _number(edges: Edges) -> int:
    """Return a wiring's place in the benchmark's list: a bit for each edge, column by column."""
    return sum(1 << v + t * (t - 1) // 2 for v, t in edges)


def _wirings(size: int) -> Iterator[Edges]:
    """List all sets of forward edges by which every vertex is between input and output."""
    pairs = list(combinations(range(size), 2))
    for count in range(size - 1, _MOST_EDGES + 1):
        for edges in combinations(pairs, count):
            if len({v for v, _ in edges}) == len({t for _, t in edges}) == size - 1:
                yield edges


def _adjacency(edges: Edges, size: int) -> str:
    return "".join(str(int((v, t) in edges)) for v in range(size) for t in range(size))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


SET = DataSet(
    name="nasbench101_10k",
    title="NAS-Bench-101: 10,000 of the 423,624 cells, a fair sample",
    licence="none stated by the source; the original is Apache-2.0",
    files=(File("nb101_10k", 10_000, ("adjacency", "operations", "val_acc_108")),),
    tables={"nasbench101_10k": TABLE},
    read=read,
    notes="One training of each length per cell. 36 against 108 epochs say how noisy they are.",
)
