"""The hash by which NAS-Bench-101 names cells, and finding cells by it."""

from __future__ import annotations

import json
from itertools import islice, permutations, takewhile
from pathlib import Path

import pandas as pd
import pytest

from archrank.data import space, table
from archrank.data.tables import keys
from archrank.data.tables.cells import nasbench101_10k
from archrank.data.tables.cells.nasbench101_10k import cell_hash, cells_of
from archrank.data.tables.importing import convert
from archrank.data.tables.raw import DamagedFileError, Raw

EDGES = ((0, 1), (0, 2), (1, 3), (2, 3), (2, 4), (3, 4))
LABELS = (-1, 0, 1, 2, -2)


def test_the_order_of_vertices_does_not_matter() -> None:
    code = cell_hash(EDGES, LABELS)
    for order in permutations((1, 2, 3)):
        place = {0: 0, 4: 4, **dict(zip((1, 2, 3), order, strict=True))}
        edges = tuple((place[v], place[t]) for v, t in EDGES)
        labels = [label for _, label in sorted((place[v], LABELS[v]) for v in range(5))]
        assert cell_hash(edges, labels) == code
    assert cell_hash(EDGES, (-1, 0, 2, 1, -2)) != code
    assert cell_hash(EDGES[1:], LABELS) != code


def test_cells_are_found_by_their_hash() -> None:
    ours = cell_hash(EDGES, LABELS)
    found = cells_of([ours])
    assert set(found) == {ours}
    assert cell_hash(*found[ours]) == ours


def test_published_hashes(published: Path) -> None:
    """The compact table's cells have the published hashes and parameters."""
    rows = pd.read_parquet(published / "nasbench101_10k" / "nb101_10k.parquet").sample(60)
    cells = table("nasbench101_10k")
    for row in rows.itertuples():
        size = row.n_vertices
        edges = [divmod(i, size) for i, digit in enumerate(row.adjacency) if digit == "1"]
        assert cell_hash(tuple(edges), (-1, *map(int, row.operations), -2)) == row.module_hash
    named = cells.costs["params"].sample(20, random_state=0)
    for arch, params in named.items():
        # a table made by another enumeration has a few cells with their vertices in another order,
        # and channels that cannot be shared evenly then go elsewhere
        graph = space("nasbench101").graph(str(arch))
        assert graph.params == pytest.approx(params, rel=0.01)


@pytest.mark.slow
def test_cells_of_up_to_six_vertices_and_published_parameters(published: Path) -> None:
    """As many cells as published; the order of vertices found is the one that was trained."""
    codes: dict[str, nasbench101_10k.Cell] = {}
    for cell in takewhile(lambda cell: len(cell[1]) <= 6, nasbench101_10k._cells()):
        codes.setdefault(cell_hash(*cell), cell)
    # The other 359,082 have seven vertices, and would take a minute and a half.
    assert len(codes) == len(space("nasbench101")) - 359_082 == 64_542
    rows = pd.read_parquet(published / "nasbench101_10k" / "nb101_10k.parquet")
    rows = rows[rows.n_vertices <= 6]
    assert set(rows.module_hash) <= set(codes)
    for row in rows.sample(300, random_state=0).itertuples():
        edges, labels = codes[row.module_hash]
        adjacency = nasbench101_10k._adjacency(edges, len(labels))
        arch = keys.nasbench101_digits(adjacency, "".join(map(str, labels[1:-1])))
        assert space("nasbench101").graph(arch).params == row.trainable_parameters


def test_the_public_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = cell_hash(((0, 1), (1, 2), (2, 3)), (-1, 0, 1, -2))
    columns = {
        "trainable_parameters": [11, 12],
        **{f"{n}_final_validation_accuracy": [0.1 * n, 0.2] for n in (4, 12, 36, 108)},
        "final_training_time": [1.5, 2.5],
        "hash": [chain, cell_hash(((0, 1),), (-1, -2))],
    }
    (tmp_path / "data-10k.json").write_text(json.dumps(columns))
    found = convert("nasbench101_10k", Raw(tmp_path))["nb101_10k"]
    assert found["adjacency"].tolist() == ["0100001000010000", "0100"]
    assert found["operations"].tolist() == ["01", ""]
    assert found["n_vertices"].tolist() == [4, 2]
    assert found["val_acc_36"].tolist() == [3.6, 0.2]
    columns["hash"][0] = "f" * 32
    few = list(islice(nasbench101_10k._cells(), 10))
    monkeypatch.setattr(nasbench101_10k, "_cells", lambda: iter(few))  # not all 450,000
    (tmp_path / "data-10k.json").write_text(json.dumps(columns))
    with pytest.raises(DamagedFileError, match="not the hash of a cell"):
        convert("nasbench101_10k", Raw(tmp_path))
