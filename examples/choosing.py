"""Choose a network for your own images: limits, graphs, images, and trained networks.

``python examples/choosing.py --out choosing`` writes 500 of scikit-learn's digits into a folder of
images, as if they were yours, and ranks ``examples/small_networks.py`` for them step by step. At
the end it trains every candidate, which you would not do, to show what each step gained over
chance. It takes a few minutes on one core. Trained networks are kept, so a run that stops can
continue. It needs the extra [data].
"""

from __future__ import annotations

import argparse
import datetime
import warnings
from collections.abc import Iterable, Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.nn import functional as F

import archrank
from archrank.graphs.randomness import seeded
from archrank.metrics import kendall
from archrank.predictors import OutOfFamilyWarning
from archrank.scoring.candidates import collect

CANDIDATES = Path(__file__).with_name("small_networks.py")
TRAINING_MEMORY = 6.0  # MB of a training step of a batch: what stands in for one's 8 GB
BATCH = 50
EPOCHS = 30
TRAINED = 500  # images
TESTED = 1000  # others
TOP = 5


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits in 16 x 16 pixels (n, 16, 16) under noise, and their classes."""
    digits = load_digits()
    large = np.kron(digits.images / 16, np.ones((2, 2)))
    noisy = large + 0.3 * np.random.default_rng(0).standard_normal(large.shape)
    return (255 * noisy.clip(0, 1)).astype(np.uint8), digits.target


def write_folder(folder: Path) -> None:
    """Write the training images into one folder for each class."""
    images, classes = pictures()
    for number, (image, label) in enumerate(zip(images[:TRAINED], classes, strict=False)):
        home = folder / f"digit {label}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / f"{number}.png")


def train(network: torch.nn.Module) -> float:
    """Train a network from scratch; return its accuracy on held-out images, in %."""
    images, classes = pictures()
    scaled = torch.tensor(images / 255, dtype=torch.float32)[:, None]
    x, y = (scaled - 0.4) / 0.35, torch.tensor(classes)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = EPOCHS * (TRAINED // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    order = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(EPOCHS):
        for some in torch.randperm(TRAINED, generator=order).split(BATCH):
            optimiser.zero_grad()
            shift = torch.randint(-2, 3, (2,), generator=order).tolist()
            moved = x[some].roll(shift, (2, 3))
            F.cross_entropy(network(moved), y[some]).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        tested = slice(TRAINED, TRAINED + TESTED)
        guess = torch.cat([network(part).argmax(1) for part in x[tested].split(100)])
    return 100 * float((guess == y[tested]).double().mean())


def trained(names: Iterable[str], path: Path) -> pd.Series[float]:
    """Train candidates, those apart that the file holds already; accuracy by name."""
    if not path.exists():
        path.write_text("name,accuracy\n")
    known = pd.read_csv(path, index_col="name")["accuracy"].to_dict()
    for candidate in collect(str(CANDIDATES)):
        if candidate.name in set(names) - set(known):
            with seeded(0):
                known[candidate.name] = train(candidate.build())
            with path.open("a") as file:
                file.write(f"{candidate.name},{known[candidate.name]:.2f}\n")
            print(f"trained {candidate.name}: {known[candidate.name]:.1f} %", flush=True)
    return pd.Series(known)[list(names)]


def luck(accuracy: Sequence[float], count: int) -> float:
    """Return the expected best of so many drawn at random, without replacement."""
    ordered = sorted(accuracy)
    ways = [comb(place, count - 1) for place in range(len(ordered))]
    return float(np.dot(ways, ordered)) / comb(len(ordered), count)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("choosing"))
    parser.add_argument("--report", type=Path, help="also write the figures as Markdown")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", OutOfFamilyWarning)
    folder, results = arguments.out / "images", arguments.out / "results.csv"
    write_folder(folder)

    print(f"== 1. within {TRAINING_MEMORY:.0f} MB of training memory, ranked from graphs alone")
    limits = {"train_memory": TRAINING_MEMORY}
    given = {"limits": limits, "batch_size": BATCH, "progress": False}
    graphs = archrank.rank(str(CANDIDATES), level="graphs", **given)
    print(graphs, "\n")
    print("== 2. ranked by proxies on the images")
    images = archrank.rank(str(CANDIDATES), str(folder), **given)
    first = images.shortlist(TOP)
    print(first.to_string(index=False), "\n")
    print(f"== 3. training these {TOP}, and learning from them")
    known = trained(first["name"], results)
    learnt = archrank.rank(str(CANDIDATES), str(folder), measured=known, **given)
    print(learnt, "\n")
    print(learnt.shortlist(TOP).to_string(index=False), "\n")
    print("== 4. all others are trained as well, to judge the steps")
    everyone = [candidate.name for candidate in collect(str(CANDIDATES))]
    figures = judged(graphs, images, learnt, trained(everyone, results))
    print(figures.to_string(index=False))
    if arguments.report is not None:
        report(figures, arguments.report)


def judged(
    graphs: archrank.Ranking,
    images: archrank.Ranking,
    learnt: archrank.Ranking,
    accuracy: pd.Series[float],
) -> pd.DataFrame:
    """Return what each step reaches: the best and the mean of those that it would train.

    tau is with the accuracy of all within the limit or, of the second five, of those that were not
    trained yet.
    """
    within = accuracy[images.table["name"]]
    first, then = (list(one.shortlist(TOP)["name"]) for one in (images, learnt))
    left = within.index.difference(first)

    def row(
        step: str, names: list[str], ranking: archrank.Ranking, of: pd.Index[str]
    ) -> tuple[Any, ...]:
        scores = ranking.table.set_index("name")["score"][of]
        tau = kendall(scores.to_numpy(float), accuracy[of].to_numpy())
        return step, len(names), accuracy[names].max(), accuracy[names].mean(), tau

    def chance(step: str, of: pd.Series[float], count: int) -> tuple[Any, ...]:
        return step, count, luck([*of], count), of.mean(), 0.0

    ten = list(images.shortlist(2 * TOP)["name"])
    rows = [
        chance("any, at random", accuracy, TOP),
        chance("within the limit, at random", within, TOP),
        row("by graphs", list(graphs.shortlist(TOP)["name"]), graphs, within.index),
        row("by graphs and the images", first, images, within.index),
        chance("within the limit, at random", within, 2 * TOP),
        row("by graphs and the images", ten, images, left),
        row("five of these, then five by what they taught", [*first, *then], learnt, left),
        chance("all within the limit", within, len(within)),
    ]
    columns = ["trained", "networks", "best (%)", "mean (%)", "tau"]
    return pd.DataFrame(rows, columns=columns).round({"best (%)": 1, "mean (%)": 1, "tau": 2})


def report(figures: pd.DataFrame, path: Path) -> None:
    """Write the figures as Markdown, with how they were made."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in figures.to_numpy().tolist()]
    header = "| " + " | ".join(figures.columns) + " |\n| --- | ---: | ---: | ---: | ---: |"
    path.write_text(
        "# Choosing for your own images, judged\n\nCommand: `python examples/choosing.py "
        f"--report {path.as_posix()}`. Candidates: `examples/small_networks.py`, each trained once "
        f"({EPOCHS} epochs of {TRAINED} noisy digits, tested on {TESTED}). Date: "
        f"{datetime.date.today().isoformat()}. torch {torch.__version__}. One data set, one "
        'training each: an example, no proof. "At random" is the expected best of networks drawn '
        "without replacement. tau is with the accuracy of those within the limit; where ten are "
        f"trained, of those not among the first five.\n\n{header}\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
