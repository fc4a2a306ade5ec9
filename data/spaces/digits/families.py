"""The ten families and their choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import nn

from ..cells.nasbench201 import EDGES
from ..cells.nasbench201 import OPERATORS as CELL_OPERATORS
from ..contract import Choice, Signature
from .branches import MOTIFS, PATH_OPERATORS, hiaml, inception, two_path
from .chains import cell, dense, inverted, plain, residual
from .tokens import mixer, vit


@dataclass(frozen=True)
class Family:
    """A kind of network, with its choices and the function that builds it from their values."""

    name: str
    choices: tuple[Choice, ...]
    network: Callable[[dict[str, Any], Signature], nn.Module]


def _choices(**options: Sequence[Any]) -> tuple[Choice, ...]:
    return tuple(Choice(name, tuple(values)) for name, values in options.items())


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "cell",
            _choices(
                width=(4, 8, 12),
                depth=(1, 2),
                **{f"e{source}{target}": CELL_OPERATORS for source, target in EDGES},
            ),
            cell,
        ),
        Family(
            "plain",
            _choices(
                width=(4, 8, 16, 24),
                grow=(1, 2),
                depth1=(1, 2, 3),
                depth2=(1, 2, 3),
                kernel=(1, 3, 5),
                norm=("bn", "off"),
                act=("relu", "tanh", "silu"),
            ),
            plain,
        ),
        Family(
            "residual",
            _choices(
                width=(4, 6, 8, 12),
                depth1=(1, 2),
                depth2=(1, 2),
                depth3=(0, 1, 2),
                kernel=(1, 3, 5),
                block=("basic", "bottleneck"),
            ),
            residual,
        ),
        Family(
            "dense",
            _choices(
                growth=(2, 4, 6, 8, 10),
                depth1=(1, 2, 3, 4),
                depth2=(1, 2, 3, 4),
                kernel=(1, 3, 5),
                bottleneck=(0, 1),
            ),
            dense,
        ),
        Family(
            "inverted",
            _choices(
                width=(4, 8, 12),
                depth1=(1, 2),
                depth2=(1, 2),
                expand1=(1, 3, 6),
                expand2=(1, 3, 6),
                kernel1=(1, 3, 5),
                kernel2=(1, 3, 5),
                se=(0, 1),
            ),
            inverted,
        ),
        Family(
            "inception",
            _choices(
                width=(4, 8, 12),
                depth=(1, 2),
                path1=PATH_OPERATORS,
                path2=("off", *PATH_OPERATORS),
                path3=("off", *PATH_OPERATORS),
            ),
            inception,
        ),
        Family(
            "two_path",
            _choices(
                width=(4, 6, 8),
                **{
                    f"{path}{i}": ("off", *PATH_OPERATORS) if i == 2 else PATH_OPERATORS
                    for path, i in product(("left", "right"), (1, 2, 3))
                },
            ),
            two_path,
        ),
        Family(
            "hiaml",
            _choices(width=(4, 8, 12), stage1=MOTIFS, stage2=MOTIFS, stage3=MOTIFS),
            hiaml,
        ),
        Family(
            "vit",
            _choices(
                width=(16, 24, 32, 48),
                patch=(1, 2, 4),
                depth=(1, 2, 3, 4),
                heads=(1, 2, 4),
                ratio=(1, 2, 4),
                positions=(0, 1),
            ),
            vit,
        ),
        Family(
            "mixer",
            _choices(
                width=(8, 16, 32, 48),
                patch=(1, 2, 4),
                depth=(1, 2, 3, 4),
                tokens=(0, 8, 16, 32),
                ratio=(1, 2, 4),
            ),
            mixer,
        ),
    )
}
