"""The part ``scores`` of the ablations: proxies per node of the cells that ``parzc`` reads."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import archrank
from archrank.data import space
from archrank.files import written_whole
from archrank.graphs import Graph
from archrank.predictors.neural.learning.run import digest
from archrank.predictors.neural.learning.seeds import seeded
from predictors import Pool

NODE_PROXIES = ("grad_norm", "snip", "synflow")
IMAGES, CHUNK = 16, 50


def score_cells(pool: Pool, folder: Path, share: tuple[int, int]) -> None:
    """Write the values per node of every cell of a pool; equal cells are scored once."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {str(cell): one.graph for cell, one in zip(pool.canonical, pool.plain, strict=True)}
    cells = list(graphs)
    images = space("nasbench201").batch(IMAGES, seed=0, source="cifar10")
    chunks = [cells[i : i + CHUNK] for i in range(0, len(cells), CHUNK)][share[0] :: share[1]]
    for number, chunk in enumerate(chunks, 1):
        path = folder / f"{digest(chunk, NODE_PROXIES, IMAGES)}.npz"
        if path.exists():
            continue
        start = time.perf_counter()
        values = [node_scores(cell, graphs[cell], images) for cell in chunk]
        seconds = time.perf_counter() - start
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                cells=np.array(chunk),
                sizes=np.array([table.shape[1] for table in values]),
                values=np.concatenate(values, axis=1),
                seconds=np.array(seconds),
            )
        print(f"{number} of {len(chunks)}: {seconds / len(chunk):.2f} s a cell", flush=True)


def node_scores(cell: str, graph: Graph, images: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
    """Compute the values (proxies, nodes) of a cell's network, initialised with seed 0."""
    with seeded(0):
        network = space("nasbench201").build(cell)
    scores = archrank.score(network, *images, proxies=NODE_PROXIES, graph=graph)
    return np.stack([scores.nodes(name) for name in NODE_PROXIES])


def with_node_scores(pool: Pool, folder: Path) -> Pool:
    """Return the same pool with what ``score_cells`` wrote."""
    known: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            tables = np.split(file["values"], np.cumsum(file["sizes"])[:-1], axis=1)
            known |= zip(file["cells"].tolist(), tables, strict=True)
    lacking = set(pool.canonical.tolist()) - set(known)
    if lacking:
        raise SystemExit(f"{len(lacking)} cells have no scores in {folder}: run the part 'scores'")
    plain = [
        replace(sample, node_scores=dict(zip(NODE_PROXIES, known[cell], strict=True)))
        for sample, cell in zip(pool.plain, pool.canonical.tolist(), strict=True)
    ]
    return replace(pool, plain=plain)
