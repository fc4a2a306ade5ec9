"""A small graph neural network on cells, trained on labels: for ``encoded_cells.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from archrank.predictors.features.cells import Cell, arcs_of

WIDTH, LAYERS, DROPOUT = 16, 2, 0.1
EPOCHS, RATE, PENALTY = 150, 0.005, 0.05
SLOPE = 2.0  # of the logistic loss of pairs
MEMBERS = 3
COMPONENTS = 8
"""How many principal components of the statistics the head reads."""


class Batch(NamedTuple):
    """The distinct cells of some networks as one graph, and which cells a network has."""

    sources: Tensor
    targets: Tensor
    words: Tensor
    roles: Tensor
    cell_of_node: Tensor
    ends: Tensor
    shares: Tensor
    """(2 networks, cells): of those that keep the resolution, then of those that reduce it."""
    numbers: Tensor
    """(networks, 2): log(1 + how many) of both kinds."""


def steps_of(networks: Sequence[Sequence[Cell]]) -> list[str]:
    """List the words that arcs of cells consist of."""
    found = {cell for cells in networks for cell in cells}
    return sorted({step for cell in found for arc in arcs_of(cell) for step in arc.path.split()})


def batch_of(networks: Sequence[Sequence[Cell]], steps: Sequence[str]) -> Batch:
    """Make one graph of networks' cells; words count known steps and say which is the first."""
    place: dict[Cell, int] = {}
    shares: list[tuple[int, int, float]] = []
    numbers = torch.zeros(len(networks), 2)
    for i, cells in enumerate(networks):
        for reduces in (False, True):
            some = Counter(cell for cell in cells if cell.reduces == reduces)
            numbers[i, int(reduces)] = np.log1p(some.total())
            for cell, count in some.items():
                at = place.setdefault(cell, len(place))
                shares.append((2 * i + reduces, at, count / some.total()))
    sources, targets, words, roles, owners, ends = [], [], [], [], [], []
    for at, cell in enumerate(place):
        arcs = arcs_of(cell)
        end = len(cell.classes) - 1
        nodes = sorted({end, *(n for arc in arcs for n in (arc.source, arc.target))})
        number = {node: len(roles) + i for i, node in enumerate(nodes)}
        ends.append(number[end])
        roles += [min(node, 0) + 2 for node in nodes]
        owners += [at] * len(nodes)
        for arc in arcs:
            sources.append(number[arc.source])
            targets.append(number[arc.target])
            parts = arc.path.split()
            words.append([float(parts.count(s)) for s in steps] + [parts[0] == s for s in steps])
    of = torch.zeros(2 * len(networks), len(place))
    for row, column, share in shares:
        of[row, column] = share
    whole = (torch.tensor(some, dtype=torch.long) for some in (sources, targets))
    return Batch(
        *whole,
        torch.tensor(words, dtype=torch.float32).reshape(len(sources), 2 * len(steps)),
        *(torch.tensor(some, dtype=torch.long) for some in (roles, owners, ends)),
        of,
        numbers,
    )


class CellNetwork(nn.Module):
    """Messages along the arcs of cells, both ways; sizes join at the head."""

    def __init__(self, words: int, sizes: int):
        super().__init__()
        self.roles = nn.Embedding(3, WIDTH)
        self.word = nn.Linear(words, WIDTH)
        self.own, self.forward_, self.backward_ = (
            nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)) for _ in range(3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(LAYERS))
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Sequential(
            nn.Linear(4 * WIDTH + 2 + sizes, 64), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(64, 1)
        )

    def forward(self, batch: Batch, sizes: Tensor) -> Tensor:
        """Predict (networks,)."""
        state = self.roles(batch.roles)
        word = nn.functional.gelu(self.word(batch.words))
        for own, ahead, behind, norm in zip(
            self.own, self.forward_, self.backward_, self.norms, strict=True
        ):
            forward = nn.functional.gelu(ahead(state)[batch.sources] + word)
            backward = nn.functional.gelu(behind(state)[batch.targets] + word)
            new = own(state) + _mean(forward, batch.targets, len(state))
            new = new + _mean(backward, batch.sources, len(state))
            state = state + self.dropout(nn.functional.gelu(norm(new)))
        whole = _mean(state, batch.cell_of_node, len(batch.ends))
        cells = torch.cat([state[batch.ends], whole], dim=1)
        networks = (batch.shares @ cells).reshape(len(sizes), -1)
        read = torch.cat([networks, batch.numbers, self.dropout(sizes)], dim=1)
        predicted: Tensor = self.head(read)[:, 0]
        return predicted


def _mean(values: Tensor, places: Tensor, count: int) -> Tensor:
    total = torch.zeros(count, values.shape[1]).index_add_(0, places, values)
    return total / torch.bincount(places, minlength=count).clamp(min=1)[:, None]


def trained(
    known: Sequence[Sequence[Cell]],
    asked: Sequence[Sequence[Cell]],
    sizes: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray,
) -> np.ndarray:
    """Train a few networks to order labelled ones; return the mean of what they say of others.

    Args:
        known, asked: the cells of labelled networks and of others.
        sizes: standardised statistics of both.
        labels: normal scores.
    """
    steps = steps_of(known)
    learnt, judged = batch_of(known, steps), batch_of(asked, steps)
    mean, spread = learnt.words.mean(dim=0), learnt.words.std(dim=0)
    spread[spread < 1e-6] = torch.inf
    learnt, judged = (b._replace(words=(b.words - mean) / spread) for b in (learnt, judged))
    _, singular, axes = np.linalg.svd(sizes[0], full_matrices=False)
    axes = axes[:COMPONENTS].T / (singular[0] / np.sqrt(len(labels)))
    own, others = (torch.tensor(matrix @ axes, dtype=torch.float32) for matrix in sizes)
    found = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        network = CellNetwork(learnt.words.shape[1], own.shape[1])
        _train(network, learnt, own, torch.tensor(labels, dtype=torch.float32))
        with torch.no_grad():
            scale, said = network(learnt, own), network(judged, others)
        found.append(((said - scale.mean()) / scale.std()).numpy())
    return np.mean(found, axis=0)


def _train(network: CellNetwork, batch: Batch, sizes: Tensor, labels: Tensor) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=PENALTY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=EPOCHS, pct_start=0.15
    )
    ordered = labels[:, None] > labels
    for _ in range(EPOCHS):
        predicted = network(batch, sizes)
        gaps = (predicted[:, None] - predicted)[ordered]
        loss = nn.functional.softplus(-SLOPE * gaps).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    network.eval()
