"""Search spaces, tables of measured figures, images, and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

# Not lazy: the functions `spaces` and `tables` have the names of the modules that hold them, and
# importing a module later would put it in the function's place.
from .spaces import register_space, space, spaces
from .tables import table, tables

if TYPE_CHECKING:
    from .image_batches import images
    from .spaces.contract import Choice, ChoiceSpace, Signature, Space
    from .splits import Protocol, Split, split
    from .tables import Table, Task

_HOME = {
    "Protocol": "splits",
    "Choice": "spaces.contract",
    "ChoiceSpace": "spaces.contract",
    "Signature": "spaces.contract",
    "Space": "spaces.contract",
    "Split": "splits",
    "images": "image_batches",
    "Table": "tables.contract",
    "Task": "tables.published",
    "split": "splits",
}

__all__ = [
    "Choice",
    "ChoiceSpace",
    "Protocol",
    "Signature",
    "Space",
    "Split",
    "Table",
    "Task",
    "images",
    "register_space",
    "space",
    "spaces",
    "split",
    "table",
    "tables",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
