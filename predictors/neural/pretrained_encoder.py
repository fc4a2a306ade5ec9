"""The result of pretraining: an encoder with its weights, and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from sklearn.base import BaseEstimator

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from .. import saving
from .encoders import encoder as encoder_by_name
from .encoders.contract import Encoder, encode
from .encoders.reading import positions_of, tensor_reader
from .learning.seeds import seeded
from .learning.weights import State, load_arrays


class Pretrained(BaseEstimator):  # type: ignore[misc]
    """An encoder trained without labels, which ``Pretraining.fit`` returns.

    Args:
        encoder, options, fold: see ``Pretraining``.

    Attributes:
        weights_: the weights of the encoder, as arrays by name.
        history_: the mean loss of each epoch.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> from archrank.predictors import Pretraining
        >>> encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        >>> encoder.fit(graphs).embed(graphs).shape
        (16, 8)
    """

    weights_: State
    history_: list[float]

    def __init__(self, encoder: str, options: Mapping[str, Any] | None = None, fold: bool = True):
        self.encoder = encoder
        self.options = options
        self.fold = fold

    def embed(self, graphs: Sequence[Graph], device: str = "cpu") -> Array:
        """Return vectors (graphs, width) of graphs; equal graphs are encoded once."""
        model = self.build().to(device)
        read = tensor_reader(self.fold, positions_of(model))
        return encode(model, [read(graph) for graph in graphs]).double().cpu().numpy()

    def build(self) -> Encoder:
        """Return the encoder as a new module.

        Raises:
            InputError: the weights do not fit the encoder that the arguments describe.
        """
        with seeded(0):  # building draws weights; the caller's random state stays
            model = encoder_by_name(self.encoder, **(self.options or {}))
        self.start(model)
        return model

    def start(self, encoder: Encoder) -> None:
        """Set an encoder's weights to these, except layers that read statistics or a context.

        Raises:
            InputError: the weights belong to another encoder.
        """
        load_arrays(encoder, self.weights_, new=("embed.statistics.", "join."))

    def save(self, path: str | Path) -> None:
        """Write the encoder to the folder ``path`` as safetensors and JSON, without pickle.

        Raises:
            InputError: the folder exists and holds something else.
        """
        saving.write(self, Path(path), type(self))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load the encoder that ``save`` wrote.

        Raises:
            InputError: the folder holds no encoder, a damaged one, or one of a newer format.
        """
        loaded = cast(Self, saving.read(Path(path), cls))
        try:
            loaded.build()
        except (InputError, AttributeError, TypeError) as error:
            raise InputError(f"path: {str(path)!r} holds a damaged encoder ({error})") from error
        return loaded

    def __sklearn_clone__(self) -> Self:
        """Return the same object, since a clone of a learnt result is itself."""
        return self


def read_pretrained(given: str | Path | Pretrained) -> Pretrained:
    """Return the pretrained encoder, loaded from its folder if it is a path."""
    return given if isinstance(given, Pretrained) else Pretrained.load(given)
