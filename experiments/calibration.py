"""New devices from few measured networks: each device left out, then measured on 0 to 20 networks.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/calibration.py --work CACHE``,
after ``experiments/speed.py``, whose graphs in CACHE it reads. For each device, the script fits the
pretrained predictor to the rows of the other devices and keeps it in CACHE. The predictor then
learns each setting of the device from the first networks of ``CALIBRATION``, or from as many random
ones. The script writes ``experiments/results/calibration.md``. ``--choose`` prints ``CALIBRATION``.

Five choices were made by looking at these figures, over all devices: the parts of the time are a
group of columns; batches of 16 times as many samples are borrowed; how intervals are widened; the
distance by which networks are chosen; and attention of other than four dimensions runs unfused.
"""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, made_by, markdown_table, write_page
from scipy.spatial.distance import cdist
from speed import rows

from archrank import load_predictor
from archrank.costs import DeviceSpeed, SpeedPredictor
from archrank.costs.calibrating import CALIBRATION
from archrank.costs.devices import SETTINGS
from archrank.costs.operators.loads import CLASSES, loads
from archrank.data import space
from archrank.metrics import spearman
from archrank.predictors import Sample

PAGE = RESULTS / "calibration.md"
COUNTS = (5, 10, 20)
SEEDS = 5
TESTED = 300  # networks of each setting
FIGURES = ["rho", "near", "held", "rho_apart", "near_apart"]
PROCESSOR = "i9-10940x-compiled"


def without(device: str, table: pd.DataFrame, samples: list[Sample], work: Path) -> SpeedPredictor:
    """Return the pretrained predictor of all rows but a device's."""
    path = work / f"without_{device}"
    if not path.exists():
        kept = np.flatnonzero([not name.startswith(device) for name in table.device])
        known = SpeedPredictor(members=1, folds=0)
        known.fit([samples[i] for i in kept], table.step_time.to_numpy()[kept])
        del known.left_out_, known.parts_
        known.save(path)
    return SpeedPredictor.load(path)


def remember(base: SpeedPredictor) -> None:
    """Let it look at each network, setting and batch once."""
    known: dict[tuple, tuple[np.ndarray, ...]] = {}
    look = base.shares

    def shares(asked: list[Sample]) -> tuple[np.ndarray, ...]:
        keys = [(id(sample.graph), sample.context) for sample in asked]
        new = {key: s for key, s in zip(keys, asked, strict=True) if key not in known}
        if new:
            known.update(zip(new, zip(*look([*new.values()]), strict=True), strict=True))
        return tuple(map(np.array, zip(*(known[key] for key in keys), strict=True)))

    base.shares = shares


def figures(said: np.ndarray, times: np.ndarray, batches: np.ndarray) -> tuple[float, float]:
    """Rank correlation of milliseconds a sample, and the share within 20 %."""
    near = float((np.abs(said / times - 1) <= 0.2).mean())
    return spearman(said / batches, times / batches), 100 * near


