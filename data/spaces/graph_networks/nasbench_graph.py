"""NAS-Bench-Graph: graph neural networks of four computing nodes, for nine data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...tables.keys import GRAPH_LINKS as LINKS
from ...tables.keys import GRAPH_OPERATORS as OPERATORS
from ..contract import Choice, MadeUpSpace, Signature, Values, product_size
from ..reading import ArchitectureReader
from .made_up import NODES, made_up_graph


@dataclass(frozen=True)
class Setting:
    """The common settings of a data set's networks: sizes, and the linear layers around the
    nodes."""

    features: int
    classes: int
    width: int
    before: bool
    behind: bool


SETTINGS = {
    "cora": Setting(1433, 7, 256, False, True),
    "citeseer": Setting(3703, 6, 256, False, True),
    "pubmed": Setting(500, 3, 128, False, False),
    "cs": Setting(6805, 15, 128, True, False),
    "physics": Setting(8415, 5, 256, True, False),
    "photo": Setting(745, 8, 128, False, False),
    "computers": Setting(767, 10, 64, True, True),
    "arxiv": Setting(128, 40, 128, False, True),
    "proteins": Setting(8, 112, 256, True, True),
}


def leaves(links: tuple[int, ...]) -> list[int]:
    """Return the nodes that no other node takes as its input, counted from 1."""
    return [node for node in range(1, len(links) + 1) if node not in links]


def _operator(name: str, c_in: int, c_out: int) -> nn.Module:
    from torch_geometric import nn as layers  # takes seconds

    if name == "gat":
        found = layers.GATConv(c_in, c_out // 2, heads=2)
    elif name == "gin":
        found = layers.GINConv(nn.Linear(c_in, c_out))
    elif name == "cheb":
        found = layers.ChebConv(c_in, c_out, K=2)
    elif name == "fc":
        found = nn.Linear(c_in, c_out)
    elif name == "skip":
        found = nn.Identity()
    else:
        kinds = {"gcn": "GCNConv", "sage": "SAGEConv", "arma": "ARMAConv", "graph": "GraphConv"}
        found = getattr(layers, kinds[name])(c_in, c_out)
    return found  # type: ignore[no-any-return]


class Node(nn.Module):
    """An operator, norm and ReLU; a skip is its input, the norm that it has is not used."""

    def __init__(self, name: str, c_in: int, c_out: int):
        super().__init__()
        self.name = name
        self.operator = _operator(name, c_in, c_out)
        self.norm = nn.BatchNorm1d(c_out)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        if self.name == "skip":
            return x
        y = self.operator(x) if self.name == "fc" else self.operator(x, edges)
        return torch.relu(self.norm(y))


class GraphNetwork(nn.Module):
    """Features of all nodes and their edges in, scores of classes for every node out."""

    def __init__(self, links: tuple[int, ...], operators: tuple[str, ...], setting: Setting):
        super().__init__()
        width = setting.width
        self.links, self.leaves = links, leaves(links)
        self.before = nn.Linear(setting.features, width) if setting.before else None
        widths = [width if setting.before else setting.features]
        nodes = []
        for source, name in zip(links, operators, strict=True):
            nodes.append(Node(name, widths[source], width))
            widths.append(widths[source] if name == "skip" else width)
        self.nodes = nn.ModuleList(nodes)
        joined = sum(widths[leaf] for leaf in self.leaves)
        self.behind = nn.Linear(joined, width) if setting.behind else None
        self.classifier = nn.Linear(width if setting.behind else joined, setting.classes)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        values = [x if self.before is None else torch.relu(self.before(x))]
        for source, node in zip(self.links, self.nodes, strict=True):
            values.append(node(values[source], edges))
        y = torch.cat([values[leaf] for leaf in self.leaves], -1)
        if self.behind is not None:
            y = torch.relu(self.behind(y))
        return self.classifier(y)  # type: ignore[no-any-return]


class NASBenchGraph(MadeUpSpace):
    """The input of each of four nodes, then their operators: ``0,0,1,2:gcn,gat,skip,fc``.

    Networks take (features of nodes, edges of shape (2, n)). Which weights there are is known from
    published counts; the order of norm and activation, and that it is ReLU, is our choice. The
    layers read which edges there are, not only how many: networks are always built with real
    weights on the CPU.

    The table's ``para`` is a mean of three runs, and not all runs were alike: of 1,567 rows of
    ``physics`` it is the count of no network. In 1,478 of these, one run of the three had width 128
    and no layer before the nodes; the other 89 we cannot explain.

    Example:
        >>> from archrank.data import space
        >>> space("nasbench_graph").params("0,1,2,3:gcn,gcn,gcn,gcn", "cora")
        634119
    """

    name = "nasbench_graph"
    title = "NAS-Bench-Graph"
    reference = "Qin et al., NAS-Bench-Graph, NeurIPS 2022"
    tasks: ClassVar[dict[str, Signature]] = {
        name: Signature((setting.features,), setting.classes) for name, setting in SETTINGS.items()
    }
    choices = (Choice("links", LINKS), *(Choice(f"node{i}", OPERATORS) for i in range(1, 5)))
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        links: tuple[int, ...] = ()
        for i in range(4):
            if i:
                reader.expect(",")
            known = dict.fromkeys(pattern[i] for pattern in LINKS if pattern[:i] == links)
            links = (*links, reader.digit(known))
        operators: list[str] = []
        for mark in ":,,,":
            reader.expect(mark)
            operators.append(reader.one_of(OPERATORS))
        reader.end()
        return (links, *operators)

    def format(self, values: Values) -> str:
        links, *operators = values
        return f"{','.join(map(str, links))}:{','.join(operators)}"

    def __iter__(self) -> Iterator[str]:
        return map(self.format, product(LINKS, *[OPERATORS] * 4))

    def canonical(self, arch: str) -> str:
        """Return the form that the table has of all isomorphic networks: 27,938 in all.

        The order of nodes is free; skips move before everything else, except that one which is a
        leaf beside others stays. The 26,206 of them that do not hand the input straight to the
        output are those of the table.
        """
        return _first_of_network()[_wiring(self.parse(arch))]

    def params(self, arch: str, task: str | None = None) -> int:
        """Count the network's parameters, by formula; the table's ``para``, in millions."""
        self.task(task)
        links, *operators = self.parse(arch)
        return count(links, tuple(operators), SETTINGS[task or next(iter(self.tasks))])

    def inputs(self, task: str | None = None, arch: str | None = None) -> tuple[Tensor, Tensor]:
        """Make features and edges of a made-up graph of 64 nodes, always the same.

        A ring and 64 random chords, every edge in both directions, none from a node to itself.
        """
        return made_up_graph(self.task(task).inputs[0])

    def made_up(
        self, n: int, generator: torch.Generator, task: str | None, arch: str | None
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the made-up graph of ``inputs``, whose 64 nodes are the samples, and random
        classes; ``n`` has no effect."""
        targets = torch.randint(self.task(task).outputs, (NODES,), generator=generator)
        return self.inputs(task, arch), targets

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        links, *operators = self.parse(arch)
        with torch.device("cpu"):
            return GraphNetwork(links, tuple(operators), SETTINGS[name])


