"""The front of expected accuracy and predicted speed, compared with the measured front.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/fronts.py --work CACHE --graphs
GRAPHS``, after ``experiments/speed.py`` (whose ``left_out.npy`` CACHE holds) and
``experiments/imagenet_zoo.py trace GRAPHS``. All predicted times and accuracies are those of
families left out; the script keeps the accuracies in CACHE. The measured accuracy of a network is
the best ImageNet top-1 of its weights that were trained on ImageNet-1k alone. The script writes
``experiments/results/fronts.md`` and two pictures beside it.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, made_by, markdown_table, write_page
from scipy import stats
from sklearn.model_selection import GroupKFold
from speed import folds_of, rows

from archrank.costs.speed import error_quantiles
from archrank.predictors import GraphEnsemble, Sample
from archrank.predictors.pretrained.training_recipes import context_of
from archrank.predictors.pretrained.zoo import best_plain, checkpoints, graphs_of
from archrank.ranking.front import pareto_front
from archrank.ranking.pictures import draw_front, figure_class, name_points

PAGE = RESULTS / "fronts.md"
SHOWN = {"rtx4090": "RTX 4090, amp", "i9-10940x-compiled": "Core i9-10940X, compiled"}
LEVELS = np.linspace(0, 1, 201)  # of error_quantiles
FOLDS = 5
FORTY = """resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d seresnet50 wide_resnet50_2
densenet121 regnety_016 regnety_032 regnety_064 efficientnet_b0 efficientnet_b1 efficientnet_b2
efficientnet_b3 tf_efficientnetv2_s mobilenetv2_100 mobilenetv3_small_100 mobilenetv3_large_100
ghostnet_100 mnasnet_100 rexnet_100 convnext_tiny convnext_small convnext_base
swin_tiny_patch4_window7_224 swin_small_patch4_window7_224 deit_tiny_patch16_224
deit_small_patch16_224 deit_base_patch16_224 deit3_small_patch16_224 pit_s_224 poolformer_s24
poolformerv2_s24 edgenext_small maxvit_tiny_tf_224 coat_lite_small hrnet_w18 repvgg_b0
inception_v3 nfnet_l0 mobilevit_s resnetv2_50 hardcorenas_a""".split()


def expected(work: Path, graphs: Path) -> pd.DataFrame:
    """Return, of each network and size, measured top-1, and the expected one with its 90 %
    interval.

    Whole families are left out of what is learnt; deviations are stretched by the errors of the
    other folds.
    """
    file = work / "top1.parquet"
    if file.exists():
        return pd.read_parquet(file)
    table = checkpoints()
    traced = graphs_of(list(table["network"]), graphs)
    samples = [
        Sample(traced[name], context=context_of(recipe))
        for name, recipe in zip(table["network"], table["recipe"], strict=True)
    ]
    labels, asked = table["top1"].to_numpy(), np.isin(table.index, best_plain(table).index)
    mean, std, fold = np.zeros(len(table)), np.zeros(len(table)), np.zeros(len(table), dtype=int)
    split = GroupKFold(FOLDS).split(labels, groups=table["family"])
    for number, (train, held) in enumerate(split):
        known = GraphEnsemble("percent").fit([samples[i] for i in train], labels[train])
        mean[held], std[held] = known.expected([Sample(samples[i].graph) for i in held])
        fold[held] = number
    off = np.abs(mean + np.log(100.0 - labels)) / std
    for number in range(FOLDS):
        others = asked & (fold != number)
        std[fold == number] *= np.quantile(off[others], 0.9) / stats.norm.ppf(0.95)
    reach = stats.norm.ppf(0.95) * std
    ends = {"top1": mean, "top1_low": mean - reach, "top1_high": mean + reach}
    made = pd.DataFrame({name: 100.0 - np.exp(-values) for name, values in ends.items()})
    made["measured"] = labels
    model, _, size = table["network"].str.partition("@").to_numpy().T
    made = made.assign(model=model, img_size=size.astype(int))[asked].reset_index(drop=True)
    made.to_parquet(file)
    return made


def predicted(
    device: str, table: pd.DataFrame, off: np.ndarray, top1: pd.DataFrame
) -> pd.DataFrame:
    """Return networks of a device with measured and predicted time and top-1, the best size of
    each.

    Intervals of times are by the errors of the other folds; ``errors`` are their quantiles.
    """
    here = (table.device == device).to_numpy()
    some, errors, fold = table[here].reset_index(drop=True), off[here], folds_of(table)[here]
    by = {f: error_quantiles(errors[fold != f], fold[fold != f]) for f in np.unique(fold)}
    ms = some.step_time / some.batch_size
    some = some.assign(ms=ms, said=ms * np.exp(-errors), errors=[by[f] for f in fold])
    some["low"], some["high"] = (
        some.said * np.exp([e[at] for e in some.errors]) for at in (10, 190)
    )
    return some.merge(top1, on=["model", "img_size"])


def chances(found: pd.DataFrame, limit: float) -> np.ndarray:
    """Return the chance of each network to take at most so many milliseconds."""
    logs = np.log(limit / found.said)
    return np.array([np.interp(x, e, LEVELS) for x, e in zip(logs, found.errors, strict=True)])


def fronts(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return who is on the measured front, and who on the predicted one."""
    measured = pareto_front(np.stack([-found.measured, found.ms], axis=1))
    return measured, pareto_front(np.stack([-found.top1, found.said], axis=1))


