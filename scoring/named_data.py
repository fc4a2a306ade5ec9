"""Data and losses by name: embedded images, a folder of images, or an object in a Python file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..data.image_batches import SOURCES, images
from ..data.image_folder import folder_images
from ..errors import InputError, did_you_mean
from ..graphs.inputs.tensors import is_shape
from ..graphs.randomness import seeded
from ..proxies.given_data import drawn
from .python_files import defined_names, load_file, takes_nothing, version_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class DataSource:
    """A source of data, given by name.

    Attributes:
        name: ``"digits"``, ``"mnist"``, ``"cifar10"``, ``"random"``, a folder of images (one folder
            per class in it, if it has any), or ``"file.py:loader"``: anything that
            ``archrank.score`` takes as inputs, or a function without arguments that returns it.
        shape: (channels, height, width) of the images; None for the shape that the candidates take.
    """

    name: str
    shape: Shape | None = None

    def batches(self, own: Sequence[Any], batch_size: int, count: int, seed: int) -> Any:
        """Draw batches of (images, labels) that fit the candidates' own inputs.

        Raises:
            InputError: the data do not exist, or the candidates take images of several shapes.
            MissingExtraError: images cannot be read without Pillow.
        """
        if ".py:" in self.name:
            found = _in_file(self.name, "data")
            if found is None:
                raise InputError(f"data: {self.name} returns None, expected data; end it by return")
            if isinstance(found, str):
                raise InputError(
                    f"data: {self.name} is the text {found!r}, expected data or what loads them; "
                    "a folder of images is given by its own path"
                )
            return drawn(found, batch_size, count, seed)
        folder = Path(self.name)
        if not folder.is_dir() and self.name not in SOURCES:
            if len(folder.parts) > 1 or self.name.endswith("/"):
                raise InputError(f"data: there is no folder {self.name!r}; check the path")
            known = [*SOURCES, *(place.name for place in Path().iterdir() if place.is_dir())]
            is_numbers = set(self.name) <= set("0123456789,x() ")
            hint = "a shape is a tuple of numbers, such as (3, 32, 32); " if is_numbers else ""
            raise InputError(
                f"data: got {self.name!r}, {hint or did_you_mean(self.name, known)}expected one "
                f"of {', '.join(SOURCES)}, a folder of images, or 'file.py:loader'"
            )
        shape = self.shape or _shape_of_all(own)
        if folder.is_dir():
            return folder_images(folder, batch_size, count, seed, shape)
        return [images(self.name, batch_size, 1000 * i + seed, shape) for i in range(count)]


def _shape_of_all(own: Sequence[Any]) -> Shape | None:
    """Return the shape that candidates take; None if they do not say."""
    shapes = {tuple(inputs) for inputs in own if is_shape(inputs)}
    if len(shapes) > 1:
        raise InputError(
            f"data: candidates take images of {' and '.join(map(str, sorted(shapes)))}; give one "
            "shape for all, as in --input 3,64,64"
        )
    return next(iter(shapes), None)


@dataclass(frozen=True)
class FileLoss:
    """A loss in a Python file, pickled as its place.

    Attributes:
        place: ``"file.py:loss"``, which is a function of (output, targets), or a module or a class
            of modules with such a forward.
    """

    place: str

    @property
    def identity(self) -> tuple[str, str]:
        """The place of the loss and the contents of its file."""
        path, _, name = self.place.rpartition(":")
        return "loss", f"{name} {version_of(Path(path))}"

    def function(self) -> Callable[[Any, Any], Tensor]:
        """Load the loss.

        Raises:
            InputError: the file has no object of that name, or it cannot be called.
        """
        found = _in_file(self.place, "loss")
        if not callable(found):
            raise InputError(f"loss: {self.place} is a {type(found).__name__}, expected a function")
        function: Callable[[Any, Any], Tensor] = found
        return function

    def __call__(self, output: Any, targets: Any) -> Tensor:
        return self.function()(output, targets)


def named_loss(place: str) -> FileLoss:
    """Return the loss of ``"file.py:loss"``.

    Raises:
        InputError: there is no such loss.
    """
    if ".py:" not in place:
        raise InputError(f"loss: got {place!r}, expected 'file.py:loss'")
    loss = FileLoss(str(Path(place).absolute()))
    loss.function()
    return loss


def _in_file(place: str, argument: str) -> Any:
    """Return what a file holds under a name, or what a function or class of that name gives."""
    path, _, name = place.rpartition(":")
    module = load_file(Path(path))
    if name not in vars(module):
        known = defined_names(module)
        raise InputError(
            f"{argument}: {path} has no {name!r}; {did_you_mean(name, known)}it defines "
            f"{', '.join(known) or 'nothing'}"
        )
    found = getattr(module, name)
    if isinstance(found, nn.Module) or not callable(found) or not takes_nothing(found):
        return found
    with seeded(0):
        return found()
