"""The shipped speed predictor: how it is made, and its errors on families left out.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/speed.py --work CACHE``. The
script traces every measured network once (into files of CACHE, about 0.3 s each; started again, it
continues where it was). Then it fits the predictor and writes ``costs/weights/`` and
``experiments/results/speed.md``. ``--tables`` writes the page alone.

Folds are families (``family`` of the table), so no relative of a tested network was seen. Width,
decay and epochs were chosen on inner folds of the training part of one fold, on half of the
networks. Two choices were settled by looking at which families were off, among all of them: the
classes of operators, and that attention of other than four dimensions runs unfused.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import RESULTS, STORES, made_by, parser, write_page
from sklearn.model_selection import GroupKFold

import archrank
from archrank.costs.devices import SETTINGS
from archrank.costs.speed import SpeedPredictor, error_quantiles
from archrank.graphs import Graph
from archrank.metrics import spearman
from archrank.predictors import Sample
from archrank.vision import import_vision

PAGE = RESULTS / "speed.md"
OWN = STORES / "measured_processor.csv"
"""What ``measured_processor.py`` measured."""
WEIGHTS = Path(__file__).parents[1] / "costs" / "weights"
AIMS = {"rtx4090": (0.985, 75), "i9-10940x-compiled": (0.965, 70), "rtx3090-train": (0.97, 75)}
FOLDS = 5
LEVELS = (0.5, 0.9)


def measured() -> pd.DataFrame:
    """Return the table of measured speeds."""
    return pd.read_parquet(Path(os.environ["ARCHRANK_DATA"]) / "imagenet_zoo" / "speed.parquet")


def measured_here() -> pd.DataFrame:
    """Return what ``measured_processor.py`` measured, with the columns that are read of a table."""
    rows = pd.read_csv(OWN)
    rows = rows[rows.status == "ok"]
    models = rows.name.str.removeprefix("timm:")
    sizes = rows.input.str.split("x").str[-1].astype(int)
    families = measured().drop_duplicates("model").set_index("model").family
    return pd.DataFrame(
        {
            "device": "epyc-1core",
            "model": models,
            "family": families.reindex(models).to_numpy(),
            "img_size": sizes,
            "batch_size": rows.batch_size,
            "step_time": rows.latency_ms,
            "params_M": rows.params / 1e6,
        }
    )


def traced(name: str, pixels: int, work: Path) -> None:
    """Write a network's graph, and that of what inference runs after folding its branches."""
    path = work / f"{name}@{pixels}.npz"
    if path.exists():
        return
    timm = import_vision("timm")
    from timm.utils.model import reparameterize_model

    for options in ({}, {"img_size": pixels}):
        try:
            with torch.device("meta"):
                model = timm.create_model(name, **options)
            archrank.trace(model.eval(), (3, pixels, pixels)).save(path)
            break
        except Exception as error:  # whatever a model raises that is not of this size
            said = error
    else:
        print(f"{name} at {pixels}: {said}")
        return
    if any(hasattr(m, "fuse") or hasattr(m, "reparameterize") for m in model.modules()):
        folded = reparameterize_model(timm.create_model(name).eval())
        folded_path = work / f"{name}@{pixels}#fused.npz"
        archrank.trace(folded, (3, pixels, pixels)).save(folded_path)


def rows(work: Path) -> tuple[pd.DataFrame, list[Sample]]:
    """Measured rows whose network this timm builds with the parameters that were said."""
    table = pd.concat([measured(), measured_here()], ignore_index=True)
    graphs: dict[str, Graph] = {}
    samples, kept = [], []
    place = {one.name: i for i, one in enumerate(SETTINGS)}
    for at, row in table.iterrows():
        name = f"{row.model}@{row.img_size}"
        for path in (work / f"{name}.npz", work / f"{name}#fused.npz"):
            if not path.exists():
                continue
            graph = graphs.setdefault(path.name, Graph.load(path))
            if abs(graph.params / 1e6 - row.params_M) <= 0.01 * row.params_M + 0.02:
                context = (float(place[row.device]), float(row.batch_size))
                samples.append(Sample(graph, context=context))
                kept.append(at)
                break
    return table.loc[kept].reset_index(drop=True), samples


def baseline(table: pd.DataFrame, samples: list[Sample], folds: np.ndarray) -> np.ndarray:
    """log milliseconds, linear in log FLOPs and log activations, per setting; left out likewise."""
    sizes = np.log([[s.graph.product_flops, s.graph.activations] for s in samples])
    columns = np.concatenate([np.ones((len(table), 1)), sizes], axis=1)
    per_sample = np.log(table.step_time / table.batch_size).to_numpy()
    made = np.zeros(len(table))
    for fold in range(FOLDS):
        for device in table.device.unique():
            here = (table.device == device).to_numpy()
            known, out = here & (folds != fold), here & (folds == fold)
            weights = np.linalg.lstsq(columns[known], per_sample[known], rcond=None)[0]
            made[out] = columns[out] @ weights
    return made + np.log(table.batch_size.to_numpy())


def folds_of(table: pd.DataFrame) -> np.ndarray:
    """Return the fold of each row, as the predictor leaves them out."""
    folds = np.zeros(len(table), dtype=int)
    for fold, (_, out) in enumerate(GroupKFold(FOLDS).split(folds, groups=table.family)):
        folds[out] = fold
    return folds


