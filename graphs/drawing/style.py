"""Colours and measures of a picture; all lengths are in pixels."""

from __future__ import annotations

from ..operators import CANONICAL, NORMS, PRODUCTS, RECTIFIERS

ACTIVATIONS = RECTIFIERS | frozenset(
    "elu hardsigmoid sigmoid tanh hardtanh softplus threshold glu softmax".split()
)
_FAMILIES: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("input, output", "#d3d8e0", frozenset({"input", "output"})),
    ("convolution", "#9ecbf5", frozenset(n for n in CANONICAL if "conv" in n)),
    ("linear, product", "#c3b5f2", PRODUCTS | {"embedding", "cdist", "linear_algebra"}),
    ("norm", "#b9e3c0", NORMS | {"norm"}),
    ("activation", "#f9d48a", ACTIVATIONS),
    (
        "pool, reduction",
        "#f6b3a8",
        frozenset(
            "max_pool avg_pool global_avg_pool mean sum extremum variance cumulative sort "
            "loss".split()
        ),
    ),
    (
        "arithmetic",
        "#f3c1dd",
        frozenset(
            "add sub mul div pow sqrt exp log neg trigonometric clamp round compare where "
            "fourier".split()
        ),
    ),
    ("unknown", "#ff8f8f", frozenset({"unknown"})),
)
MOVE, MODULE = ("move", "#d9d2c3"), ("module", "#e9ecf1")
COLOURS = {name: colour for name, colour, _ in _FAMILIES} | dict((MOVE, MODULE))

INK, GREY = "#1b1f24", "#7b818c"  # grey has the same contrast on white and on black
BOX_WIDTH, LINE, PADDING = 208, 15, 6
CHARACTER = 6.9  # width of one in the widest of the fonts that the writer names
ROOM = int((BOX_WIDTH - 10) / CHARACTER)  # characters in a line of a box
GAP_X, GAP_Y, LANE = 18, 26, 12
MARGIN, GUTTER, FRAME = 16, 44, 12


def family(operator: str) -> str:
    """Return the family, and so the colour, of an operator."""
    return next((name for name, _, members in _FAMILIES if operator in members), MOVE[0])
