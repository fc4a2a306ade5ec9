"""The models of timm as a search space, written ``name.recipe@size``."""

from __future__ import annotations

import random
import re
from functools import cache, partial
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ...errors import MissingExtraError, did_you_mean
from ...graphs import Graph, trace
from ...vision import import_vision
from .contract import Signature, Space
from .reading import ArchitectureReader

_NAME = re.compile(r"[A-Za-z0-9_]+")
_RECIPE = re.compile(r"[A-Za-z0-9_]+")
_SIZES = (128, 160, 192, 224, 256, 288, 320, 384)


class ImageNetZoo(Space):
    """Models of timm by name, at the height and width of images that follows an ``@``.

    A recipe before it (``resnet50.a1_in1k@224``) is timm's pretrained tag. It names the training of
    published weights and does not change the network. The default size is the model's own. Networks
    that take only one size (``vit_base_patch16_224``) are made for the given size.

    Notes:
        The models depend on the installed timm. A random architecture is any model at its own size,
        without a recipe. Neighbours are the other models of the same module, and the same model at
        other sizes if it takes any size.

    Example:
        >>> from archrank.data import space
        >>> zoo = space("imagenet_zoo")  # doctest: +SKIP
        >>> zoo.normalise("resnet18"), zoo.graph("resnet18.a1_in1k@288").params  # doctest: +SKIP
        ('resnet18@224', 11689512)
    """

    name = "imagenet_zoo"
    title = "ImageNet models of timm"
    reference = "Wightman, PyTorch Image Models, 2019"
    tasks: ClassVar[dict[str, Signature]] = {"imagenet": Signature((3, 224, 224), 1000)}

    def parse(self, arch: str) -> tuple[str, str, int]:
        """Return the model's name, the recipe or an empty string, and the size of its images."""
        reader = ArchitectureReader(arch, self.name)
        name = reader.match(_NAME, "a model of timm")
        if name not in models():
            hint = did_you_mean(name, list(models()))
            reader.fail(f"a model of timm; {hint}timm.list_models() lists them", 0)
        recipe = reader.match(_RECIPE, "the name of a recipe") if reader.take(".") else ""
        size = reader.integer(range(16, 2049)) if reader.take("@") else _own_size(name)
        reader.end()
        return name, recipe, size

    def normalise(self, arch: str) -> str:
        return _format(*self.parse(arch))

    def canonical(self, arch: str) -> str:
        """Drop the recipe, which does not change the network."""
        name, _, size = self.parse(arch)
        return _format(name, "", size)

    def draw(self, rng: random.Random) -> str:
        name = rng.choice(list(models()))
        return _format(name, "", _own_size(name))

    def neighbours(self, arch: str) -> list[str]:
        name, recipe, size = self.parse(arch)
        relatives = _timm().list_models(module=models()[name])
        found = {_format(other, recipe, _own_size(other)): None for other in relatives}
        if not _takes_one_size(name):
            found |= {_format(name, recipe, other): None for other in _SIZES}
        found.pop(_format(name, recipe, size), None)
        return list(found)

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return the one-hot model, in timm's order, then the size in units of 224."""
        name, _, size = self.parse(arch)
        code = np.zeros(len(models()) + 1, dtype=np.float32)
        code[list(models()).index(name)] = 1
        code[-1] = size / 224
        return code

    def inputs(self, task: str | None = None, arch: str | None = None) -> Any:
        shape = self.task(task).inputs
        if arch is None:
            return shape
        size = self.parse(arch)[2]
        return (*shape[:1], size, size)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        """Build the model, on the meta device if that is the default and timm supports it."""
        model, _, size = self.parse(arch)
        options: dict[str, Any] = {"img_size": size} if _takes_one_size(model) else {}
        options |= {"pretrained": False, "num_classes": task.outputs}
        make = partial(_timm().create_model, model, **options)
        device = torch.get_default_device()
        try:
            network: nn.Module = make()
        except (RuntimeError, NotImplementedError):
            if device.type != "meta":
                raise
            with torch.device("cpu"):  # its constructor reads values
                network = make().to(device)
        return network

    def graph(self, arch: str, task: str | None = None) -> Graph:
        """Make the graph of ``build(arch, task)`` on the meta device, without drawing weights."""
        with torch.device("meta"):
            network = self.build(arch, task)
        return trace(network, self.inputs(task, arch))


def _format(name: str, recipe: str, size: int) -> str:
    return f"{name}{'.' if recipe else ''}{recipe}@{size}"


def _timm() -> ModuleType:
    try:
        return import_vision("timm")
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingExtraError("The space imagenet_zoo", "timm", "zoo", error) from error


@cache
def models() -> dict[str, str]:
    """List every model's name, and the module of timm that holds it.

    Raises:
        MissingExtraError: timm cannot be imported.
    """
    timm = _timm()
    return {
        name: module for module in timm.list_modules() for name in timm.list_models(module=module)
    }


def _facts(name: str) -> Any:
    return _timm().get_pretrained_cfg(name)


def _own_size(name: str) -> int:
    return int(_facts(name).input_size[-1])


def _takes_one_size(name: str) -> bool:
    return bool(_facts(name).fixed_input_size)
