"""Our variants beside the values that published codes give on reproducible networks.

Run from the repository: ``python benchmarks/parity.py``. It reads ``../shared/parity`` (or
``--values FOLDER``) and writes ``benchmarks/results/parity.md``. ``tests/proxies/test_parity.py``
compares the same rows.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import math
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import torch

import archrank
from archrank.proxies import blocks, reference_signals

ROOT = Path(__file__).resolve().parent
RESULT = ROOT / "results" / "parity.md"
VALUES = ROOT.parents[1] / "shared" / "parity"

SOURCES = {
    "SamsungLabs/zero-cost-nas": "foresight",
    "automl/NASLib": "naslib",
    "cmu-catalyst/GradSign": "gradsign",
    "BayesWatch/nas-without-training": "nas-without-training",
    "cvlab-yonsei/AZ-NAS": "az-nas",
    "SLDGroup/ZiCo": "zico",
    "HamsterMimi/MeCo": "meco",
    "pym1024/SWAP": "swap",
}

_SUITE = (
    "measured after others whose input gradients were left to add up; ours depends on no other "
    "measure"
)
_TOKENS = "the reference takes images alone and stops at tokens; ours measures them"
_LEAVES = "the reference stops at a module with parameters of its own and children; ours skips them"
INTENDED = {
    ("epe_nas@suite@naslib", "residual_bn"): _SUITE,
    ("epe_nas@suite@naslib", "vit_tiny"): _SUITE,
    ("az_expressivity@az-nas", "vit_tiny"): _TOKENS,
    ("az_progressivity@az-nas", "vit_tiny"): _TOKENS,
    ("az_trainability@az-nas", "vit_tiny"): _TOKENS,
    ("params@naslib", "vit_tiny"): _LEAVES,
    ("flops@naslib", "vit_tiny"): _LEAVES,
}
"""(proxy, network) -> why ours differs, where it does so by intent."""

_SEEDED = "random draws of another generator"
_SIGNS = ("gradsign", "grad_conflict")


@dataclass(frozen=True)
class Comparison:
    """One value of a published code beside ours; ``why`` the code, ours, or both have none."""

    proxy: str
    network: str
    batch: int | None
    dtype: str | None
    mode: str | None
    ours: float | None
    theirs: float | None
    tolerance: float
    why: str

    @property
    def difference(self) -> float:
        """Relative to theirs; infinite if one alone has a value."""
        if self.ours is None or self.theirs is None:
            return 0.0 if self.ours is self.theirs else math.inf
        if self.ours == self.theirs:
            return 0.0
        return abs(self.ours - self.theirs) / max(abs(self.theirs), 1e-300)

    @property
    def verdict(self) -> str:
        """``equal``, ``no value`` in either, ``by intent``, ``not compared`` or ``DIFFERS``."""
        if self.why == _SEEDED or self.network == "*":
            return "not compared"
        if self.difference > self.tolerance:
            return "by intent" if (self.proxy, self.network) in INTENDED else "DIFFERS"
        return "no value" if self.theirs is None else "equal"


@cache
def networks(folder: Path) -> Any:
    """The module that builds the networks and batches."""
    spec = importlib.util.spec_from_file_location("parity_networks", folder / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name_of(row: dict[str, Any]) -> str:
    """The row's proxy and source, NAME@SOURCE."""
    return f"{row['proxy']}@{SOURCES[row['source'].partition('@')[0]]}"


def is_compared(row: dict[str, Any]) -> bool:
    """Whether the row's value is a function of weights and inputs that are known here."""
    return row["network"] != "*" and row["rng"] in ("none", "substituted")


def tolerance_of(row: dict[str, Any]) -> float:
    """Ten times the instability of the reference's own value, at least 1e-5.

    GradSign's is exact in double precision; in single, signs of gradients near zero flip.
    """
    stability = ("repeat_rel_diff", "other_backend_rel_diff", "float64_rel_diff")
    stated = max(1e-5, *(10 * (row.get(field) or 0.0) for field in stability))
    if any(name in row["proxy"] for name in _SIGNS):
        return 1e-6 if row["dtype"] == "float64" else max(1e-4, stated)
    return stated


