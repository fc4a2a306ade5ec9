"""Transformers whose layers each choose heads and the width of their perceptron."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from ..contract import Choice, ChoiceSpace, Values
from ..reading import ArchitectureReader


class LayeredSpace(ChoiceSpace):
    """A space of choices for the whole network, then its depth, then heads and ratio of each layer.

    Layers beyond the depth have no effect.

    Attributes:
        depths, heads, ratios: the options; each number from the first depth to the last is one.
        mark: the text between heads and ratio in architecture strings.
    """

    depths: ClassVar[tuple[int, ...]]
    heads: ClassVar[tuple[int, ...]]
    ratios: ClassVar[tuple[Any, ...]]
    mark: ClassVar[str]

    @classmethod
    def choose(cls, *whole: Choice) -> None:
        """Set the choices and the size, given the choices for the whole network."""
        layers = (
            choice
            for i in range(cls.depths[-1])
            for choice in (Choice(f"heads{i}", cls.heads), Choice(f"ratio{i}", cls.ratios))
        )
        cls.choices = (*whole, Choice("layers", cls.depths), *layers)
        each = len(cls.heads) * len(cls.ratios)
        cls.size = prod(len(c.options) for c in whole) * sum(each**depth for depth in cls.depths)

    @property
    def _first(self) -> int:
        """The place of the first layer among the choices."""
        return len(self.choices) - 2 * self.depths[-1]

    def layers(self, values: Values) -> list[tuple[int, Any]]:
        """Return the heads and the MLP ratio of every active layer."""
        own = values[self._first :]
        return list(zip(own[::2], own[1::2], strict=True))[: values[self._first - 1]]

    def active(self, values: Values) -> list[bool]:
        depth: int = values[self._first - 1]
        return [True] * (self._first + 2 * depth) + [False] * 2 * (self.depths[-1] - depth)

    def read_layers(self, reader: ArchitectureReader) -> Values:
        """Read the layers, which end the string; return the depth and the choices of all layers."""
        ratio = reader.one_of if isinstance(self.ratios[0], str) else reader.integer
        layers: list[Any] = []
        while not layers or reader.take(","):
            if len(layers) == 2 * self.depths[-1]:
                reader.fail(f"at most {self.depths[-1]} layers", reader.position - 1)
            reader.expect("h")
            layers.append(reader.integer(self.heads))
            reader.expect(self.mark)
            layers.append(ratio(self.ratios))
        depth = len(layers) // 2
        if depth < self.depths[0]:
            reader.fail(f"',' and more layers: at least {self.depths[0]}")
        reader.end()
        return (depth, *layers, *(self.heads[0], self.ratios[0]) * (self.depths[-1] - depth))

    def format_layers(self, values: Values) -> str:
        """Return the text of the active layers."""
        return ",".join(f"h{heads}{self.mark}{ratio}" for heads, ratio in self.layers(values))
