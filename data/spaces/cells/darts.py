"""DARTS genotypes: the spaces of DARTS itself and of NAS-Bench-301."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, combinations_with_replacement
from math import comb
from typing import Any, ClassVar

from torch import nn

from ..contract import Choice, ChoiceSpace, Signature, Values
from ..reading import ArchitectureReader
from .genotype_networks import CellWiring, Network

DARTS_OPERATORS = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"),
    *("sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)


def cell_choices(operators: tuple[str, ...], nodes: int, repeats: bool) -> tuple[Choice, ...]:
    pairs = combinations_with_replacement if repeats else combinations
    return tuple(
        choice
        for cell in ("normal", "reduce")
        for node in range(2, 2 + nodes)
        for choice in (
            Choice(f"{cell}{node}.inputs", tuple(pairs(range(node), 2))),
            Choice(f"{cell}{node}.first", operators),
            Choice(f"{cell}{node}.second", operators),
        )
    )


def cells_size(operators: tuple[str, ...], nodes: int, repeats: bool) -> int:
    kinds, size = len(operators), 1
    for node in range(2, 2 + nodes):
        equal = node * comb(kinds + 1, 2) if repeats else 0
        size *= comb(node, 2) * kinds**2 + equal
    return size**2


class GenotypeSpace(ChoiceSpace):
    """``normal:|op~input|op~input|+|..|..|+... reduce:...``: two cells, two operators per node.

    Inputs 0 and 1 are the outputs of the cell before last and of the last cell, and 2 is the first
    node. A node's operators are in the order of their inputs.
    """

    operators: ClassVar[tuple[str, ...]] = DARTS_OPERATORS
    nodes: ClassVar[int] = 4
    repeats: ClassVar[bool] = False
    loose_ends: ClassVar[bool] = False
    width: ClassVar[int]
    layers: ClassVar[int]

    def _read_cell(self, reader: ArchitectureReader) -> list[Any]:
        found: list[Any] = []
        for node in range(2, 2 + self.nodes):
            if node > 2:
                reader.expect("+")
            start = reader.position
            reader.expect("|")
            edges = []
            for _ in range(2):
                name = reader.one_of(self.operators)
                reader.expect("~")
                edges.append((reader.integer(range(node)), name))
                reader.expect("|")
            edges.sort()
            if edges[0][0] == edges[1][0] and not self.repeats:
                reader.fail("a node with two different inputs", start)
            found += [(edges[0][0], edges[1][0]), edges[0][1], edges[1][1]]
        return found

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values = self._read_cells(reader)
        reader.end()
        return tuple(values)

    def _read_cells(self, reader: ArchitectureReader) -> list[Any]:
        reader.expect("normal:")
        values = self._read_cell(reader)
        reader.expect(" reduce:")
        return values + self._read_cell(reader)

    def wirings(self, values: Values) -> tuple[CellWiring, CellWiring]:
        """Return the normal and the reduction cell."""
        triples = list(zip(*[iter(values)] * 3, strict=True))
        nodes = tuple(
            tuple(sorted(((one, i), (two, j)), key=lambda edge: (edge[1], edge[0])))
            for (i, j), one, two in triples
        )
        return nodes[: self.nodes], nodes[self.nodes :]  # type: ignore[return-value]

    def format(self, values: Values) -> str:
        cells = (
            "+".join("|" + "".join(f"{name}~{i}|" for name, i in node) for node in cell)
            for cell in self.wirings(values)
        )
        return "normal:{} reduce:{}".format(*cells)

    def _concat(self, cell: CellWiring) -> tuple[int, ...]:
        nodes = range(2, 2 + len(cell))
        used = {source for node in cell for _, source in node} if self.loose_ends else set()
        return tuple(i for i in nodes if i not in used)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        return self._network(self.parse(arch), task, self.width, self.layers)

    def _network(
        self, values: Values, task: Signature, width: int, layers: int, **options: bool
    ) -> nn.Module:
        normal, reduce = self.wirings(values)
        cells = (normal, self._concat(normal)), (reduce, self._concat(reduce))
        return Network(cells[0], cells[1], task, width, layers, **options)


CIFAR10 = Signature((3, 32, 32), 10)


class DARTS(GenotypeSpace):
    """DARTS' evaluation networks: width 36 and 20 cells; 48 and 14 for ImageNet.

    Example:
        >>> from archrank.data import space
        >>> len(space("darts").graph(space("darts").sample(1, seed=0)[0]).parameter_names) > 300
        True
    """

    name = "darts"
    title = "DARTS"
    reference = "Liu et al., DARTS, ICLR 2019"
    tasks: ClassVar[Mapping[str, Signature]] = {
        "cifar10": CIFAR10,
        "cifar100": Signature((3, 32, 32), 100),
        "imagenet": Signature((3, 224, 224), 1000),
    }
    width, layers = 36, 20
    choices = cell_choices(DARTS_OPERATORS, 4, False)
    size = cells_size(DARTS_OPERATORS, 4, False)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = self.parse(arch)
        if name == "imagenet":
            return self._network(values, task, 48, 14, imagenet=True)
        return self._network(values, task, self.width, self.layers)


class NASBench301(GenotypeSpace):
    """Width 32 and eight cells, as NAS-Bench-301 trains them.

    The other tasks are the networks of the zero-cost study (NAS-Bench-Suite-Zero): norms inside
    the cells' operators have no weights, and pools are followed by one.

    Example:
        >>> from archrank.data import space
        >>> nb301 = space("nasbench301")
        >>> cell = "|sep_conv_3x3~0|sep_conv_3x3~1|+" * 3 + "|sep_conv_3x3~0|skip_connect~1|"
        >>> nb301.graph(f"normal:{cell} reduce:{cell}").params
        1400682
    """

    name = "nasbench301"
    title = "NAS-Bench-301"
    reference = "Zela et al., Surrogate NAS benchmarks, ICLR 2022"
    tasks: ClassVar[Mapping[str, Signature]] = {
        "cifar10": CIFAR10,
        "cifar10-zerocost": CIFAR10,
        "svhn": CIFAR10,
        "scifar100": Signature((3, 60, 60), 100),
        "ninapro": Signature((1, 32, 32), 18),
    }
    width, layers = 32, 8
    choices = cell_choices(DARTS_OPERATORS, 4, False)
    size = cells_size(DARTS_OPERATORS, 4, False)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        study = name != "cifar10"
        values = self.parse(arch)
        return self._network(
            values, task, self.width, self.layers, affine=not study, pool_norm=study
        )
