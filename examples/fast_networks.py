"""Choose well-known networks by expected accuracy and predicted speed, from their graphs alone.

``python examples/fast_networks.py --out demo`` is the last part of ``make demo``: the networks of
``real_networks.py`` on a graphics card and on a processor that you do not have. Nothing is run or
downloaded. The accuracy or speed of some of these networks is in the training data of the
predictors; ``experiments/results/fronts.md`` compares fronts with measured ones on families that
were held out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
from real_networks import NETWORKS, published

import archrank
from archrank.costs.calibrating import speed_on
from archrank.costs.tracing import graph_of
from archrank.errors import MissingExtraError
from archrank.graphs import Graph
from archrank.ranking.front import pareto_front
from archrank.ranking.pictures import draw_front, figure_class
from archrank.scoring.candidates import collect

DEVICES = {"rtx4090": (256, 0.25), "i9-10940x": (1, 15.0)}
"""Samples at once, and the limit in milliseconds a sample."""
NAMES = [f"torchvision:{name}" for name in NETWORKS]


def expected() -> pd.DataFrame:
    """Return the top-1 that is expected of each network, with its 90 % interval."""
    ranking = archrank.rank(NAMES, level="graphs")
    return ranking.table.set_index("name").loc[NAMES, ["top-1", "top-1 low", "top-1 high"]]


def timed(graphs: list[Graph], device: str) -> pd.DataFrame:
    """Return milliseconds a sample with their 90 % interval, and the chance of the limit."""
    batch, limit = DEVICES[device]
    there = speed_on(device, batch)
    said = there.speed(graphs)
    made = pd.DataFrame(
        {"ms": said.milliseconds, "ms low": said.low, "ms high": said.high}, index=NAMES
    )
    chance = there.chance_within(graphs, limit * batch)
    return (made / batch).assign(chance=chance, beyond=said.beyond)


def on_front(table: pd.DataFrame) -> pd.Series[bool]:
    """Return whether no other network is expected to be better at no more time."""
    aims = table[["top-1", "ms"]].to_numpy() * [-1.0, 1.0]
    return pd.Series(pareto_front(aims), index=table.index)


def draw(table: pd.DataFrame, device: str, path: Path) -> None:
    """Draw all networks, and those on the front with names and intervals."""
    columns = {"top-1": "score", "top-1 low": "score_low", "top-1 high": "score_high"}
    columns |= {"ms": "latency_ms", "ms low": "latency_low_ms", "ms high": "latency_high_ms"}
    shown = table.rename(columns=columns).rename_axis("name").reset_index()
    front = shown[shown["front"]].sort_values("latency_ms")
    figure = draw_front(shown, front, "latency_ms", "", figure_class())
    axes, (batch, limit) = figure.axes[0], DEVICES[device]
    axes.axvline(limit, color="#b5541c", linewidth=1, linestyle=":")
    axes.set_xlabel(f"predicted ms per sample on {device}, batch of {batch} (90 % interval)")
    axes.set_ylabel("expected ImageNet top-1, % (90 % interval)")
    axes.set_title(f"{len(table)} networks of torchvision; dotted: the limit", fontsize=12)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out = parser.parse_args().out
    start = time.perf_counter()
    try:
        truth = published()
    except MissingExtraError as error:
        print(f"left out: accuracy and speed together ({error})")
        return
    out.mkdir(parents=True, exist_ok=True)
    accuracy = expected()
    accuracy.insert(0, "published", truth.to_numpy())
    graphs = [graph_of(candidate, None) for candidate in collect(NAMES)]
    for device, (batch, limit) in DEVICES.items():
        table = pd.concat([accuracy, timed(graphs, device)], axis=1)
        table["front"] = on_front(table)
        table.index = table.index.str.removeprefix("torchvision:")
        table = table.sort_values("ms")
        table.to_csv(out / f"front_{device}.csv")
        draw(table, device, out / f"front_{device}.png")
        print(f"\n{device}, batch of {batch}: no other network is expected to be better and faster")
        print(table[table["front"]].drop(columns=["front", "beyond"]).round(3).to_string())
        print(f"ms: per sample; chance: that it is at most {limit:g}")
    print(f"wrote {out}/front_*.csv and .png; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
