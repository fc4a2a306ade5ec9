"""The embedded benchmark's space: ten families of small networks for 8x8 digits.

Networks are small enough to train in seconds on one CPU core. The families differ as published
families do (cells, plain, residual, dense, inverted residual, inception-like, two-path, HiAML-like,
ViT, mixer). The families are fixed, since the labels in ``data/digits`` belong to exactly these
networks.

Notes:
    All of this is our choice.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

from torch import nn

from ..cells.nasbench201 import EDGES, NASBench201
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader
from .families import FAMILIES, Family


class Digits(ChoiceSpace):
    """Ten families of small networks for 8x8 digits, written ``family:name=value,...``.

    Example:
        >>> from archrank.data import space
        >>> digits = space("digits")
        >>> arch = "plain:width=8,grow=2,depth1=1,depth2=1,kernel=3,norm=bn,act=relu"
        >>> digits.graph(arch).params, digits.graph(arch).product_flops
        (1442, 23200)
    """

    name = "digits"
    title = "Ten families of small networks for 8x8 digits"
    reference = "our choice"
    tasks: ClassVar[dict[str, Signature]] = {"digits": Signature((1, 8, 8), 10)}
    choices = (
        Choice("family", tuple(FAMILIES)),
        *(
            Choice(f"{family.name}.{choice.name}", choice.options)
            for family in FAMILIES.values()
            for choice in family.choices
        ),
    )
    size = sum(product_size(family.choices) for family in FAMILIES.values())

    def active(self, values: Values) -> list[bool]:
        return [
            choice.name == "family" or choice.name.startswith(f"{values[0]}.")
            for choice in self.choices
        ]

    def _span(self, family: Family) -> slice:
        first = [choice.name for choice in self.choices].index(
            f"{family.name}.{family.choices[0].name}"
        )
        return slice(first, first + len(family.choices))

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        family = FAMILIES[reader.one_of(FAMILIES)]
        own: list[Any] = []
        for i, choice in enumerate(family.choices):
            reader.expect("," if i else ":")
            reader.expect(f"{choice.name}=")
            if isinstance(choice.options[0], int):
                own.append(reader.integer(choice.options))
            else:
                own.append(reader.one_of(choice.options))
        reader.end()
        values: list[Any] = [family.name, *[None] * (len(self.choices) - 1)]
        values[self._span(family)] = own
        return tuple(values)

    def format(self, values: Values) -> str:
        family = FAMILIES[values[0]]
        own = zip(family.choices, values[self._span(family)], strict=True)
        return f"{family.name}:" + ",".join(f"{choice.name}={value}" for choice, value in own)

    def draw(self, rng: random.Random) -> str:
        """Draw a family, then its choices, each uniformly."""
        return self.draw_from(rng.choice(tuple(FAMILIES)), rng)

    def draw_from(self, family: str, rng: random.Random) -> str:
        """Draw one random architecture of a family."""
        values: list[Any] = [family, *[None] * (len(self.choices) - 1)]
        kind = FAMILIES[family]
        values[self._span(kind)] = [rng.choice(choice.options) for choice in kind.choices]
        return self.format(tuple(values))

    def neighbours(self, arch: str) -> list[str]:
        """Return every architecture of the same family that differs in one choice."""
        family = self.values(arch)[0]
        return [other for other in super().neighbours(arch) if self.values(other)[0] == family]

    def canonical(self, arch: str) -> str:
        """Return one string for all cells of the same function, and for two paths in either
        order."""
        values = list(self.values(arch))
        family = FAMILIES[values[0]]
        span = self._span(family)
        own = dict(zip([c.name for c in family.choices], values[span], strict=True))
        if family.name == "cell":
            cells = NASBench201()
            names = [f"e{source}{target}" for source, target in EDGES]
            same = cells.canonical(cells.format(tuple(own[name] for name in names)))
            own.update(zip(names, cells.parse(same), strict=True))
        if family.name == "two_path":
            sides = sorted([own[f"{side}{i}"] for i in (1, 2, 3)] for side in ("left", "right"))
            for side, names in zip(("left", "right"), sides, strict=True):
                own.update({f"{side}{i}": name for i, name in zip((1, 2, 3), names, strict=True)})
        values[span] = own.values()
        return self.format(tuple(values))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = self.values(arch)
        family = FAMILIES[values[0]]
        names = [choice.name for choice in family.choices]
        return family.network(dict(zip(names, values[self._span(family)], strict=True)), task)
