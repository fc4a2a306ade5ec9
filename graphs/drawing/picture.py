"""Drawing of a graph: fold it, lay it out, write it to a file."""

from __future__ import annotations

import importlib
from pathlib import Path

from ...errors import InputError
from ...files import written_whole
from ..arrays import Arrays
from .folding import fold
from .layout import lay_out
from .writing import svg_of


def draw(
    graph: Arrays, path: str | Path | None = None, *, title: str | None = None, max_nodes: int = 60
) -> str:
    """Draw ``graph`` as SVG text, and write it to ``path`` if one is given.

    Repeated modules are drawn once with "xN". If more than ``max_nodes`` boxes remain, whole
    modules become one box that lists their contents. Hovering over a box shows its modules. The
    same graph always gives the same text.

    Notes:
        The layout is our choice: layers by longest path, ordered by barycentre.

    Args:
        graph: the graph to draw.
        path: a file name that ends in .svg, or in .png or .pdf if the package cairosvg is
            installed.
        title: the heading of the picture.
        max_nodes: the largest number of boxes.

    Raises:
        InputError: ``max_nodes`` is below 1, ``path`` has another ending, or cairosvg is missing.

    Example:
        >>> import torch
        >>> import archrank
        >>> block = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
        >>> graph = archrank.trace(torch.nn.Sequential(*[block] * 5), (8,))
        >>> graph.draw().count('class="box"')    # input, one layer five times, output
        3
    """
    if max_nodes < 1:
        raise InputError(f"max_nodes: got {max_nodes}, expected at least 1 box")
    target = None if path is None else Path(path)
    if target is not None and target.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InputError(f"path: got {str(target)!r}, expected a name ending in .svg, .png or .pdf")
    picture = lay_out(fold(graph, max_nodes), graph.edges.tolist(), columns=True)
    svg = svg_of(graph, picture, title or "Computation graph")
    if target is not None:
        _save(svg, target)
    return svg


def _save(svg: str, path: Path) -> None:
    """Write a picture in the format of the path's ending; the file is never seen half written."""
    if path.suffix.lower() == ".svg":
        with written_whole(path) as partial:
            partial.write_text(svg, encoding="utf-8")
        return
    try:
        cairosvg = importlib.import_module("cairosvg")
    except (ImportError, OSError) as error:  # OSError: the cairo library itself is missing
        raise InputError(
            f"path: {str(path)!r} needs the package 'cairosvg', which cannot be imported "
            f"({error}). Run `pip install cairosvg`, or give a path that ends in .svg"
        ) from error
    convert = cairosvg.svg2png if path.suffix.lower() == ".png" else cairosvg.svg2pdf
    with written_whole(path) as partial:
        convert(bytestring=svg.encode(), write_to=str(partial))