def count(links: tuple[int, ...], operators: tuple[str, ...], setting: Setting) -> int:
    """Count the parameters of a ``GraphNetwork``, by formula."""
    width = setting.width
    total = (setting.features + 1) * width if setting.before else 0
    widths = [width if setting.before else setting.features]
    for source, name in zip(links, operators, strict=True):
        total += _weights(name, widths[source], width) + 2 * width
        widths.append(widths[source] if name == "skip" else width)
    joined = sum(widths[leaf] for leaf in leaves(links))
    if setting.behind:
        total, joined = total + (joined + 1) * width, width
    return total + (joined + 1) * setting.classes


def _weights(name: str, c_in: int, c_out: int) -> int:
    if name == "skip":
        return 0
    matrices = 2 if name in ("sage", "graph", "cheb", "arma") else 1
    extra = {"gat": 2 * c_out, "arma": c_out**2}.get(name, 0)
    return matrices * c_in * c_out + c_out + extra


def _wiring(values: Values) -> str:
    """Return the network's output as an expression, without skips that are not leaves."""
    links, *operators = values

    def behind(node: int) -> list[str]:
        """Return the expressions of all nodes that take this node as their input."""
        followers = [i for i, source in enumerate(links, 1) if source == node]
        return sorted(text for i in followers for text in expressions(i))

    def expressions(node: int) -> list[str]:
        found, name = behind(node), operators[node - 1]
        if name == "skip":
            return found or ["skip"]
        return [f"{name}({'' if found == ['skip'] else ' '.join(found)})"]

    return " ".join(behind(0))


def _leading_skips(values: Values) -> int:
    """Return the number of consecutive skips between the input and everything else."""
    links, *operators = values
    count = 0
    while count < 4 and operators[count] == "skip" and links[count:].count(count) == 1:
        count += 1
    return count


@cache
def _first_of_network() -> dict[str, str]:
    space = NASBenchGraph()
    found: dict[str, tuple[int, Values]] = {}
    for values in product(LINKS, *[OPERATORS] * 4):
        wiring, skips = _wiring(values), _leading_skips(values)
        if wiring not in found or skips > found[wiring][0]:
            found[wiring] = (skips, values)
    return {wiring: space.format(values) for wiring, (_, values) in found.items()}
