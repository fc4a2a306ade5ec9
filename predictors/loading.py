"""Loading saved and shipped predictors."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .contract import Predictor
from .saving import FACTS

_SPEED = Path(__file__).parents[1] / "costs" / "weights"


def load_predictor(path: str | Path | None = None) -> Predictor:
    """Return the predictor that ``save`` wrote to a folder.

    Args:
        path: the folder. The default is the pretrained ``TransferRank`` that comes with archrank
            and needs no labels. ``"speed"`` is the pretrained ``SpeedPredictor`` of known devices.
            ``"gennape"`` is the pretrained ``GENNAPE``, which also needs no labels and can
            ``adapt`` to a few.

    Raises:
        InputError: the folder holds no predictor or a damaged one.

    Example:
        >>> import tempfile
        >>> from archrank.predictors import Ridge
        >>> from archrank.predictors.checks import small_graphs
        >>> folder = tempfile.mkdtemp() + "/model"
        >>> Ridge().fit(small_graphs(), range(16)).save(folder)
        >>> type(load_predictor(folder)).__name__
        'Ridge'
        >>> order = load_predictor().predict(small_graphs())  # without labels
        >>> bool(order[15] > order[0])  # the largest, the smallest
        True
    """
    from .pretrained.shipped import GENNAPE_WEIGHTS, WEIGHTS

    named: dict[str | Path, Path] = {"speed": _SPEED, "gennape": GENNAPE_WEIGHTS}
    folder = WEIGHTS if path is None else named.get(path, Path(path))
    if not folder.exists():
        raise InputError(
            f"path: there is no folder {str(path)!r}; expected one that a predictor was saved in, "
            f"or one of {', '.join(map(repr, named))}"
        )
    return Predictor.load(folder)


def is_predictor(name: str) -> bool:
    """Tell whether a name is the folder of a saved predictor."""
    return (Path(name) / FACTS).is_file()
