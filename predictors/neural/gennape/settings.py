"""The settings of GENNAPE's heads, and the conversion of older files' arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sklearn.base import clone
from torch import nn

from ....errors import InputError
from ..fuzzy import FuzzyCMeans
from ..pretraining import Pretraining


@dataclass(frozen=True)
class HeadSettings:
    """The form and the training of GENNAPE's heads.

    Args:
        hidden: the width of the hidden layer.
        sizes: whether heads also read parameters, FLOPs, activations and depth (our choice). These
            are what families have most in common.
        pair_loss: the loss of the heads that compare pairs. ``"pairwise_logistic"`` classifies each
            pair; other losses read each graph's mean log odds against its batch.
        references: the number of graphs that the heads of pairs compare a graph with.
        batch_size, learning_rate: settings of the training.

    Raises:
        InputError: a number is below 1.

    Example:
        >>> HeadSettings(hidden=32).references
        64
        >>> HeadSettings(hidden=0)
        Traceback (most recent call last):
            ...
        archrank.errors.InputError: hidden: got 0, expected at least 1
    """

    hidden: int = 64
    sizes: bool = False
    pair_loss: str | nn.Module = "pairwise_logistic"
    references: int = 64
    batch_size: int = 32
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("hidden", "references", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected at least 1")


def settings_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return current arguments of ``GENNAPE`` for those of a file.

    In older files, each setting of heads, clusters and encoder is an argument.

    Example:
        >>> settings_of({"epochs": 10, "hidden": 8, "m": 2.0})["heads"].hidden
        8
    """
    now = dict(arguments)
    own = [field.name for field in fields(HeadSettings)]
    heads = {name: now.pop(name) for name in own if name in now}
    if heads:
        now["heads"] = HeadSettings(**heads)
    m = now.pop("m", 2.0)
    if m != 2.0:
        now["clusters"] = FuzzyCMeans(now["clusters"], m=m)
    how = now.pop("pretraining", None)
    if not now.pop("contrastive", True):
        seed = {name: now[name] for name in ("device", "random_state")}
        how = clone(how or Pretraining(**seed)).set_params(epochs=0)
        now["finetune_encoder"] = True
    if how is not None and now.get("pretrained") is None:
        now["pretrained"] = how
    return now
