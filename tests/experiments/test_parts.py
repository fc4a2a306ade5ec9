"""What each part is worth: against sums and loops by hand, and a published interval."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the script, which reads stores of a folder of its own."""
    module = importlib.import_module("parts")
    monkeypatch.setattr(module, "STORES", tmp_path)
    module.lines.cache_clear()
    yield module
    module.lines.cache_clear()


def store(folder: Path, name: str, lines: list[dict]) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@given(some.lists(some.floats(-1, 1), min_size=2, max_size=9))
def test_an_interval_is_that_of_student(values: list[float]) -> None:
    worth = importlib.import_module("parts").Worth(values)
    spread = stats.sem(values)
    if spread < 1e-9:
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), spread)
    assert worth.mean - worth.half == pytest.approx(low)
    assert worth.mean + worth.half == pytest.approx(high)
    conclusion = "better" if low > 0 else "worse" if high < 0 else "unclear"
    assert abs(low) < 1e-9 or abs(high) < 1e-9 or worth.conclusion == conclusion


def test_only_what_is_clear_is_bold(parts: ModuleType) -> None:
    sure, unsure = parts.Worth([0.1, 0.11, 0.12]), parts.Worth([-0.1, 0.1, 0.02])
    assert parts.shown(sure) == "**+0.110 ± 0.025**"
    assert not parts.shown(unsure).startswith("**")
    assert parts.shown(None) == "-"
    counted = importlib.import_module("worth").counted
    assert counted([sure, unsure, None]) == "better 1, unclear 1"


def test_pretraining_is_paired_by_seed(parts: ModuleType, tmp_path: Path) -> None:
    taus = {"statistics": [[0.5, 0.6, 0.8]], "untrained": [[0.4, 0.4, 0.4], [0.2, 0.4, 0.6]]}
    lines = [
        {"way": way, "seed": seed, "family": "zoo", "taus": {"80": of}}
        for way, runs in taus.items()
        for seed, of in enumerate(runs)
    ]
    store(tmp_path, "ablation_pretraining", lines)
    worth = parts.pretrained("statistics", "untrained", "zoo")
    assert worth.values == pytest.approx([0.5 - 0.3, 0.6 - 0.4, 0.8 - 0.5])
    assert parts.pretrained("masked", "untrained", "zoo") is None
    (row,) = [line for line in parts.pretraining_table().splitlines() if "free" in line]
    assert row == f"| free statistics | - | - | - | {parts.shown(worth)} | better 1 |"


def test_heads_are_means_over_encoders_with_all_seeds(parts: ModuleType, tmp_path: Path) -> None:
    rows = dict.fromkeys([*parts.SIX, "one head", "FCM", "all six"], 0.0)
    lines = [
        {
            "part": "members",
            "how": "few labels",
            "space": "nasbench201",
            "encoder": encoder,
            "seed": seed,
            "taus": rows | {"FCM": fcm, "one head": head},
        }
        for encoder, seed, fcm, head in (
            ("a", 1, 0.5, 0.4),
            ("a", 0, 0.3, 0.4),
            ("b", 0, 0.6, 0.2),
            ("b", 1, 0.6, 0.3),
            ("c", 0, 9.0, 0.0),  # a seed is missing: left out
        )
    ]
    store(tmp_path, "ablations", lines)
    worth = parts.head("few labels", "nasbench201", "FCM", "one head")
    assert worth.values == pytest.approx([(-0.1 + 0.4) / 2, (0.1 + 0.3) / 2])


def test_a_variant_without_all_seeds_has_no_worth(parts: ModuleType, tmp_path: Path) -> None:
    facts = {"part": "parzc parts", "space": "nasbench201", "count": 78}
    lines = [
        {**facts, "what": what, "seed": seed, "tau": tau}
        for what, taus in {"small": (0.5, 0.6, 0.7), "log": (0.6, 0.7)}.items()
        for seed, tau in enumerate(taus)
    ]
    store(tmp_path, "ablations", lines)
    assert parts.parzc("log", "small") is None
    assert parts.parzc("small", "small").values == [0.0, 0.0, 0.0]
    assert "logarithm" not in parts.parzc_table()


def test_serving_is_paired_by_seed_and_chance_counts_what_is_shown(
    parts: ModuleType, tmp_path: Path
) -> None:
    taus = {"losses served": (0.70, 0.71, 0.72), "losses": (0.60, 0.62, 0.61)}
    lines = [
        {
            "part": part,
            "space": "nasbench201",
            "count": 78,
            "what": "list_mle",
            "seed": seed,
            "tau": tau,
        }
        for part, of in taus.items()
        for seed, tau in enumerate(of)
    ]
    store(tmp_path, "ablations", lines)
    for name in ("ablation_pretraining", "gennape", "predictors", "transfer"):
        store(tmp_path, name, [])
    worth = parts.Worth([0.10, 0.09, 0.11])
    (row,) = parts.serving_table().splitlines()[2:]
    assert row == f"| list_mle | - | {parts.shown(worth)} | better 1 |"
    tables = {"a": parts.serving_table, "b": parts.chance_line}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "TABLES", tables)
        assert parts.chance_line().startswith("The tables hold 1 differences, and 1 of them")


def test_the_picture_is_drawn(
    parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    monkeypatch.setattr(parts, "PICTURE", tmp_path / "parts.png")
    lines = [
        {"way": way, "seed": 0, "family": family, "taus": {"80": [level, level + 0.01]}}
        for family in parts.FAMILIES
        for way, level in (("masked", 0.4), ("untrained", 0.5))
    ]
    store(tmp_path, "ablation_pretraining", lines)
    assert list(parts.bars()) == ["pretraining: masked parts"]
    assert parts.bars()["pretraining: masked parts"][0].mean == pytest.approx(-0.1)
    parts.draw()
    assert (tmp_path / "parts.png").read_bytes().startswith(b"\x89PNG")
