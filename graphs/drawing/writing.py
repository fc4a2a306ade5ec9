"""Writing: plain SVG that is readable on light and on dark pages."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from ...formats import count
from ..arrays import Arrays
from .items import Picture, boxes
from .labels import clip
from .style import CHARACTER, COLOURS, FRAME, GREY, INK, LINE, MARGIN, PADDING, ROOM

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg_of(graph: Arrays, picture: Picture, title: str) -> str:
    """Return the SVG of a picture under its title, the facts of the graph and a legend."""
    shown = list(boxes(picture.items))
    width = max(picture.width, 430.0) + 2 * MARGIN
    facts = (
        f"{count(graph.params, 3)} params · {count(graph.flops, 3)} FLOPs · depth {graph.depth} · "
        f"{len(graph)} nodes in {len(shown)} boxes"
    )
    title = clip(title, int((width - 2 * MARGIN) / 9.5))
    body = [
        f'<text class="t" x="{MARGIN}" y="28">{_text(title)}</text>',
        f'<text class="o" x="{MARGIN}" y="47">{_text(facts)}</text>',
    ]
    top = _legend({box.family for box in shown}, width, body) + 34
    _write(picture, MARGIN, top, 1, body)
    height = top + picture.height + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{_text(title)}">\n'
        "<style>text{font-family:Helvetica,Arial,'DejaVu Sans',sans-serif;font-size:11px}"
        f".t{{font-size:17px;font-weight:bold;fill:{GREY}}}.o{{fill:{GREY}}}"
        f".b{{font-weight:bold;fill:{INK}}}.s{{fill:{INK};opacity:.8}}"
        f"path{{fill:none;stroke:{GREY};stroke-width:1.4}}</style>\n"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8Z" style="fill:{GREY};stroke:none"/>'
        "</marker></defs>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _legend(families: set[str], width: float, body: list[str]) -> float:
    """Append the colour of each family to ``body``; return where their last line stands."""
    x, y = float(MARGIN), 58.0
    for name, colour in COLOURS.items():
        if name not in families:
            continue
        step = 30 + 6.4 * len(name)
        if x + step > width - MARGIN and x > MARGIN:
            x, y = float(MARGIN), y + 18
        body.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="12" height="12" rx="2" '
            f'fill="{colour}" stroke="{GREY}"/>'
            f'<text class="o" x="{x + 16:.1f}" y="{y + 10:.1f}">{name}</text>'
        )
        x += step
    return y


def _write(picture: Picture, dx: float, dy: float, times: int, body: list[str]) -> None:
    """Append the boxes, frames and edges of a picture, and of those inside it, to ``body``."""
    for item in picture.items:
        x, y = item.x + dx, item.y + dy
        place = f'x="{x:.1f}" y="{y:.1f}" width="{item.width:.1f}" height="{item.height:.1f}"'
        if item.picture:
            label = clip(item.lines[0], int((item.width - 20) / CHARACTER))
            body.append(
                f'<rect class="frame" {place} rx="8" fill="{GREY}" fill-opacity=".09" '
                f'stroke="{GREY}" stroke-dasharray="5 3"/>'
                f'<text class="o" x="{x + 10:.1f}" y="{y + 14:.1f}" font-weight="bold">'
                f"{_text(label)}</text>"
            )
            _write(item.picture, x + FRAME, y + FRAME + LINE, times * item.times, body)
            continue
        body.append(
            f'<g class="box" data-nodes="{item.period}" data-times="{times * item.times}">'
            f"<title>{_text(item.tip)}</title>"
            f'<rect {place} rx="5" fill="{COLOURS[item.family]}" stroke="{GREY}"/>'
        )
        for i, line in enumerate(item.lines):
            strength = "s" if i else "b"
            body.append(
                f'<text class="{strength}" x="{x + 8:.1f}" y="{y + PADDING + 11 + LINE * i:.1f}">'
                f"{_text(clip(line, ROOM))}</text>"
            )
        body.append("</g>")
    for path, arrow in picture.paths:
        end = ' marker-end="url(#a)"' if arrow else ""
        body.append(f'<path transform="translate({dx:.1f} {dy:.1f})" d="{path}"{end}/>')


def _text(text: str) -> str:
    """Return text that is safe in XML."""
    return escape(_NOT_XML.sub("�", text), {'"': "&quot;"})
