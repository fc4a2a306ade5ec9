"""Models of timm and torchvision by name, with random weights; nothing is downloaded."""

from __future__ import annotations

import ast
import fnmatch
import inspect
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import nn

from ..errors import InputError, MissingExtraError, did_you_mean
from ..vision import import_vision
from .candidate import Builder, Candidate

ZOOS = ("timm", "torchvision")
_SIZES = ("img_size", "image_size")
"""What models of the zoos call the height and width of their images."""

Options = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class FromZoo(Builder):
    """A builder of a model of timm or torchvision, by name and arguments of its constructor."""

    zoo: str
    name: str
    options: Options = ()

    says_its_input = True
    only_builds = True

    @property
    def identity(self) -> tuple[str, str]:
        """The zoo and its version, and the model's name and arguments."""
        return f"{self.zoo} {import_zoo(self.zoo).__version__}", self.name + _written(self.options)

    def __call__(self) -> nn.Module:
        zoo, options = import_zoo(self.zoo), dict(self.options)
        if self.zoo == "timm":
            model = zoo.create_model(self.name, pretrained=False, **options)
            assert isinstance(model, nn.Module)
            return model
        builder = zoo.models.get_model_builder(self.name)
        has_backbone = "weights_backbone" in inspect.signature(builder).parameters
        backbone = {"weights_backbone": None} if has_backbone else {}
        with warnings.catch_warnings():  # of a default that the caller did not choose
            warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
            model = builder(weights=None, **{**backbone, **options})
        assert isinstance(model, nn.Module)
        return model

    def input_of(self, model: nn.Module) -> Any:
        """Return the input shape that the arguments set, or else that of the model."""
        said = super().input_of(model)
        return None if said is None else self.adapted(said)

    def adapted(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return an image shape with the channels and the size that the arguments set."""
        options = dict(self.options)
        channels, sides = options.get("in_chans", shape[0]), shape[1:]
        for size in (options[name] for name in _SIZES if name in options):
            sides = (size, size) if isinstance(size, int) else tuple(size)
        return (channels, *sides)


def from_zoo(zoo: str, text: str) -> list[Candidate]:
    """Return the models that match ``NAME``, ``PATTERN*`` or ``NAME[argument=value,...]``.

    Raises:
        InputError: no model matches, or the arguments cannot be read.
        MissingExtraError: the zoo cannot be imported.
    """
    package = import_zoo(zoo)
    pattern, options = _parted(zoo, text)
    names = everything = names_in(zoo)
    if zoo == "torchvision":
        # other tasks (detection, video, ...) take other inputs: only by their full name
        names = package.models.list_models(module=package.models)
    exact = pattern in everything or (zoo == "timm" and package.is_model(pattern))
    chosen = [pattern] if exact else fnmatch.filter(names, pattern)
    if not chosen:
        hint = did_you_mean(pattern, everything, f"{zoo}:")
        raise InputError(
            f"candidates: {zoo} has no model {pattern!r}; {hint}patterns use *, as in '{zoo}:res*'"
        )
    return [_candidate(FromZoo(zoo, name, options)) for name in chosen]


def _candidate(build: FromZoo) -> Candidate:
    inputs = None  # a model of timm says its own once it is built
    if build.zoo == "torchvision":
        # The auxiliary head of Inception v3 fits no smaller image.
        side = 299 if "inception_v3" in build.name else 224
        inputs = build.adapted((3, side, side))
    return Candidate(f"{build.zoo}:{build.name}{_written(build.options)}", build, inputs=inputs)


def _parted(zoo: str, text: str) -> tuple[str, Options]:
    """Split ``NAME[argument=value,...]``; brackets without = belong to a pattern."""
    name, bracket, rest = text.partition("[")
    if not bracket or "=" not in rest:
        return text, ()
    try:
        call = ast.parse(f"f({rest.removesuffix(']')})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args:
            raise ValueError("an argument without a name")
        options = tuple((str(k.arg), ast.literal_eval(k.value)) for k in call.keywords)
    except (SyntaxError, ValueError):
        options = ()
    if not options or not rest.endswith("]"):
        raise InputError(
            f"candidates: got '{zoo}:{text}', expected arguments as Python writes them, as in "
            f"'{zoo}:{name}[num_classes=10]'"
        )
    return name, options


def _written(options: Options) -> str:
    return f"[{','.join(f'{name}={value!r}' for name, value in options)}]" if options else ""


def import_zoo(zoo: str) -> ModuleType:
    """Import timm or torchvision.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    try:
        return import_vision(zoo)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingExtraError(f"A candidate '{zoo}:...'", zoo, "zoo", error) from error


def names_in(zoo: str) -> list[str]:
    """Return the names of all models of a zoo; none if it cannot be imported."""
    try:
        package = import_zoo(zoo)
    except MissingExtraError:
        return []
    return [*(package.list_models() if zoo == "timm" else package.models.list_models())]