@contextmanager
def their_draws(made: Any) -> Iterator[None]:
    """Put the numbers that replaced the references' random draws in the place of ours."""

    def second_draw(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return made.batch(len(tensor), tuple(tensor.shape[1:]), stream=1, dtype=tensor.dtype)[0]

    def square_image(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return made.batch(1, (like.shape[1], 64, 64), dtype=like.dtype)[0]

    def rademacher(shape: tuple[int, ...], index: int, generator: Any) -> torch.Tensor:
        # Of a vision transformer the reference's first feature is our second.
        return made.signs(shape, stream=1000 + index - (len(shape) == 3))

    with ExitStack() as stack:
        for module, function in (
            (reference_signals, second_draw),
            (reference_signals, square_image),
            (blocks, rademacher),
        ):
            stack.enter_context(mock.patch.object(module, function.__name__, function))
        yield


def compare(folder: Path, rows: Iterable[dict[str, Any]]) -> list[Comparison]:
    """Compare rows, those of one network, batch, type and mode in one call of ``score``."""
    together: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    found = []
    for row in rows:
        if is_compared(row):
            key = (row["network"], row["batch"], row["dtype"], row["mode"])
            together[(*key, len(row.get("batches", ())))].append(row)
        else:
            found.append(_without(row))
    graphs: dict[str, Any] = {}
    with their_draws(networks(folder)):
        for group in together.values():
            found += _compared(networks(folder), group, graphs)
    return found


def _compared(
    made: Any, group: list[dict[str, Any]], graphs: dict[str, Any]
) -> Iterator[Comparison]:
    first = group[0]
    network, dtype = first["network"], getattr(torch, first["dtype"])
    shape, count = made.shape_of(network), len(first.get("batches", ()))
    model = made.build(network, dtype).train(first["mode"] == "train")
    if network not in graphs:
        graphs[network] = archrank.trace(model, shape)
    if count:
        data, labels = made.halves(first["batch"], count, shape, dtype=dtype), None
    else:
        data, labels = made.batch(first["batch"], shape, dtype=dtype)
    ours = {row["proxy"]: name_of(row).replace("@suite", "") for row in group}
    scores = archrank.score(
        model, data, labels, [*ours.values()], batches=max(2, count), graph=graphs[network]
    )
    for row in group:
        result = scores[ours[row["proxy"]]]
        yield Comparison(
            name_of(row), network, row["batch"], row["dtype"], row["mode"],
            result.value, _number(row["value"]), tolerance_of(row),
            row.get("error") or result.reason or "",
        )  # fmt: skip


def _without(row: dict[str, Any]) -> Comparison:
    why = row.get("error") if row["network"] == "*" else _SEEDED
    return Comparison(
        name_of(row), row["network"], row["batch"], row["dtype"], row["mode"],
        None, _number(row["value"]), 0.0, why or "",
    )  # fmt: skip


def _number(value: Any) -> float | None:
    """None for what is not a number, which is written as a string."""
    return float(value) if isinstance(value, (int, float)) else None


def page(found: list[Comparison], seconds: float) -> str:
    """The page: how many agree, each proxy on each network at its worst, what is not compared."""
    verdicts = Counter(c.verdict for c in found)
    compared = [c for c in found if c.verdict != "not compared"]
    return "\n".join(
        [
            "# Parity with published codes",
            "",
            f"`python benchmarks/parity.py`, {datetime.date.today()}, {processor()}, "
            f"1 thread, torch {torch.__version__}, numpy "
            f"{numpy.__version__}, Python {platform.python_version()}; {seconds:.0f} seconds.",
            "",
            f"Of {len(found):,} published values {verdicts['equal']:,} are reproduced, "
            f"{verdicts['no value']} cannot be computed by either, {verdicts['by intent']} differ "
            f"by intent, {verdicts['DIFFERS']} differ otherwise and {verdicts['not compared']} are "
            "not compared.",
            "",
            'Ours is the proxy of that name, `archrank.proxies.get("NAME@SOURCE")`, asked for in '
            "`archrank.score` on the same weights and inputs, in batches of 8 and 32, single and "
            "double precision, training and evaluation mode, as far as each reference was run. A "
            "row shows the largest of these differences against its tolerance: ten times the "
            "instability of the reference's own value, at least 1e-5 (GradSign's signs: 1e-4 in "
            "single, 1e-6 in double precision). The references' random inputs and probes are "
            "replaced by the same fixed ones on both sides.",
            "",
            "## Every proxy on every network",
            "",
            "| proxy | network | values | batch, type, mode of the worst | ours | theirs | "
            "relative difference | tolerance | verdict | why |",
            "|---|---|---:|---|---:|---:|---:|---:|---|---|",
            *_worst_rows(compared),
            "",
            "## Not compared",
            "",
            "| proxy | values | why |",
            "|---|---:|---|",
            *_uncompared_rows([c for c in found if c.verdict == "not compared"]),
            "",
        ]
    )


def _worst_rows(compared: list[Comparison]) -> Iterator[str]:
    together: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for one in compared:
        together[one.proxy, one.network].append(one)
    proxies = {proxy: None for proxy, _ in together}
    for proxy, network in sorted(together, key=lambda pair: [*proxies].index(pair[0])):
        several = together[proxy, network]
        worst = max(several, key=lambda c: (c.difference / c.tolerance, c.ours is not None))
        verdict = " / ".join(sorted({c.verdict for c in several}))
        why = INTENDED.get((proxy, network)) or _shortened(worst.why)
        yield (
            f"| `{proxy}` | {network} | {len(several)} | {worst.batch}, {worst.dtype}, "
            f"{worst.mode} | {_shown(worst.ours)} | {_shown(worst.theirs)} | "
            f"{_shown(worst.difference, 1)} | {worst.tolerance:.0e} | {verdict} | {why} |"
        )


def _uncompared_rows(found: list[Comparison]) -> Iterator[str]:
    for (proxy, why), count in Counter((c.proxy, c.why) for c in found).items():
        yield f"| `{proxy}` | {count} | {_shortened(why)} |"


def _shown(value: float | None, digits: int = 8) -> str:
    if value is None:
        return "none"
    return "none" if math.isinf(value) else f"{value:.{digits}g}"


def _shortened(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 140 else text[:137] + "..."


def processor() -> str:
    """The processor's name, or its architecture."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Compare all rows and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=Path, default=VALUES, help="folder of parity.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    found = compare(arguments.values, json.loads((arguments.values / "parity.json").read_text()))
    text = page(found, time.perf_counter() - start)
    RESULT.write_text(text)
    for one in found:
        if one.verdict == "DIFFERS":
            print(one)
    print(Counter(c.verdict for c in found))


if __name__ == "__main__":
    main()
