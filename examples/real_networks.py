"""Rank well-known networks from their graphs alone, and compare with their published accuracy.

``python examples/real_networks.py --out demo`` is the second part of ``make demo``. The networks
are those of torchvision, built on the meta device: no weights are created, and nothing is run or
downloaded. The ranking is compared with the ImageNet top-1 that torchvision publishes for its
first weights. Eleven of these networks are among the checkpoints that the predictor learnt from,
some with the same weights.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import pandas as pd

import archrank
from archrank.basics import SIZES
from archrank.errors import MissingExtraError
from archrank.metrics import bootstrap, kendall
from archrank.scoring.zoos import import_zoo

NETWORKS = (
    *("alexnet", "vgg11_bn", "vgg16", "vgg19_bn", "squeezenet1_1", "googlenet", "inception_v3"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "densenet121", "densenet161", "densenet201"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5", "mnasnet1_0"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "efficientnet_b0", "efficientnet_b1"),
    *("efficientnet_b3", "efficientnet_v2_s", "regnet_y_400mf", "regnet_y_1_6gf"),
    *("regnet_x_3_2gf", "regnet_y_8gf", "convnext_tiny", "convnext_base", "vit_b_16"),
    *("vit_b_32", "swin_t", "swin_v2_s", "maxvit_t"),
)


def published() -> pd.Series[float]:
    """Return the ImageNet top-1 of the first weights of each network, from torchvision's list."""
    models = import_zoo("torchvision").models
    found = {
        name: models.get_model_weights(name)["IMAGENET1K_V1"].meta["_metrics"]["ImageNet-1K"][
            "acc@1"
        ]
        for name in NETWORKS
    }
    return pd.Series(found, name="published")


def ranked() -> tuple[pd.DataFrame, float]:
    """Return the ranking, by name of network, and the seconds that it took."""
    start = time.perf_counter()
    ranking = archrank.rank([f"torchvision:{name}" for name in NETWORKS], level="graphs")
    table = ranking.table.assign(name=ranking.table["name"].str.removeprefix("torchvision:"))
    return table.set_index("name"), time.perf_counter() - start


def agreement(table: pd.DataFrame, truth: pd.Series[float]) -> pd.DataFrame:
    """Return Kendall's tau of the ranking and of sizes with the published accuracy."""
    rows = []
    for name in ("score", *SIZES):
        values = table.loc[truth.index, name].to_numpy(float)
        low, high = bootstrap(kendall, values, truth.to_numpy(), seed=0)
        rows.append(
            {
                "ranked by": "archrank" if name == "score" else name,
                "tau": round(kendall(values, truth.to_numpy()), 3),
                "95 % interval": f"{low:.2f} to {high:.2f}",
            }
        )
    return pd.DataFrame(rows).sort_values("tau", ascending=False, ignore_index=True)


def draw(table: pd.DataFrame, truth: pd.Series[float], path: Path) -> None:
    """Draw expected against published accuracy, with intervals, beside parameters."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 5), sharey=True)
    at = table.loc[truth.index]
    for name, value in truth.items():
        row = at.loc[name]
        left.plot([row["top-1 low"], row["top-1 high"]], [value, value], color="#b9c7d8", lw=1.5)
    left.plot(at["top-1"], truth, "o", color="#1f5fa8", ms=5)
    left.axline((70, 70), slope=1, color="#999999", lw=0.8, ls="--")
    right.semilogx(at["params"] / 1e6, truth, "o", color="#a8571f", ms=5)
    for side, x in ((left, at["top-1"]), (right, at["params"] / 1e6)):
        for name in (
            "alexnet",
            "vgg16",
            "resnet50",
            "mobilenet_v3_small",
            "convnext_base",
            "vit_b_16",
        ):
            side.annotate(
                name, (x[name], truth[name]), (5, -10), textcoords="offset points", fontsize=8
            )
    left.set(
        xlabel="top-1 expected from the graph, before training, %", ylabel="published top-1, %"
    )
    right.set(xlabel="parameters, millions")
    for side, values in ((left, at["score"]), (right, at["params"])):
        tau = kendall(values.to_numpy(float), truth.to_numpy())
        side.set_title(f"Kendall's tau {tau:.2f}", fontsize=11)
        side.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{len(truth)} networks of torchvision, ImageNet")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    out = parser.parse_args().out
    try:
        truth = published()
    except MissingExtraError as error:
        print(f"left out: real networks ({error})")
        return
    out.mkdir(parents=True, exist_ok=True)
    table, seconds = ranked()
    found = agreement(table, truth)
    shown = table.loc[:, ["rank", "top-1", "top-1 low", "top-1 high", "params"]]
    shown.insert(1, "published", truth)
    print(shown.round(1).to_string())
    print(found.to_string(index=False))
    shown.to_csv(out / "real_networks.csv")
    lines = [
        f"Real networks: {len(truth)} of torchvision, {datetime.date.today()}, {seconds:.0f} s.",
        "",
        found.to_string(index=False),
    ]
    (out / "real_networks.txt").write_text("\n".join(lines) + "\n")
    draw(table, truth, out / "real_networks.png")
    print(f"wrote {out / 'real_networks.csv'}, .txt and .png; {seconds:.0f} s")


if __name__ == "__main__":
    main()
