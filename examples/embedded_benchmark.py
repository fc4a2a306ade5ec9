"""Rank networks of the embedded benchmark, untrained, and compare with their measured accuracy.

``python examples/embedded_benchmark.py --networks 100 --out demo`` is what ``make demo`` runs.
"""

from __future__ import annotations

import argparse
import datetime
import random
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import archrank
from archrank.basics import SIZES
from archrank.data import images, space, table
from archrank.metrics import bootstrap, kendall, spearman
from archrank.predictors import OutOfFamilyWarning
from archrank.predictors.features.evidence import PROXIES


def draw_sample(n: int, seed: int) -> list[str]:
    """Return ``n`` of the networks that have labels."""
    return random.Random(seed).sample(sorted(table("digits").architectures), n)


def agreement(scores: pd.DataFrame, accuracy: pd.Series[float], seed: int) -> pd.DataFrame:
    """Return Kendall's tau and Spearman's rho of each column with the accuracy, the best tau
    first."""
    rows = []
    for name in scores:
        known = scores[name].notna()
        predicted, truth = scores.loc[known, name].astype(float), accuracy[known]
        low, high = bootstrap(kendall, predicted, truth, seed=seed)
        rows.append(
            {
                "ranked by": name,
                "tau": round(kendall(predicted, truth), 3),
                "95 % interval": f"{low:.2f} to {high:.2f}",
                "rho": round(spearman(predicted, truth), 3),
                "networks": int(known.sum()),
            }
        )
    rows.append(by_luck(accuracy, seed))
    return pd.DataFrame(rows).sort_values("tau", ascending=False, ignore_index=True)


def by_luck(accuracy: pd.Series[float], seed: int, draws: int = 1000) -> dict[str, object]:
    """Return means over random orders, and the range that 95 % of single ones lie in."""
    random = np.random.default_rng(seed)
    orders = [random.random(len(accuracy)) for _ in range(draws)]
    taus = [kendall(order, accuracy) for order in orders]
    low, high = np.quantile(taus, (0.025, 0.975))
    return {
        "ranked by": "luck",
        "tau": round(float(np.mean(taus)), 3),
        "95 % interval": f"{low:.2f} to {high:.2f}",
        "rho": round(float(np.mean([spearman(order, accuracy) for order in orders])), 3),
        "networks": len(accuracy),
    }


def show_progress(done: int, total: int, name: str) -> None:
    """Print a line that counts."""
    if done == total or done % 10 == 0:
        print(f"scored {done} of {total}", flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--report", type=Path, help="also write the figures as Markdown")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # networks this small gain nothing from more
    # It learnt from networks like these; one in fifty is taken for out of distribution.
    warnings.simplefilter("ignore", OutOfFamilyWarning)

    digits, measured = space("digits"), table("digits")
    archs = draw_sample(arguments.networks, arguments.seed)
    x, y = images("digits", 64, seed=0)
    ranking = archrank.rank(
        digits.candidates(archs),
        x,
        targets=y,
        jobs=arguments.jobs,
        progress=show_progress,
    )

    found = ranking.table.set_index("name")
    accuracy = measured.labels()[found.index]
    columns = ["score", *(name for name in PROXIES if found[name].notna().any()), *SIZES]
    scores = found[columns].rename(columns={"score": "archrank (auto)"})
    figures = agreement(scores, accuracy, arguments.seed)
    ceiling = measured.noise_ceiling()
    print("\n" + figures.to_string(index=False))
    if ceiling is not None:
        print(f"\nTwo trainings of the same networks agree with tau {ceiling.between:.3f}.")
    top = found.head(10).index
    if arguments.report is not None:
        report(figures, arguments, None if ceiling is None else ceiling.between)
    print(
        f"Mean accuracy of the ten ranked first {accuracy[top].mean():.1f} %, of all "
        f"{len(found)} {accuracy.mean():.1f} %, best {accuracy.max():.1f} %."
    )

    found.assign(accuracy=accuracy).to_csv(arguments.out / "ranking.csv")
    figures.to_csv(arguments.out / "agreement.csv", index=False)
    digits.graph(found.index[0]).draw(arguments.out / "best.svg")
    plot(found, accuracy, arguments.out / "ranking.png")
    print(f"Written: ranking.csv, agreement.csv, ranking.png, best.svg in {arguments.out}/")


def report(figures: pd.DataFrame, arguments: argparse.Namespace, ceiling: float | None) -> None:
    """Return the figures as Markdown, with how they were made."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in figures.to_numpy().tolist()]
    header = "| " + " | ".join(figures.columns) + " |\n| --- | ---: | ---: | ---: | ---: |"
    command = f"python examples/embedded_benchmark.py --networks {arguments.networks}"
    arguments.report.write_text(
        f"# The embedded benchmark, ranked untrained\n\nCommand: `{command}`. Sample: "
        f"{arguments.networks} of {len(table('digits'))} networks, seed {arguments.seed}. Date: "
        f"{datetime.date.today().isoformat()}. torch {torch.__version__}. Intervals: bootstrap "
        f"over networks; of luck, the range of 95 % of 1,000 random orders. Noise ceiling: two "
        f"trainings of the same networks agree with tau "
        f"{ceiling:.3f}.\n\n{header}\n" + "\n".join(lines) + "\n"
    )


def plot(found: pd.DataFrame, accuracy: pd.Series[float], path: Path) -> None:
    """Score and FLOPs against accuracy, one colour for each family."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    families = pd.Series(found.index.str.partition(":").get_level_values(0), index=found.index)
    for axes, column in zip(figure.subplots(1, 2, sharey=True), ("score", "flops"), strict=True):
        for family, rows in found.groupby(families):
            axes.scatter(rows[column], accuracy[rows.index], s=26, alpha=0.8, label=str(family))
        axes.set_xlabel({"score": "archrank's score, untrained", "flops": "FLOPs"}[column])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        tau = kendall(found[column].astype(float), accuracy)
        axes.set_title(f"Kendall's tau {tau:.2f}")
        if column == "flops":
            axes.set_xscale("log")
        else:
            axes.set_ylabel("test accuracy after training, % (mean of three seeds)")
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=10, frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
