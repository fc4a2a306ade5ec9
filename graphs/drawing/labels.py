"""The texts of boxes: their operators, shapes and modules."""

from __future__ import annotations

from collections.abc import Sequence

from ..arrays import Node
from .style import ROOM

TIMES = "\N{MULTIPLICATION SIGN}"


def operation(node: Node) -> str:
    """Return an operator with its kernel, stride, groups and heads."""
    facts = node.attributes
    parts = [node.operator if node.operator != "unknown" else node.aten]
    kernel = [facts[f"kernel{axis}"] for axis in range(3) if f"kernel{axis}" in facts]
    if kernel:
        parts.append(TIMES.join(map(str, kernel)))
    strides = [facts.get(f"stride{axis}", 1) for axis in range(3)]
    if max(strides) > 1:
        parts.append(f"/{max(strides)}")
    if node.operator != "depthwise_conv" and facts.get("groups", 1) > 1:
        parts.append(f"in {facts['groups']} groups")
    if facts.get("heads", 0) > 1:
        parts.append(f"{facts['heads']} heads")
    return " ".join(parts)


def where(node: Node, path: str) -> str:
    """Return the shape of an output, and the end of the path of its module."""
    size = size_text(node.out_shape)
    return f"{size}   {tail(path, ROOM - len(size) - 3)}" if path else size


def size_text(shape: Sequence[int]) -> str:
    """Return a shape without its batch dimension."""
    return TIMES.join(map(str, shape[1:])) or "scalar"


def clip(text: str, room: int) -> str:
    """Return the text without its end if it is too long."""
    return text if len(text) <= room else text[: max(room - 1, 1)] + "…"


def tail(text: str, room: int) -> str:
    """Return the text without its beginning if it is too long: a path's end says most."""
    return text if len(text) <= room else "…" + text[len(text) - max(room - 1, 1) :]
