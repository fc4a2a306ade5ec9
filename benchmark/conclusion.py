"""What a run says, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .results import Figure, Judged, Result
from .wording import best, columns, decimals, interval_words


def conclusion(judged: Judged) -> str:
    """Say which proxy orders the sample best, and whether that is more than size says.

    The figures are those of the table. Of several that are equal there, all are named. Better and
    worse are said where the interval of the difference excludes zero.
    """
    tau = columns(judged)[0]
    leaders = [judged[name] for name in best(judged, tau, ("proxy",))]
    proxies = sum(result.kind == "proxy" for result in judged.results)
    if not leaders:
        return f"No proxy orders these {len(judged.truth)} networks."
    first = leaders[0].figures["tau"]
    names = " and ".join(result.name for result in leaders)
    verb = "orders" if len(leaders) == 1 else "order"
    said = f"{names} {verb} these {len(judged.truth)} networks"
    if proxies > 1:
        said = f"Of {proxies} proxies, {said} best"
    interval = interval_words(first)
    figure = f"tau-b {decimals(first.value, 3)}" + (f" ({interval})" if interval else "")
    return f"{said}: {figure}{_beside_size(judged, leaders)}."


def _beside_size(judged: Judged, leaders: Sequence[Result]) -> str:
    """Compare the first with the number of parameters, where that was scored."""
    params = next((result for result in judged.results if result.name == "params"), None)
    over = leaders[0].figures.get("over_params", Figure(math.nan))
    if params is None or not math.isfinite(over.low):
        return ""
    size = f"the number of parameters ({decimals(params.figures['tau'].value, 3)})"
    if over.low > 0:
        return f", better than {size}"
    if over.high < 0:
        return f", worse than {size}"
    return f", not clearly different from {size}"
