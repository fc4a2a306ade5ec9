"""What parts of learned predictors are worth: ParZC alone, GENNAPE's parts, losses, encoders.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/predictor_ablations.py PART ...
--work FOLDER``. It may be killed at any moment and goes on where it was: finished fits are lines of
``experiments/results/stores/ablations.jsonl``; node statistics, encoders and checkpoints lie in the
folder ``--work``, outside the repository. ``--tables`` writes ``experiments/results/ablations.md``
from the lines and fits nothing. Parts:

- ``scores``: proxies per node of the cells that ``parzc`` reads, one file per 50 cells;
  ``--share 0 2`` and ``--share 1 2`` do half of them each.
- ``parzc``: ParZC without a graph encoder, on these.
- ``gennape``: GENNAPE's ablation within one space.
- ``losses``: one small graph predictor under each loss, on standardised labels and batches of like
  sizes; ``losses served``: as ``GraphPredictor`` serves them.
- ``heads``: GENNAPE's members one by one, under several losses, on the encoder that is shipped and
  on an untrained one.
- ``encoders``: one graph predictor with each encoder.
- ``pretraining``: minutes and memory of contrastive pretraining on networks of many spaces;
  ``--networks`` and ``--epochs`` make it shorter.

Protocol, where it is not said otherwise: as ``experiments/predictors.py``, tested on a fixed random
1,000 architectures. No setting was chosen on test labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ablation_minutes import LINES, pretrain, table_of_pretraining
from ablation_scores import IMAGES, NODE_PROXIES, score_cells, with_node_scores
from common import RESULTS, interval, made_by, markdown_table, parser, write_page

from archrank import load_predictor, trace
from archrank.graphs import Graph
from archrank.predictors import (
    GENNAPE,
    KGNN,
    GraphPredictor,
    ParZC,
    Predictor,
    Pretrained,
    Pretraining,
)
from archrank.predictors.neural.encoders import encoders
from archrank.predictors.neural.losses import LOSSES, DiffKendall
from predictors import PROBLEMS, Pool, figures, pool_of

PAGE = RESULTS / "ablations.md"
SEEDS = 3
FIGURES = {
    "tau": "tau",
    "tau apart": "tau apart",
    "rho": "rho",
    "ndcg": "NDCG@10",
    "precision": "precision@top 5 %",
    "mae": "MAE, %",
    "fit s": "fit, s",
}


@dataclass(frozen=True)
class Part:
    """Variants of predictors, each fitted to every number of labels of every space."""

    title: str
    text: str
    spaces: tuple[str, ...]
    """Keys of ``PROBLEMS``."""
    counts: tuple[int, ...]
    variants: Mapping[str, Callable[[int], Predictor]]
    shown: tuple[str, ...]
    """Keys of ``FIGURES``."""
    tested: int = 1000
    labelled: int | None = None
    subsets: Mapping[str, str] | None = None
    """By space, which architectures take part, where not all do."""
    unit: float = 1.0
    """What labels are divided by."""

    def pool(self, key: str) -> Pool:
        """Read the architectures of a space that take part."""
        problem = replace(
            PROBLEMS[key],
            counts=self.counts,
            tested=self.tested,
            labelled=self.labelled,
            subset=(self.subsets or {}).get(key),
        )
        pool = pool_of(problem)
        return replace(pool, labels=pool.labels / self.unit, truth=pool.truth / self.unit)


POINTWISE = ("mse", "huber")  # which learn what they did before
PRETRAINING = {
    "options": {"width": 64, "dropout": 0.1},
    "projection": 32,
    "batch_size": 128,
    "epochs": 40,
}


def _gennape(
    member: str,
    transform: str | None,
    loss: str = "mse",
    untrained: bool = False,
    shipped: bool = True,
) -> Callable[[int], Predictor]:
    """Make GENNAPE with one member; of the encoder that is shipped, or one given later."""

    def made(seed: int) -> Predictor:
        encoder = shipped_encoder(untrained, seed) if shipped else None
        return GENNAPE((member,), transform, loss=loss, pretrained=encoder, random_state=seed)

    return made


def _of_loss(loss: str | torch.nn.Module, served: bool = True) -> Callable[[int], Predictor]:
    how = {} if served else {"normal_scores": False, "training": {"spread": 0.5}}
    small = {"width": 32, "layers": 3}
    return lambda seed: GraphPredictor("gin", small, loss=loss, random_state=seed, **how)


def shipped_encoder(untrained: bool, seed: int) -> Pretrained:
    """Return the encoder of the GENNAPE that is shipped, or the same with random weights."""
    known = load_predictor("gennape").encoder_
    if not untrained:
        return known
    weights = Pretraining(known.encoder, known.options, 1, epochs=0, random_state=seed)
    return weights.fit([trace(torch.nn.ReLU(), (3, 8, 8))])


def _of_encoder(name: str) -> Callable[[int], Predictor]:
    return lambda seed: GraphPredictor(name, {"width": 64}, random_state=seed)


PARTS = {
    "parzc": Part(
        "ParZC alone",
        "CIFAR-10 of NAS-Bench-201: the mixer on statistics per layer of "
        f"{', '.join(NODE_PROXIES)} at initialisation, one batch of {IMAGES} CIFAR-10 images, "
        "without a graph encoder. Tested on a fixed random 2,000 cells. Labelled sets are drawn by "
        "each seed from the same 1,563 cells, so the largest is the same set for all seeds. "
        "*small*: a mixer of width 128 and two blocks, batches of 32, a learning rate of 0.001. "
        "*log*: the logarithm of statistics instead of their place between the network's least "
        "and largest. *modules*: a layer's place by its module, not by its order.",
        ("nasbench201",),
        (78, 156, 469, 1563),
        {
            "ParZC": lambda seed: ParZC(draws=2, random_state=seed),
            "ParZC, small": lambda seed: _small_parzc(seed),
            "ParZC, small, modules": lambda seed: _small_parzc(seed, positions="module"),
            "ParZC, small, log": lambda seed: _small_parzc(seed, scaling="log"),
            "ParZC, small, log, modules": lambda seed: _small_parzc(
                seed, scaling="log", positions="module"
            ),
        },
        ("tau", "tau apart", "fit s"),
        tested=2000,
        labelled=1563,
    ),
    "gennape": Part(
        "GENNAPE within one space",
        "Rows as in its Table 3. 1,800 labels and a fixed test, where GENNAPE's protocol gives "
        "90 % of all networks (3,690 and 5,900 here) to learn from and to select on, which takes "
        "too long on two cores. NAS-Bench-201 without cells that hold `none`, as there (4,096). "
        "The k-GNN selects its epoch on 200 of the 1,800, the others select nothing. CL: an "
        "encoder trained by contrast (a k-GNN of width 64, 40 epochs in batches of 128, on the "
        "graphs of the 1,800), frozen, and a head on it; FCM: eight heads weighed by fuzzy "
        "clusters; T: labels divided by log10(FLOPs). MAE is of the labels, in percentage points; "
        "no network is left out, where the paper leaves out those below 80 %. Fits of CL do not "
        "count the pretraining, which all rows of a seed share.",
        ("nasbench201", "nasbench_macro"),
        (1800,),
        {
            "k-GNN": lambda seed: KGNN(random_state=seed),
            "k-GNN, learning rate 0.001": lambda seed: KGNN(learning_rate=1e-3, random_state=seed),
            "CL": _gennape("single", None, shipped=False),
            "CL+FCM": _gennape("fuzzy", None, shipped=False),
            "CL+T": _gennape("single", "flops", shipped=False),
            "CL+FCM+T": _gennape("fuzzy", "flops", shipped=False),
        },
        ("tau", "tau apart", "rho", "mae", "ndcg", "fit s"),
        labelled=1800,
        subsets={"nasbench201": "without none"},
        unit=100.0,  # the k-GNN's released training takes accuracies in [0, 1]
    ),
    "losses": Part(
        "Losses, on standardised labels and batches of like sizes",
        "A GIN of width 32 and three layers on folded graphs, 100 epochs in batches of 32; all "
        "else is the default of `GraphPredictor`.",
        ("nasbench201", "nasbench_macro"),
        (78, 469),
        {
            **{
                f"diff_kendall, {form}": _of_loss(DiffKendall(form=form), served=False)
                for form in ("original", "product", "hard")
            },
            **{name: _of_loss(name, served=False) for name in LOSSES if name != "diff_kendall"},
        },
        ("tau", "ndcg", "precision"),
    ),
    "losses served": Part(
        "Losses, on normal scores and batches of all sizes",
        "The same as `GraphPredictor` serves them by default, which was chosen on other spaces "
        "(`losses.md`): losses that only order learn the normal scores of labels. *diff_kendall* "
        "has the slope chosen there, the others of it the published ones.",
        ("nasbench_macro", "nasbench201"),
        (78,),
        {
            "diff_kendall": _of_loss("diff_kendall"),
            **{
                f"diff_kendall, {form}": _of_loss(DiffKendall(form=form))
                for form in ("original", "product", "hard")
            },
            **{name: _of_loss(name) for name in LOSSES if name not in ("diff_kendall", *POINTWISE)},
        },
        ("tau", "tau apart", "ndcg", "precision"),
    ),
    "heads": Part(
        "GENNAPE's members, and what its encoder is worth",
        "Each member alone, on 78 labels. The encoder is the one that is shipped, which saw no "
        "network of these spaces; *untrained*: the same with random weights, of each seed's own. "
        "FCM: heads weighed by fuzzy clusters, else one head; T: labels divided by log10(FLOPs).",
        ("nasbench_macro", "nasbench201"),
        (78,),
        {
            "CL, MSE": _gennape("single", None),
            "CL+T, MSE": _gennape("single", "flops"),
            "CL+FCM+T, MSE": _gennape("fuzzy", "flops"),
            "CL, DiffKendall": _gennape("single", None, "diff_kendall"),
            "CL+FCM, DiffKendall": _gennape("fuzzy", None, "diff_kendall"),
            "CL, pairwise logistic": _gennape("single", None, "pairwise_logistic"),
            "CL+Pairwise": _gennape("single pairwise", None),
            "CL+FCM+Pairwise": _gennape("fuzzy pairwise", None),
            "untrained, DiffKendall": _gennape("single", None, "diff_kendall", True),
            "untrained+FCM, DiffKendall": _gennape("fuzzy", None, "diff_kendall", True),
            "FLOPs": _gennape("flops", None),
        },
        ("tau", "tau apart", "rho"),
    ),
    "encoders": Part(
        "Encoders",
        "`GraphPredictor` with encoders of width 64, all else its default.",
        ("nasbench201",),
        (78, 469),
        {name: _of_encoder(name) for name in encoders()},
        ("tau", "tau apart", "fit s"),
    ),
}


def _small_parzc(seed: int, **options: str) -> ParZC:
    return ParZC(
        mixer={"width": 128, "depth": 2},
        batch_size=32,
        learning_rate=1e-3,
        draws=2,  # deviations are not judged
        random_state=seed,
        **options,
    )


# --- fits ---------------------------------------------------------------------------------------


def fit(
    part: Part, what: str, pool: Pool, count: int, seed: int, encoder: Pretrained | None
) -> dict:
    """Fit one variant to ``count`` labels and judge it."""
    labelled, tested = pool.split(count, seed)
    predictor = part.variants[what](seed)
    if encoder is not None:
        predictor.set_params(pretrained=encoder)
    start = time.perf_counter()
    predictor.fit([pool.plain[i] for i in labelled], pool.labels[labelled])
    fitted = time.perf_counter()
    predicted = predictor.predict([pool.plain[i] for i in tested])
    return {
        **figures(predicted, pool, labelled, tested),
        "mae": part.unit * float(np.abs(predicted - pool.labels[tested]).mean()),
        "fit s": fitted - start,
        "predict s": time.perf_counter() - fitted,
    }


def pretrained(name: str, graphs: Sequence[Graph], seed: int, work: Path) -> Pretrained:
    """Train an encoder by contrast on these graphs, kept in the folder."""
    folder = work / "encoders" / f"{name}-{len(graphs)}-{seed}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        made = Pretraining.published(**PRETRAINING, random_state=seed).fit(graphs)
        made.save(folder)
        facts = {"part": "gennape", "space": name, "count": len(graphs), "seed": seed}
        LINES.append(facts | {"what": "pretraining", "fit s": time.perf_counter() - start})
    return Pretrained.load(folder)


def run(
    name: str,
    seeds: int,
    spaces: Sequence[str],
    counts: Sequence[int],
    only: Sequence[str],
    work: Path | None,
) -> None:
    """Do all fits of a part that are not in the file yet; fewest labels first."""
    part = PARTS[name]
    for key in part.spaces:
        todo = LINES.missing(
            [
                {"part": name, "space": key, "count": count, "seed": seed, "what": what}
                for count in part.counts
                for seed in range(seeds)
                for what in part.variants
                if (not spaces or key in spaces)
                and (not counts or count in counts)
                and (not only or what in only)
            ]
        )
        if not todo:
            continue
        pool = part.pool(key)
        if name == "parzc":
            pool = with_node_scores(pool, folder_of(work) / "scores")
        for one in todo:
            count, seed, what = one["count"], one["seed"], one["what"]
            encoder = None
            if name == "gennape" and what.startswith("CL"):
                graphs = [pool.plain[i].graph for i in pool.split(count, seed)[0]]
                encoder = pretrained(key, graphs, seed, folder_of(work))
            made = fit(part, what, pool, count, seed, encoder)
            LINES.append({**one, **made})
            print(*one.values(), f"{made['tau']:.3f} {made['fit s']:.0f} s", flush=True)


# --- the page -----------------------------------------------------------------------------------


def tables() -> list[str]:
    """Write the page from the lines."""
    lines = [
        "# What parts of learned predictors are worth",
        "",
        f"{made_by('predictor_ablations.py PART ... --work FOLDER', '--tables')} "
        f"Mean over seeds ({SEEDS}, else as said) and 95 % interval of the mean. Tested on a fixed "
        "random 1,000 architectures that are never labelled, where it is not said otherwise. "
        "*apart*: without networks that equal a labelled one.",
    ]
    for name, part in PARTS.items():
        mine = LINES.read(part=name)
        if mine:
            lines += ["", f"## {part.title}", "", part.text]
        for key in part.spaces:
            found = [r for r in mine if r["space"] == key]
            if found:
                lines += ["", f"### {PROBLEMS[key].name}", "", *part_table(part, found)]
    return [*lines, *table_of_pretraining()]


def part_table(part: Part, results: list[dict]) -> list[str]:
    """Tabulate one row per variant, one column per number of labels and figure."""
    counts = [count for count in part.counts if any(r["count"] == count for r in results)]
    columns = [(count, figure) for count in counts for figure in part.shown]
    names = [f"{FIGURES[figure]}, {count} labels" for count, figure in columns]
    rows = []
    for what in (*part.variants, "pretraining"):
        mine = [r for r in results if r["what"] == what]
        cells = []
        for count, figure in columns:
            values = [r[figure] for r in mine if r["count"] == count and figure in r]
            shown = f"{np.mean(values):.0f}" if values and figure == "fit s" else ""
            cells.append(shown or (interval(values) if values else "-"))
        seeds = len({r["seed"] for r in mine})
        if mine:
            label = what if seeds == SEEDS else f"{what} ({seeds} seeds)"
            rows.append([label, *cells])
    return markdown_table(("", *names), rows)


def folder_of(work: Path | None) -> Path:
    """Return the folder for what is kept between runs, or an end to this one."""
    if work is None:
        raise SystemExit("--work: say a folder outside the repository")
    return work


def main() -> None:
    """Fit what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    parts = ("scores", *PARTS, "pretraining")
    options.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    options.add_argument("--work", type=Path, help="folder for scores, encoders and checkpoints")
    options.add_argument("--share", nargs=2, type=int, default=(0, 1), metavar=("I", "N"))
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument("--spaces", nargs="+", default=(), help="those of a part, by default all")
    options.add_argument("--counts", nargs="+", type=int, default=(), help="of labels, likewise")
    options.add_argument("--only", nargs="+", default=(), help="variants, likewise")
    options.add_argument("--networks", type=int, default=20_000, help="to pretrain on")
    options.add_argument("--epochs", type=int, default=40, help="of pretraining")
    options.add_argument("--width", type=int, default=128, help="of the pretrained encoder")
    options.add_argument("--threads", type=int, default=1, help="of pretraining")
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    for name in arguments.parts:
        if name not in parts:
            options.error(f"no part {name!r}; there are {', '.join(parts)}")
        torch.set_num_threads(1)
        if name == "scores":
            pool = PARTS["parzc"].pool("nasbench201")
            score_cells(pool, folder_of(arguments.work) / "scores", tuple(arguments.share))
        elif name == "pretraining":
            work = folder_of(arguments.work)
            pretrain(
                *(arguments.networks, arguments.epochs, arguments.width, arguments.threads), work
            )
        else:
            run(
                name,
                arguments.seeds,
                arguments.spaces,
                arguments.counts,
                arguments.only,
                arguments.work,
            )


if __name__ == "__main__":
    main()