def draw(device: str, found: pd.DataFrame, path: Path) -> None:
    """Draw the predicted front with intervals, and the measured one beside it."""
    measured, likely = fronts(found)
    columns = {"model": "name", "top1": "score", "said": "latency_ms", "low": "latency_low_ms"}
    columns |= {"high": "latency_high_ms", "top1_low": "score_low", "top1_high": "score_high"}
    shown = found.rename(columns=columns)
    front = shown[likely].sort_values("latency_ms")
    figure = draw_front(shown, front, "latency_ms", "", figure_class())
    axes = figure.axes[0]
    truly = found[measured].sort_values("ms")
    colour = "#b5541c"
    axes.step(truly.ms, truly.measured, where="post", color=colour, linewidth=1, linestyle="--")
    axes.scatter(truly.ms, truly.measured, s=30, marker="D", color=colour, label="measured front")
    axes.set_xlabel(f"ms of an image on {SHOWN[device]}: predicted with its 90 % interval")
    axes.set_ylabel("ImageNet top-1, %: expected with its 90 % interval")
    axes.set_title(f"{len(found)} networks, each predicted with its family left out", fontsize=12)
    axes.legend(frameon=False, loc="lower right")
    figure.draw_without_rendering()
    name_points(axes, truly.model, truly.ms, truly.measured, color=colour)
    figure.savefig(path)


def choices(found: pd.DataFrame) -> list[tuple]:
    """Return what is chosen under limits, and what the best would have been."""
    made = []
    for limit in np.quantile(found.ms, [0.25, 0.5, 0.75]):
        best = found[found.ms <= limit].measured.max()
        for chance in (0.5, 0.9):
            kept = found[chances(found, limit) >= chance]
            if len(kept):
                one = kept.loc[kept.top1.idxmax()]
                told = f"{one.model}: {one.measured:.1f} %, {one.ms:.3g} ms"
                made.append((f"{limit:.3g}", chance, told, f"{best:.1f} %"))
    return made


def listed(found: pd.DataFrame, limit: float) -> list[tuple]:
    """Return a row for each network, by expected top-1."""
    measured, likely = fronts(found)
    sure = chances(found, limit)
    marks = [
        " and ".join(name for name, on in zip(("predicted", "measured"), both, strict=True) if on)
        for both in zip(likely, measured, strict=True)
    ]
    made = []
    for at in np.argsort(-found.top1.to_numpy()):
        one = found.iloc[at]
        made.append(
            (
                *(one.model, f"{one.top1:.1f} [{one.top1_low:.1f}, {one.top1_high:.1f}]"),
                *(f"{one.measured:.1f}", f"{one.said:.3g} [{one.low:.3g}, {one.high:.3g}]"),
                *(f"{one.ms:.3g}", f"{100 * sure[at]:.0f} %", marks[at]),
            )
        )
    return made


