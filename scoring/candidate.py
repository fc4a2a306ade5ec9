"""Candidates, which are networks to rank that are not built yet, and their simplest builders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import InputError

if TYPE_CHECKING:
    from ..data import Space


class Builder(ABC):
    """A builder of one network that another process can recognise."""

    says_its_input = False
    """Whether the network states its input once it is built."""
    only_builds = False
    """Whether it only builds, so that it may be called again, also on the meta device."""

    @property
    @abstractmethod
    def identity(self) -> tuple[str, str]:
        """The origin of the network and its name there."""

    @abstractmethod
    def __call__(self) -> nn.Module: ...

    def input_of(self, model: nn.Module) -> Any:
        """Return the input of the built network; None if it is unknown."""
        return said_by(model)


def said_by(model: nn.Module) -> tuple[int, ...] | None:
    """Return the input shape in a model's configuration, as in timm; None if it has none."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return tuple(config["input_size"]) if "input_size" in config else None


@dataclass(frozen=True)
class Candidate:
    """A network to rank that is not built yet.

    Attributes:
        name: in the table.
        build: makes the module.
        rebuilds: whether every call makes a new module with new weights.
        inputs: its own default input, None if it has none.
    """

    name: str
    build: Callable[[], nn.Module]
    rebuilds: bool = True
    inputs: Any = None

    def built(self) -> nn.Module:
        """Build the network.

        Raises:
            InputError: the builder returned something other than a module. Builders may raise any
                other error.
        """
        model = self.build()
        if not isinstance(model, nn.Module):
            parts = model if isinstance(model, (tuple, list)) else ()
            among = any(isinstance(part, nn.Module) for part in parts)
            raise InputError(
                f"candidates: {self.name!r} built a {type(model).__name__}, expected a "
                "torch.nn.Module" + ("; return the network alone" if among else "")
            )
        return model

    def built_without_weights(self) -> nn.Module | None:
        """Build the network on the meta device, which holds shapes and no values.

        Return None unless the builder is known to do nothing else. A user's own function or file
        may do anything, and is called only once.
        """
        if not isinstance(self.build, Builder) or not self.build.only_builds:
            return None
        with torch.device("meta"):
            return self.built()

    @property
    def says_its_input(self) -> bool:
        """Whether the input is known now or, as for models of timm, once the network is built."""
        return self.inputs is not None or (
            isinstance(self.build, Builder) and self.build.says_its_input
        )

    def inputs_for(self, model: nn.Module, given: Any = None) -> Any:
        """Return the given input, or else that of the candidate, or else that of the model.

        Raises:
            InputError: no input is known.
        """
        if given is not None:
            return given
        if self.inputs is not None:
            return self.inputs
        build = self.build
        said = build.input_of(model) if isinstance(build, Builder) else said_by(model)
        if said is not None:
            return said
        raise InputError(f"inputs: {self.name!r} does not say its input; pass one")

    @property
    def network(self) -> str:
        """A text that is equal for candidates known, while unbuilt, to be the same network."""
        if not isinstance(self.build, FromSpace):
            return self.name
        build = self.build
        return f"{build.home.name}:{build.home.canonical(build.arch)}:{build.task}"

    @property
    def identity(self) -> tuple[str, str] | None:
        """The origin of the network and its name there, which identify it in later runs.

        None for modules and callables of this process, which another process cannot identify.
        """
        return self.build.identity if isinstance(self.build, Builder) else None


@dataclass(frozen=True)
class Given:
    """A builder that returns an existing module."""

    module: nn.Module

    def __call__(self) -> nn.Module:
        return self.module


@dataclass(frozen=True)
class FromSpace(Builder):
    """A builder of one architecture of a search space, which is given by name or as an object."""

    space: str | Space
    arch: str
    task: str | None

    @property
    def identity(self) -> tuple[str, str]:
        """The space and the architecture."""
        return self.home.name, self.arch

    @property
    def home(self) -> Space:
        """The space itself."""
        if not isinstance(self.space, str):
            return self.space
        from ..data import space

        return space(self.space)

    def __call__(self) -> nn.Module:
        return self.home.build(self.arch, self.task)


def in_space(space: str | Space, arch: str, task: str | None) -> Candidate:
    """Return the candidate for an architecture of a space, named as it is written."""
    return Candidate(arch, FromSpace(space, arch, task))
