"""What parts of learned predictors are worth: ParZC alone, GENNAPE's parts, losses, encoders.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/predictor_ablations.py PART ...
--work FOLDER``. The script may be killed at any moment; started again, it continues where it was.
Finished fits are lines of ``experiments/results/stores/ablations.jsonl``. Node statistics, encoders
and checkpoints lie in the folder ``--work``, outside the repository. ``--tables`` writes
``experiments/results/ablations.md`` from the lines and fits nothing. Parts:

- ``scores``: proxies per node of the cells that ``parzc parts`` reads, then of the cells that
  ``parzc`` reads (``--only`` selects one of the two), in one file per 50 cells; ``--share 0 2`` and
  ``--share 1 2`` do half of them each.
- ``parzc``: ParZC without a graph encoder, on these statistics, at four numbers of labels.
- ``parzc parts``: each of its parts in turn, at few labels.
- ``gennape``: GENNAPE's ablation within one space.
- ``losses``: one small graph predictor under each loss, on standardised labels and batches of
  similar sizes; ``losses served``: with the settings that ``GraphPredictor`` chooses for each loss.
- ``members``: each member of GENNAPE alone and left out, on encoders with and without pretraining
  (``ablation_members.py``); ``--only "few labels"`` fits them to the family that they rank,
  ``--only "other family"`` to another one; by default both.
- ``encoders``: one graph predictor with each encoder.
- ``pretraining``: minutes and memory of contrastive pretraining on networks of many spaces;
  ``--networks`` and ``--epochs`` make it shorter.

Protocol, unless a page says otherwise: that of ``experiments/predictors.py``, tested on a fixed
random 1,000 architectures. No setting was chosen on test labels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ablation_members import run as run_members
from ablation_members import table_of_members
from ablation_minutes import LINES, pretrain, table_of_pretraining
from ablation_parts import PARTS, Part
from ablation_scores import score_cells, with_node_scores
from common import RESULTS, folder_of, interval, made_by, markdown_table, parser, write_page

from archrank.graphs import Graph
from archrank.predictors import Pretrained, Pretraining
from predictors import PROBLEMS, Pool, figures

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
PRETRAINING = {
    "options": {"width": 64, "dropout": 0.1},
    "projection": 32,
    "batch_size": 128,
    "epochs": 40,
}


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
        if name.startswith("parzc"):
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
    return [*lines, *table_of_members(), *table_of_pretraining()]


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


def main() -> None:
    """Fit what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    parts = ("scores", *PARTS, "members", "pretraining")
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
            for one in arguments.only or ("parzc parts", "parzc"):
                pool = PARTS[one].pool("nasbench201")
                score_cells(pool, folder_of(arguments.work) / "scores", tuple(arguments.share))
        elif name == "members":
            run_members(folder_of(arguments.work), arguments.seeds, arguments.only)
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
