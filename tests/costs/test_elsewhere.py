"""Rankings with limits on a device that is not at hand, and the picture of their front."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
import pytest
from torch import nn

import archrank
from archrank.costs.calibrating import speed_on
from archrank.costs.memory import training_memory
from archrank.errors import InputError
from archrank.ranking.pictures import draw_front, figure_class
from archrank.ranking.table import Ranking

SHAPE = (3, 96, 96)


def nets() -> dict[str, nn.Module]:
    return {
        f"width {width}": nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1),
            *[nn.Conv2d(width, width, 3, 1, 1) for _ in range(3)],
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        for width in (16, 32, 48, 64, 96)
    }


def ranked(**options: object) -> Ranking:
    return archrank.rank(nets(), SHAPE, by="params", **options)  # type: ignore[arg-type]


def test_a_limit_keeps_who_meets_it_with_the_chance_that_is_asked_for() -> None:
    there = speed_on("rtx4090", 1024)
    graphs = {name: archrank.trace(net, SHAPE) for name, net in nets().items()}
    times = dict(zip(graphs, there.predict(list(graphs.values())), strict=True))
    limit = times["width 48"] * 1.001
    likely, sure = (
        ranked(speed="rtx4090@1024", limits={"latency": limit}, confidence=chance)
        for chance in (0.5, 0.95)
    )
    assert set(likely.table["name"]) == {"width 16", "width 32", "width 48"}
    assert set(sure.table["name"]) < set(likely.table["name"])
    assert "chance" in likely.excluded["reason"].iloc[0]
    for row in likely.table.itertuples():
        assert row.latency_ms == pytest.approx(times[row.name])
        assert row.latency_low_ms < row.latency_ms < row.latency_high_ms
        chance = there.chance_within([graphs[row.name]], limit)[0]
        assert row.chance_within == pytest.approx(chance)
    assert "rtx4090, inference" in likely.latency
    assert "1024 samples" in likely.latency


def test_memory_of_training_is_of_the_batch() -> None:
    needed = {
        n: training_memory(archrank.trace(m, SHAPE), 32).peak / 1e6 for n, m in nets().items()
    }
    limit = sorted(needed.values())[2] * 1.001
    found = ranked(limits={"train_memory": limit}, batch_size=32)
    assert set(found.table["name"]) == {name for name, size in needed.items() if size <= limit}
    for row in found.table.itertuples():
        assert row.train_memory_mb == pytest.approx(needed[row.name])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"speed": "gtx1"}, "device"),
        ({"speed": "rtx4090@many"}, "speed"),
        ({"speed": "rtx4090", "confidence": 1.0}, "confidence"),
        ({"speed": "rtx4090", "latency": "folder"}, "latency"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ranked(**options)


def test_names_on_a_front_cover_no_other() -> None:
    pytest.importorskip("matplotlib")
    table = pd.DataFrame(
        {
            "name": [f"a network of a long name, {i}" for i in range(12)],
            "score": [1 + 0.001 * i for i in range(12)],
            "std_error": 0.1,
            "latency_ms": [5 + 0.001 * i for i in range(12)],
            "latency_low_ms": 4.0,
            "latency_high_ms": 7.0,
        }
    )
    figure = draw_front(table, table, "latency_ms", "auto", figure_class())
    figure.draw_without_rendering()
    names = [text for text in figure.axes[0].texts if text.get_text()]  # leaders have none
    boxes = [text.get_window_extent() for text in names]
    assert len(boxes) == 12
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