def met(off: np.ndarray, table: pd.DataFrame, folds: np.ndarray) -> list[list[str]]:
    """Return how many of the networks that a limit keeps with a chance meet it; limits are
    quartiles."""
    lines = []
    for device in table.device.unique():
        here = (table.device == device).to_numpy()
        each = np.log(table.step_time / table.batch_size).to_numpy()[here]
        said, fold, errors = each - off[here], folds[here], off[here]
        cells = [device]
        for chance in (0.5, 0.9):
            kept, good, could = 0, 0, 0
            for limit in np.quantile(each, [0.25, 0.5, 0.75]):
                for one in np.unique(fold):
                    tested = fold == one
                    quantiles = error_quantiles(errors[~tested], fold[~tested])
                    reach = np.interp(chance, LEVELS, quantiles)
                    passed = said[tested] + reach <= limit
                    kept += int(passed.sum())
                    good += int((passed & (each[tested] <= limit)).sum())
                    could += int((each[tested] <= limit).sum())
            cells += [f"{100 * good / kept:.0f} %", f"{100 * good / could:.0f} %"]
        lines.append(cells)
    return lines


def lines_of(device: str, found: pd.DataFrame) -> list[str]:
    """Return the part of the page about one device."""
    known = found[found.model.isin(FORTY)].reset_index(drop=True)
    picture = RESULTS / f"fronts_{device.partition('-')[0]}.svg"
    draw(device, known, picture)
    cells = []
    for title, some in ((f"{len(known)} well-known ones", known), (f"all {len(found)}", found)):
        truly, likely = fronts(some)
        top1 = (some.top1_low <= some.measured) & (some.measured <= some.top1_high)
        time = (some.low <= some.ms) & (some.ms <= some.high)
        held = [f"{100 * share.mean():.0f} %" for share in (top1, time, top1 & time)]
        cells.append(
            (title, int(truly.sum()), int(likely.sum()), int((truly & likely).sum()), *held)
        )
    limit = float(known.ms.median())
    headings = ["networks", "on the measured front", "on the predicted", "on both"]
    headings += ["top-1 in its interval", "time in its interval", "both"]
    under = ["limit, ms", "chance", "chosen of the well-known: measured", "best within the limit"]
    each = ["network", "expected top-1", "measured", "predicted ms", "measured", "chance", "front"]
    return [
        f"## {SHOWN[device]}",
        "",
        f"![{SHOWN[device]}]({picture.name})",
        "",
        *markdown_table(headings, cells),
        "",
        *markdown_table(under, choices(known)),
        "",
        f"Chance: to take at most {limit:.3g} ms, the median.",
        "",
        *markdown_table(each, listed(known, limit)),
        "",
    ]


def main() -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--graphs", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table, _ = rows(options.work)
    off = np.load(options.work / "left_out.npy")
    top1 = expected(options.work, options.graphs)
    lines = [
        "# Fronts of expected accuracy and predicted speed",
        "",
        made_by("fronts.py"),
        "",
        "Both are predicted of graphs alone, of families left out; intervals are of 90 %, set by "
        "the errors of other folds. Measured: the time, and the best top-1 of weights trained on "
        "ImageNet-1k alone, at most 256 pixels.",
        "",
    ]
    for device in SHOWN:
        lines += lines_of(device, predicted(device, table, off, top1))
    lines += [
        "## Limits",
        "",
        "At the quartiles of each setting: of networks kept with that chance, how many meet "
        "the limit, and of those that meet it, how many are kept. Errors are of other folds.",
        "",
    ]
    headings = ["setting", "chance .5: meet it", "are kept", "chance .9: meet it", "are kept"]
    lines += markdown_table(headings, met(off, table, folds_of(table)))
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
