"""The cell spaces of NDS: five lists of operators, with a choice of width and depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from ..contract import Choice, Signature, Values
from ..reading import ArchitectureReader
from .darts import CIFAR10, DARTS_OPERATORS, GenotypeSpace, cell_choices, cells_size

_WIDTHS, _DEPTHS = (16, 24, 32), (4, 8, 12, 16, 20)
_SIZES = (Choice("width", _WIDTHS), Choice("depth", _DEPTHS))


class NDSSpace(GenotypeSpace):
    """A cell space of NDS: ``w16 d8 normal:... reduce:...``, width and number of cells first.

    The ranges of width and depth are recalled from the paper and were not checked against data.
    """

    repeats = True
    tasks: ClassVar[Mapping[str, Signature]] = {
        "cifar10": CIFAR10,
        "imagenet": Signature((3, 224, 224), 1000),
    }
    reference = "Radosavovic et al., On network design spaces, ICCV 2019"

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        reader.expect("w")
        width = reader.integer(_WIDTHS)
        reader.expect(" d")
        depth = reader.integer(_DEPTHS)
        reader.expect(" ")
        values = self._read_cells(reader)
        reader.end()
        return (width, depth, *values)

    def format(self, values: Values) -> str:
        return f"w{values[0]} d{values[1]} {super().format(values[2:])}"

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        width, depth, *values = self.parse(arch)
        return self._network(tuple(values), task, width, depth, imagenet=name == "imagenet")


def _nds_size(operators: tuple[str, ...], nodes: int) -> int:
    return len(_WIDTHS) * len(_DEPTHS) * cells_size(operators, nodes, True)


class NDSNASNet(NDSSpace):
    """NDS, NASNet's operators."""

    name, title = "nds_nasnet", "NDS: NASNet cells"
    operators = (
        *("skip_connect", "conv_3x1_1x3", "conv_7x1_1x7", "dil_conv_3x3", "avg_pool_3x3"),
        *("max_pool_3x3", "max_pool_5x5", "max_pool_7x7", "conv_1x1", "conv_3x3"),
        *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
    )
    nodes, loose_ends = 5, True
    choices = (*_SIZES, *cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSAmoeba(NDSSpace):
    """NDS, AmoebaNet's operators."""

    name, title = "nds_amoeba", "NDS: AmoebaNet cells"
    operators = (
        *("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "avg_pool_3x3"),
        *("max_pool_3x3", "dil_sep_conv_3x3", "conv_7x1_1x7"),
    )
    nodes, loose_ends = 5, True
    choices = (*_SIZES, *cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSPNAS(NDSSpace):
    """NDS, PNAS' operators; the output holds all nodes."""

    name, title = "nds_pnas", "NDS: PNAS cells"
    operators = (
        *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "conv_7x1_1x7", "skip_connect"),
        *("avg_pool_3x3", "max_pool_3x3", "dil_conv_3x3"),
    )
    nodes = 5
    choices = (*_SIZES, *cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSENAS(NDSSpace):
    """NDS, ENAS' operators."""

    name, title = "nds_enas", "NDS: ENAS cells"
    operators = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
    nodes, loose_ends = 5, True
    choices = (*_SIZES, *cell_choices(operators, 5, True))
    size = _nds_size(operators, 5)


class NDSDARTS(NDSSpace):
    """NDS, DARTS' operators with ``none``; the output holds all nodes."""

    name, title = "nds_darts", "NDS: DARTS cells"
    operators = ("none", *DARTS_OPERATORS)
    choices = (*_SIZES, *cell_choices(operators, 4, True))
    size = _nds_size(operators, 4)
