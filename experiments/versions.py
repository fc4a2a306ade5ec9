"""Whether scores made under older versions of proxies hold: a sample of them is made anew.

Of each store behind the benchmark pages the first networks of its sample are scored again by every
proxy of the installed version, under the same condition and seed. The page lists, per proxy, the
largest relative difference from the stored score. What rounding alone may change is measured on a
few networks, which are scored by other kernels, too. A run that was stopped continues where it was.

    ARCHRANK_DATA=FOLDER python experiments/versions.py
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write
from run_benchmark import RUNS

from archrank import proxies
from archrank.proxies import Result
from archrank.scoring.store import Store
from archrank.scoring.table_runs import Settings, sample_of, settings_for, work_on
from archrank.scoring.work import score_work

SAMPLE = 6
ROUNDED = 2
SEED = 0
SAME = 1e-4
LOG = Lines(STORES / "versions.jsonl")
PAGE = RESULTS / "versions.md"


def settings_of(store: str, count: int) -> Settings:
    """Return the settings of the first run of a store, of a few networks."""
    return settings_for(**{**RUNS[store][0], "sample": count})


def keys_of(count: int, **more: str) -> list[dict[str, str]]:
    """Return a key per network: so many of each store."""
    archs = {store: sample_of(settings_of(store, count)) for store in RUNS}
    return [{"store": s, "arch": arch, **more} for s, several in archs.items() for arch in several]


def measure() -> None:
    """Score again what no line holds, in the order of the stores."""
    names = [proxy.name for proxy in proxies.list()]
    for key in LOG.missing(keys_of(SAMPLE)):
        settings = settings_of(key["store"], SAMPLE)
        with Store(STORES / f"{key['store']}.sqlite", writable=False) as opened:
            stored = opened.of(settings.condition, settings.space, key["arch"], SEED)
        wanted = tuple(name for name in names if name in {result.name for result in stored})
        LOG.keep(key, stored=_written(stored), anew=_scored(key, settings, wanted))
    convolutions = [k for k in keys_of(ROUNDED, kernels="torch") if k["store"] != "flexibert"]
    for key in LOG.missing(convolutions):
        usual = LOG.read(store=key["store"], arch=key["arch"], kernels=None)[0]["anew"]
        with torch.backends.mkldnn.flags(enabled=False):
            LOG.keep(key, anew=_scored(key, settings_of(key["store"], ROUNDED), tuple(usual)))


def _scored(key: Any, settings: Settings, names: tuple[str, ...]) -> dict[str, list[Any]]:
    work = work_on(settings, key["arch"], SEED, names)
    ((_, results),) = score_work(work).of_every_proxy(work)
    return _written(results)


def _written(results: Iterable[Result]) -> dict[str, list[Any]]:
    return {r.name: [r.version, r.value, r.status] for r in results}


def compared() -> pd.DataFrame:
    """Return a row per store, network and proxy: versions, statuses, relative difference."""
    rows = []
    for line in LOG.read(kernels=None):
        for name, (version, value, status) in line["anew"].items():
            before, old, was = line["stored"][name]
            rows.append(
                {
                    "store": line["store"],
                    "arch": line["arch"],
                    "proxy": name,
                    "before": before,
                    "now": version,
                    "difference": difference(value, old),
                    "statuses": (was, status),
                }
            )
    return pd.DataFrame(rows)


def difference(value: float | None, old: float | None) -> float:
    """Return the relative difference of two scores, NaN if one is missing."""
    if value is None or old is None:
        return math.nan
    return abs(value - old) / max(abs(old), 1e-9)


def rounding() -> dict[str, float]:
    """Return the largest relative difference that other kernels make, by proxy."""
    usual = {(line["store"], line["arch"]): line["anew"] for line in LOG.read(kernels=None)}
    found: dict[str, float] = {}
    for line in LOG.read(kernels="torch"):
        for name, (_, value, _) in line["anew"].items():
            old = usual[line["store"], line["arch"]].get(name, (None, None))[1]
            found[name] = float(np.nanmax([found.get(name, 0.0), difference(value, old)]))
    return found


def tables() -> Sequence[str]:
    """Return the lines of the page."""
    found, rounded = compared(), rounding()
    networks = found[["store", "arch"]].drop_duplicates()
    rows = []
    for name, of_proxy in found.groupby("proxy", sort=False):
        several = of_proxy[of_proxy["difference"].notna()]
        changed = of_proxy[of_proxy["statuses"].map(lambda pair: pair[0] != pair[1])]
        differ = sorted(set(several[several["difference"] > SAME]["store"]))
        rows.append(
            (
                f"`{name}`",
                f"{of_proxy['before'].max()} → {of_proxy['now'].max()}",
                len(several),
                f"{several['difference'].max():.1e}",
                f"{rounded[name]:.1e}" if name in rounded else "",
                ", ".join(differ) or "-",
                ", ".join(sorted({" → ".join(pair) for pair in changed["statuses"]})) or "-",
            )
        )
    return [
        *_introduction(len(networks), rows, _beyond(found, rounded)),
        *markdown_table(_HEADINGS, rows),
    ]


_HEADINGS = (
    *("proxy", "version", "networks", "largest difference", "by rounding"),
    *("stores that differ", "statuses that changed"),
)


def _beyond(found: pd.DataFrame, rounded: dict[str, float]) -> str:
    """Name the proxies that differ by more than twice what rounding made, with both figures."""
    largest = found.groupby("proxy", sort=False)["difference"].max()
    return ", ".join(
        f"`{name}` ({most:.2g}, {rounded[name]:.2g} by rounding)"
        for name, most in largest.items()
        if name in rounded and most > max(SAME, 2 * rounded[name])
    )


def _introduction(networks: int, rows: list[tuple[Any, ...]], beyond: str) -> list[str]:
    alike = sum(row[5] == "-" for row in rows)
    return [
        "# Scores under older versions of proxies",
        "",
        made_by("versions.py"),
        "",
        f"{networks} networks of {len(RUNS)} stores, the first {SAMPLE} of each sample, were",
        "scored anew by every proxy under the same condition and seed. The difference is relative",
        f"to the stored score. {alike} of {len(rows)} proxies agree within {SAME:g} on them.",
        "*By rounding* is the largest difference between two scores of one version, one by the",
        f"convolutions of oneDNN and one by torch's own, of {ROUNDED} networks a store.",
        f"These differ by more than twice that: {beyond or 'none'}.",
        "",
        *_READING,
        "",
    ]


_READING = (
    "Where batch norm of one sample is averaged, as behind the last block of TransNAS-Bench-101",
    "and behind some cells of NAS-Bench-301, gradients of single samples are zero but for",
    "rounding. Older scores of `gradsign` and its kin, `ntk_condition`, `vkdnw` and",
    "`vkdnw_entropy` read rounding there, and so did `jacob_cov` and `epe_nas` where the last",
    "batch norm is averaged. They are `not applicable` now, or without that part: what older",
    "pages say of them on these spaces is of rounding. `synflow_bn` is 0 there, which was some",
    "1e-10. `near` and `meco` leave out eigenvalues that single precision does not resolve. We",
    "read the other differences as rounding: of signs, of sums that nearly cancel out, and of few",
    "weights that decide (`zico`, `l_swag`). `gradsign_excess` and `gradsign_z` are near zero on",
    "some networks, where a relative difference says little, and the gradients of the twins of",
    "`croze` have little to do with each other in deep networks. A status also changed from",
    "`unsupported` where a proxy does not apply.",
)


def main() -> None:
    """Score what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, measure, tables)


if __name__ == "__main__":
    main()
