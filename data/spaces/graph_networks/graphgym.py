"""GraphGym: designs of graph neural networks for tasks on nodes, graphs and links."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tables.graph_networks.graphgym import MADE_UP
from ..contract import Choice, MadeUpSpace, Signature, Values, product_size
from ..reading import ArchitectureReader
from .graphgym_networks import Design, GraphGymNetwork, Setting, parameters, width_of
from .made_up import NODES, made_up_graph

_RECIPE = re.compile(r"@[A-Za-z0-9.-]+")
_GRAPHS, _LINKS = 8, 32  # in inputs()
SETTINGS: dict[str, Setting] = {
    "cora": Setting("node", 1433, 7),
    "citeseer": Setting("node", 3703, 6),
    "computers": Setting("node", 767, 10),
    "photo": Setting("node", 745, 8),
    "cs": Setting("node", 6805, 15),
    "physics": Setting("node", 8415, 5),
    "bzr": Setting("graph", 53, 1),
    "cox2": Setting("graph", 35, 1),
    "dd": Setting("graph", 89, 1),
    "enzymes": Setting("graph", 3, 6),
    "imdb": Setting("graph", 1, 3),
    "proteins": Setting("graph", 3, 1),
    **{
        f"{data}-{feature}-{label}": Setting("graph" if label == "path" else "node", 11, 5, 11)
        for data in ("scalefree", "smallworld")
        for feature, label in MADE_UP
    },
    "cora-link": Setting("link", 1433, 1),
    "citeseer-link": Setting("link", 3703, 1),
}
"""Features and outputs of each task, according to published counts; those of links are our
choice."""


def binary_loss(output: Tensor, targets: Tensor) -> Tensor:
    """Compute the binary cross-entropy."""
    return F.binary_cross_entropy_with_logits(output.squeeze(-1), targets.to(output.dtype))


class GraphGym(MadeUpSpace):
    """``pre2-mp4-post1-skipsum-add-bn-prelu-drop0``: layers before, passing messages and behind,
    skips, aggregation over neighbours, norm, activation and dropout.

    A recipe may follow, such as ``@adam-lr0.01-b32-e399``; it says how a figure was made and
    changes nothing of the network. Networks take features of nodes and edges of shape (2, n); for
    tasks on graphs also the graph of each node, for links also the two nodes of each. They are
    always built with real weights on the CPU, since their layers read which edges there are.

    Notes:
        Widths are chosen so that all designs have about as many weights (`width_of`); the counts
        are those of all published rows. The published networks for made-up graphs have eleven
        features whatever is said of them. What networks for links look like is our choice.

    Example:
        >>> from archrank.data import space
        >>> space("graphgym").params("pre1-mp2-post2-skipconcat-add-bn-prelu-drop0", "computers")
        217256
    """

    name = "graphgym"
    title = "GraphGym"
    reference = "You et al., Design space for graph neural networks, NeurIPS 2020"
    tasks: ClassVar[dict[str, Signature]] = {
        name: Signature((setting.features,), setting.outputs) for name, setting in SETTINGS.items()
    }
    choices = (
        Choice("before", (1, 2, 3)),
        Choice("passing", (2, 4, 6, 8)),
        Choice("behind", (1, 2, 3)),
        Choice("stage", ("stack", "skipsum", "skipconcat")),
        Choice("aggregation", ("add", "mean", "max")),
        Choice("norm", ("bn", "plain")),
        Choice("activation", ("relu", "prelu", "swish")),
        Choice("dropout", ("0", "0.3", "0.6")),
    )
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values: list[Any] = []
        for mark, choice in zip(
            ("pre", "-mp", "-post", "-", "-", "-", "-", "-drop"), self.choices, strict=True
        ):
            reader.expect(mark)
            if isinstance(choice.options[0], int):
                values.append(reader.digit(choice.options))
            else:
                values.append(reader.one_of(choice.options))
        if reader.peek("@"):
            reader.match(_RECIPE, "a recipe")
        reader.end()
        return tuple(values)

    def format(self, values: Values) -> str:
        before, passing, behind, *rest, dropout = values
        return f"pre{before}-mp{passing}-post{behind}-{'-'.join(rest)}-drop{dropout}"

    def design(self, arch: str) -> Design:
        """Return the design that an architecture string describes."""
        before, passing, behind, stage, aggregation, norm, activation, dropout = self.parse(arch)
        return Design(
            *(before, passing, behind, stage, aggregation, norm == "bn", activation),
            dropout=float(dropout),
        )

    def params(self, arch: str, task: str | None = None) -> int:
        """Count the network's parameters, by formula."""
        self.task(task)
        design, setting = self.design(arch), SETTINGS[task or next(iter(self.tasks))]
        return parameters(design, setting, width_of(design, setting.width_features))

    def inputs(self, task: str | None = None, arch: str | None = None) -> tuple[Tensor, ...]:
        """Make features and edges of made-up graphs of 64 nodes, always the same.

        One graph for tasks on nodes and links, eight for tasks on graphs.
        """
        self.task(task)
        setting = SETTINGS[task or next(iter(self.tasks))]
        x, edges = made_up_graph(setting.features, _GRAPHS if setting.kind == "graph" else 1)
        with torch.device("cpu"):
            if setting.kind == "graph":
                return x, edges, torch.arange(NODES) // (NODES // _GRAPHS)
            if setting.kind == "link":
                nodes = torch.arange(_LINKS)
                return x, edges, torch.stack([nodes, NODES - 1 - nodes])
        return x, edges

    def made_up(
        self, n: int, generator: torch.Generator, task: str | None, arch: str | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the made-up graphs of ``inputs`` and random targets of all nodes, graphs or links;
        ``n`` has no effect."""
        inputs, outputs = self.inputs(task, arch), self.task(task).outputs
        kind = SETTINGS[task or next(iter(self.tasks))].kind
        many = {"node": NODES, "graph": _GRAPHS, "link": _LINKS}[kind]
        return inputs, torch.randint(max(outputs, 2), (many,), generator=generator)

    def loss(self, task: str | None = None) -> Callable[[Any, Any], Tensor] | None:
        """Compute the cross-entropy of classes, or of yes or no."""
        return binary_loss if self.task(task).outputs == 1 else None

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        with torch.device("cpu"):
            return GraphGymNetwork(self.design(arch), SETTINGS[name])
