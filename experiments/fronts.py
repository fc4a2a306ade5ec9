"""Who is on the front of accuracy and predicted speed, and how often predicted limits are met.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/fronts.py --work CACHE``, after
``experiments/speed.py``. Times are predictions of families left out (``left_out.npy`` of CACHE);
accuracy is measured: the best ImageNet top-1 of a network's weights trained on ImageNet-1k alone.
It writes ``experiments/results/fronts.md`` and two pictures beside it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, made_by, markdown_table, write_page
from speed import folds_of, rows

from archrank.ranking.front import pareto_front
from archrank.ranking.pictures import draw_front, figure_class

PAGE = RESULTS / "fronts.md"
SHOWN = ("rtx4090", "i9-10940x-compiled")
FORTY = """resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d seresnet50 wide_resnet50_2
densenet121 regnety_016 regnety_032 regnety_064 efficientnet_b0 efficientnet_b1 efficientnet_b2
efficientnet_b3 tf_efficientnetv2_s mobilenetv2_100 mobilenetv3_small_100 mobilenetv3_large_100
ghostnet_100 mnasnet_100 rexnet_100 convnext_tiny convnext_small convnext_base
swin_tiny_patch4_window7_224 swin_small_patch4_window7_224 deit_tiny_patch16_224
deit_small_patch16_224 deit_base_patch16_224 deit3_small_patch16_224 pit_s_224 poolformer_s24
poolformerv2_s24 edgenext_small maxvit_tiny_tf_224 coat_lite_small hrnet_w18 repvgg_b0
inception_v3 nfnet_l0 mobilevit_s resnetv2_50 hardcorenas_a""".split()


def accuracies() -> pd.Series:
    """The best top-1 of each architecture and image size, of ImageNet-1k weights."""
    path = Path(os.environ["ARCHRANK_DATA"]) / "imagenet_zoo" / "accuracy.parquet"
    table = pd.read_parquet(path)
    plain = table[table.tag.str.contains("in1k") & ~table.tag.str.contains("ft|in2|in12|clip|dist")]
    return plain.groupby("architecture").top1.max()


def met(off: np.ndarray, table: pd.DataFrame, folds: np.ndarray) -> list[list[str]]:
    """Of networks kept by a limit with a chance, how many meet it; limits are quartiles."""
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
                    reach = np.quantile(errors[~tested], chance)
                    passed = said[tested] + reach <= limit
                    kept += int(passed.sum())
                    good += int((passed & (each[tested] <= limit)).sum())
                    could += int((each[tested] <= limit).sum())
            cells += [f"{100 * good / kept:.0f} %", f"{100 * good / could:.0f} %"]
        lines.append(cells)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    table, _ = rows(options.work)
    off = np.load(options.work / "left_out.npy")
    folds = folds_of(table)
    table["ms"] = table.step_time / table.batch_size
    table["said"] = table.ms * np.exp(-off)
    table["top1"] = table.architecture.map(accuracies())
    lines = ["# Fronts of accuracy and predicted speed", "", made_by("fronts.py"), ""]
    cells = []
    for device in SHOWN:
        here = folds[(table.device == device).to_numpy()]
        some = table[(table.device == device) & table.top1.notna()]
        errors = off[(table.device == device).to_numpy()]
        low, high = np.exp(np.quantile(errors, [0.05, 0.95]))
        assert len(here) == len(errors)
        for title, among in (
            ("well-known networks", some[some.model.isin(FORTY)].drop_duplicates("model")),
            ("all networks", some),
        ):
            scores = -among.top1.to_numpy()
            truly = pareto_front(np.stack([scores, among.ms], axis=1))
            likely = pareto_front(np.stack([scores, among.said], axis=1))
            both = int((truly & likely).sum())
            cells.append((device, title, len(among), int(truly.sum()), int(likely.sum()), both))
            if title.startswith("well"):
                shown = pd.DataFrame(
                    {
                        "name": among.model,
                        "score": among.top1,
                        "latency_ms": among.said,
                        "latency_low_ms": among.said * low,
                        "latency_high_ms": among.said * high,
                    }
                )
                front = shown[likely].sort_values("latency_ms")
                figure = draw_front(shown, front, "latency_ms", "measured top-1", figure_class())
                figure.axes[0].set_xlabel(f"predicted ms of an image on {device}, 90 % interval")
                figure.savefig(RESULTS / f"fronts_{device.partition('-')[0]}.svg")
                names = ", ".join(among.model[truly & likely].sort_values())
                lines += [f"{device}, on both fronts: {names}.", ""]
    headings = ["device", "networks", "how many", "measured front", "predicted front", "on both"]
    lines += markdown_table(headings, cells)
    lines += ["", "![RTX 4090](fronts_rtx4090.svg)", "", "![Core i9](fronts_i9.svg)", ""]
    lines += [
        "Limits at the quartiles of each setting: of networks kept with that chance, how many meet "
        "the limit, and of those that meet it, how many are kept. Errors are of other folds.",
        "",
    ]
    headings = ["setting", "chance .5: meet it", "are kept", "chance .9: meet it", "are kept"]
    lines += markdown_table(headings, met(off, table, folds))
    write_page(PAGE, lines)


if __name__ == "__main__":
    main()
