"""A search space: strings, what can be chosen in them, and the networks that they stand for."""

from typing import Any, ClassVar

from torch import nn

import archrank
from archrank.data import Choice, ChoiceSpace, Signature
from archrank.errors import InputError
from archrank.graphs import Graph

WIDTHS = (8, 16, 32)


class Widths(ChoiceSpace):
    """Three layers of a perceptron on 8x8 digits, each of one of three widths: ``8-16-32``."""

    name = "widths"
    title = "Perceptrons of three widths"
    reference = "an example"
    tasks: ClassVar[dict[str, Signature]] = {"digits": Signature((1, 8, 8), 10)}
    choices = tuple(Choice(f"layer{i}", WIDTHS) for i in range(3))
    size = len(WIDTHS) ** 3

    def parse(self, arch: str) -> tuple[int, ...]:
        parts = arch.split("-")
        if len(parts) != 3 or any(part not in map(str, WIDTHS) for part in parts):
            raise InputError(f"arch: got {arch!r}, expected three of {WIDTHS}, as 8-16-32")
        return tuple(map(int, parts))

    def format(self, values: tuple[Any, ...]) -> str:
        return "-".join(map(str, values))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        width = 64
        for following in self.parse(arch):
            layers += [nn.Linear(width, following), nn.ReLU()]
            width = following
        return nn.Sequential(*layers, nn.Linear(width, task.outputs))

    def graph(self, arch: str, task: str | None = None) -> Graph:
        """Trace the network: it is small, and made of no ``Piece``."""
        return archrank.trace(self.build(arch, task), self.inputs(task, arch))