def figures(log_error: np.ndarray, table: pd.DataFrame) -> tuple[float, float, float]:
    """Rank correlation of milliseconds a sample; share within 20 %; median error, in percent."""
    truth = np.log(table.step_time / table.batch_size).to_numpy()
    ratio = np.abs(np.expm1(-log_error))
    rho = spearman(truth - log_error, truth)
    return rho, 100 * float((ratio <= 0.2).mean()), 100 * float(np.median(ratio))


def held(log_error: np.ndarray, folds: np.ndarray, level: float = 0.9) -> np.ndarray:
    """Whether each measured time is in the interval of the errors of the other folds."""
    inside = np.zeros(len(folds), dtype=bool)
    for fold in np.unique(folds):
        out = folds == fold
        said = error_quantiles(log_error[~out], folds[~out])
        ends = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.interp(ends, np.linspace(0, 1, len(said)), said)
        inside[out] = (log_error[out] >= low) & (log_error[out] <= high)
    return inside


def other_sizes(table: pd.DataFrame, samples: list[Sample]) -> tuple[np.ndarray, pd.DataFrame]:
    """log(measured / predicted) of the largest image size of networks measured at several, that
    size left out on every device."""
    sizes = table.groupby("model").img_size.agg(["min", "max"])
    largest = table.model.map(sizes["max"])
    out = ((table.img_size == largest) & (largest > table.model.map(sizes["min"]))).to_numpy()
    known = SpeedPredictor(members=1, folds=0).fit(
        [samples[i] for i in np.flatnonzero(~out)], table.step_time[~out]
    )
    said = known.predict([samples[i] for i in np.flatnonzero(out)])
    tested = table[out].reset_index(drop=True)
    return np.log(tested.step_time.to_numpy() / said), tested


def page(table: pd.DataFrame, samples: list[Sample], off: np.ndarray) -> list[str]:
    """Return the page's lines."""
    folds = folds_of(table)
    plain = np.log(table.step_time.to_numpy()) - baseline(table, samples, folds)
    lines = [
        "# Speed on devices that are not at hand",
        "",
        f"{made_by('speed.py')} "
        f"{len(table):,} measured rows of {table.model.nunique():,} networks; {FOLDS} folds of "
        f"{table.family.nunique()} families, so that no relative of a tested network was seen. "
        "In brackets: log-linear in multiply-adds and activations, fitted to the same rows. "
        "rho: Spearman's, of milliseconds a sample. Intervals: of 90 % and, in brackets, of 50 %, "
        "set by the errors of the other folds alone.",
        "",
        "| setting | networks | rho | within 20 % | median error | interval holds | aim |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in SETTINGS:
        here = (table.device == one.name).to_numpy()
        rho, near, middle = figures(off[here], table[here])
        plain_rho, plain_near, _ = figures(plain[here], table[here])
        half, most = (100 * held(off[here], folds[here], level).mean() for level in LEVELS)
        aim = AIMS.get(one.name)
        aimed = f"{aim[0]:.3f}, {aim[1]} %" if aim else "-"
        lines.append(
            f"| {one.name} | {here.sum():,} | {rho:.3f} ({plain_rho:.3f}) | {near:.0f} % "
            f"({plain_near:.0f} %) | {middle:.0f} % | {most:.0f} % ({half:.0f} %) | {aimed} |"
        )
    return lines


def families(table: pd.DataFrame, off: np.ndarray) -> list[str]:
    """Lines on the families that are most off."""
    by = table.assign(off=-off).groupby(["device", "family"]).off.agg(["median", "size"])
    worst = by[by["size"] >= 4].sort_values("median", key=np.abs, ascending=False).head(12)
    told = [
        f"{family} on {device} ({np.exp(row['median']):.2f} times the measured time)"
        for (device, family), row in worst.iterrows()
    ]
    return ["", f"Most off, median of a family left out: {'; '.join(told)}."]


def main() -> None:
    """Measure what is missing, and write the page."""
    arguments = parser(__doc__, tables=True)
    arguments.add_argument("--work", type=Path, required=True, help="folder of graphs and errors")
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    errors = options.work / "left_out.npy"
    if not options.tables:
        for row in measured().drop_duplicates(["model", "img_size"]).itertuples():
            traced(row.model, int(row.img_size), options.work)
    table, samples = rows(options.work)
    if not options.tables:
        predictor = SpeedPredictor(folds=FOLDS).fit(samples, table.step_time, table.family)
        np.save(errors, predictor.left_out_)
        del predictor.left_out_, predictor.parts_
        predictor.save(WEIGHTS)
        off, tested = other_sizes(table, samples)
        tested.assign(off=off).to_parquet(options.work / "sizes.parquet")
    lines = page(table, samples, np.load(errors)) + families(table, np.load(errors))
    sizes = pd.read_parquet(options.work / "sizes.parquet")
    ratio = np.abs(np.expm1(-sizes.off))
    lines += [
        "",
        f"Unseen image sizes of known networks ({len(sizes):,} rows; the largest size of networks "
        f"measured at several): {100 * (ratio <= 0.15).mean():.0f} % within 15 %, median "
        f"error {100 * ratio.median():.0f} %.",
    ]
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