def looked_at(families: pd.Series) -> np.ndarray:
    """Whether networks are of the half of families that the processor roofline was judged on."""
    names = np.unique(families)
    return np.isin(families, np.random.default_rng(0).permutation(names)[: len(names) // 2])


def alone(samples: list[Sample], times: np.ndarray, tested: list[Sample]) -> np.ndarray:
    """Milliseconds by FLOPs and activations, log-linear, fitted to few networks."""

    def columns(some: list[Sample]) -> np.ndarray:
        sizes = [[s.graph.product_flops, s.graph.activations] for s in some]
        batch = np.array([s.context[0] for s in some])[:, None]
        return np.concatenate([np.ones((len(some), 1)), np.log(np.array(sizes) * batch)], axis=1)

    known = columns(samples)
    pull = 0.03 * len(known) * np.diag([0.0, 1.0, 1.0])
    centre = np.array([0.0, 0.5, 0.5])
    left = np.log(times) - known @ centre
    weights = centre + np.linalg.solve(known.T @ known + pull, known.T @ left)
    return np.exp(columns(tested) @ weights)


def judged(place: int, table: pd.DataFrame, samples: list[Sample], base: SpeedPredictor) -> list:
    """Rows of one setting: what is known, how many measured, rho, share within 20 %, and how many
    90 % intervals hold."""
    here = np.flatnonzero(table.device == SETTINGS[place].name)
    own = {int(i): Sample(samples[i].graph, context=samples[i].context[1:]) for i in here}
    times, batches = table.step_time.to_numpy(), table.batch_size.to_numpy()
    wanted = [name.removeprefix("timm:") for name in CALIBRATION]
    chosen = [
        int(here[(table.model[here] == name).to_numpy()][0])
        for name in wanted
        if (table.model[here] == name).any()
    ]
    others = np.setdiff1d(here, chosen)
    count = min(TESTED, len(others) - max(COUNTS))
    tested = np.random.default_rng(0).choice(others, count, replace=False)
    asked = [own[int(i)] for i in tested]
    apart = ~np.isin(tested, here[looked_at(table.family[here])])

    def told(what: str, count: int, said: np.ndarray, held: float = np.nan) -> tuple:
        both = [
            figures(said[some], times[tested][some], batches[tested][some])
            for some in (slice(None), apart)
        ]
        return (what, count, *both[0], held, *both[1])

    def by(device: DeviceSpeed) -> tuple[np.ndarray, float]:
        said = device.speed(asked)
        inside = (said.low <= times[tested]) & (times[tested] <= said.high)
        return said.milliseconds, 100 * float(inside.mean())

    sheet = (SETTINGS[place].teraflops, SETTINGS[place].gigabytes)
    found = [told("datasheet", 0, *by(DeviceSpeed.of_datasheet(*sheet, base)))]
    known = [k for k in base.seen_ if not SETTINGS[k].training]
    there = [[Sample(s.graph, context=(float(k), *s.context)) for s in asked] for k in known]
    found.append(told("known settings", 0, np.exp(np.mean(np.log([*map(base.predict, there)]), 0))))
    spare = np.setdiff1d(others, tested)
    for count in COUNTS:
        draws = [np.array(chosen[:count])]
        draws += [
            np.random.default_rng(seed).choice(spare, count, replace=False) for seed in range(SEEDS)
        ]
        for draw, picks in enumerate(draws):
            given, taken = [own[int(i)] for i in picks], times[picks]
            way = "chosen" if draw == 0 else "random"
            for what, sheet_too in (("measured", None), ("datasheet and measured", sheet)):
                fitted = DeviceSpeed(base, sheet_too).fit(given, taken)
                found.append(told(f"{what}, {way}", count, *by(fitted)))
            found.append(told(f"FLOPs and activations, {way}", count, alone(given, taken, asked)))
    return found


PHONES = {
    "Cortex-A76": "cortexA76_tflite21_ms",
    "Adreno 640": "adreno640_tflite21_ms",
    "Adreno 630": "adreno630_tflite21_ms",
}


def phones() -> list[tuple]:
    """Lines of phones (nn-Meter's latencies of NAS-Bench-201 cells, TFLite): by the shipped
    predictor and few random cells; mean over draws."""
    folder = Path(os.environ["ARCHRANK_DATA"])
    times = pd.read_parquet(folder / "nnmeter_nb201" / "nb201_3devices.parquet")
    named = pd.read_parquet(folder / "nasbench201" / "nb201_main.parquet").arch_str
    home = space("nasbench201")
    some = times.sample(TESTED + max(COUNTS), random_state=0)
    samples = [Sample(home.graph(named[i])) for i in some["index"]]
    ones = np.ones(TESTED)
    base = load_predictor("speed")
    remember(base)
    lines = []
    for count in COUNTS:
        cells = []
        for column in PHONES.values():
            taken = some[column].to_numpy()
            found = []
            for seed in range(SEEDS):
                order = np.random.default_rng(seed).permutation(len(samples))
                picks, tested = order[:count], order[count : count + TESTED]
                fitted = DeviceSpeed(base).fit([samples[i] for i in picks], taken[picks])
                said = fitted.predict([samples[i] for i in tested])
                found.append(figures(said, taken[tested], ones))
            rho, near = np.mean(found, axis=0)
            cells.append(f"{rho:.3f}, {near:.0f} %")
        lines.append((count, *cells))
    return lines


def representatives(table: pd.DataFrame, samples: list[Sample], most: float = 5.0) -> list[str]:
    """Networks of at most so many billion multiply-adds, each bringing all nearest to one of them.

    Distance: of square roots of the classes' shares in multiply-adds and bytes, and of both totals.
    """
    first = table.reset_index().sort_values("img_size", kind="stable").groupby("model").first()
    rows_ = []
    for at in first["index"]:
        found = loads(samples[at].graph)
        sums = (found.counts[:, 0] * found.times, found.counts[:, 1:].sum(axis=1) * found.times)
        by_class = [np.bincount(found.classes, each, len(CLASSES)) for each in sums]
        shares = [np.sqrt(each / each.sum()) for each in by_class]
        rows_.append(np.concatenate([*shares, np.log([e.sum() for e in by_class]) / 6.0]))
    away = cdist(rows_, rows_)
    small, nearest, picked = (first.gmacs <= most).to_numpy(), np.full(len(away), away.max()), []
    for _ in range(max(COUNTS)):
        gain = np.maximum(nearest[:, None] - away, 0.0).sum(axis=0)
        picked.append(int(np.where(small, gain, -1.0).argmax()))
        nearest = np.minimum(nearest, away[:, picked[-1]])
    return [str(first.index[at]) for at in picked]


def processors(means: pd.DataFrame) -> str:
    """Say how the CPU's families that were not looked at are predicted."""
    told = []
    for count in COUNTS:
        rows_ = [means.loc[(f"measured, {way}", count, PROCESSOR)] for way in ("chosen", "random")]
        chosen, random = (f"{row.rho_apart:.3f}, {row.near_apart:.0f} %" for row in rows_)
        told.append(f"{count} measured: chosen {chosen}; random {random}")
    return (
        f"Of {PROCESSOR}, the roofline that it is learnt from beside known devices was judged on "
        "half of the families while it was made. On the tested networks of the other families: "
        f"{'. '.join(told)}. A predictor that was fitted to 900 networks of this processor itself "
        "reaches what [speed](speed.md) says of families left out."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--choose", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table, samples = rows(options.work)
    if options.choose:
        print(*representatives(table, samples))
        return
    kept = []
    for device in ("rtx3090", "rtx4090", "i9-10940x", "epyc-1core"):
        base = without(device, table, samples, options.work)
        remember(base)
        for place, one in enumerate(SETTINGS):
            if one.device == device:
                kept += [(one.name, *row) for row in judged(place, table, samples, base)]
                print(one.name, kept[-1], flush=True)
    all_rows = pd.DataFrame(kept, columns=["setting", "what", "measured", *FIGURES])
    means = all_rows.groupby(["what", "measured", "setting"])[FIGURES].mean()
    names = [one.name for one in SETTINGS]
    lines = [
        "# New devices from few measured networks",
        "",
        made_by("calibration.py"),
        "",
        "Each device left out with all its settings; rho of milliseconds a sample, and the share "
        f"within 20 %, on {TESTED} other networks of the setting (of epyc-1core as many as there "
        "are), whose relatives other devices "
        f"may have shown. Random: mean of {SEEDS} draws. Known settings: the mean of what others "
        "take for it, nothing more known.",
        "",
        "Looked at while designing: what is learnt from a device, and which networks are measured, "
        "were settled on these very devices but epyc-1core, so that their figures are flattered by "
        "that choice.",
        "",
    ]
    cells = []
    for (what, count), part in means.groupby(level=["what", "measured"]):
        by = part.droplevel(["what", "measured"])
        shown = [f"{by.rho[n]:.3f}, {by.near[n]:.0f} %" if n in by.index else "-" for n in names]
        held = f"{by.held.mean():.0f} %" if by.held.notna().any() else "-"
        cells.append((what, count, *shown, f"{by.rho.mean():.3f}, {by.near.mean():.0f} %", held))
    headings = ["known of the device", "measured", *names, "mean", "90 % interval holds"]
    lines += markdown_table(headings, cells)
    lines += ["", processors(means)]
    lines += [
        "",
        f"Phones, of which no relative is known: cells of NAS-Bench-201, {TESTED} tested, mean of "
        f"{SEEDS} draws of measured ones.",
        "",
        *markdown_table(["measured", *PHONES], phones()),
    ]
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
