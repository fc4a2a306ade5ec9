"""Predictors against measured accuracy, at few and many labels, on every space with labels.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/predictors.py [SPACE ...]``. The
script may be killed at any moment; started again, it continues where it was. Finished fits are
lines of ``experiments/results/stores/predictors.jsonl``. ``--tables`` writes
``experiments/results/predictors.md`` from them and fits nothing.

Protocol: for each seed, the labelled architectures are the first of a seeded shuffle, so larger
sets of labels contain the smaller ones. The test is all other architectures, or a fixed random
5,000 of them (1,000 where the graphs of networks take long to make: ``Problem.tested``). ``tau`` is
over all of these; ``tau apart`` leaves out networks that are equal to a labelled one. Labels are
validation accuracies where the table has them; the truth is test accuracy. Scores of proxies are
those that NB-Suite-Zero published for the same architectures. ``ArchRank`` is fitted without and
with these scores. No setting was chosen on test labels.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import predictor_scores
import torch
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, parser, write_page

from archrank.data import space, table
from archrank.data.splits import SUBSETS
from archrank.data.tables.catalogue import TABLES
from archrank.metrics import kendall, ndcg, precision_at, spearman
from archrank.predictors import (
    MLP,
    AdditiveProcess,
    ArchRank,
    GaussianProcess,
    Predictor,
    RandomForest,
    Ridge,
    Sample,
    XGBoost,
    samples,
)

LINES = Lines(STORES / "predictors.jsonl")
PAGE = RESULTS / "predictors.md"
SEEDS = 5


@dataclass(frozen=True)
class Problem:
    """One space and task: where labels and the truth come from, and how many labels to try."""

    space: str
    table: str
    labels: str
    truth: str
    counts: tuple[int, ...]
    targets: Mapping[int, float]
    task: str | None = None
    """Of the networks, where it is not the space's first."""
    tested: int = 5000
    """The most architectures to test on; fewer where their graphs take long to make."""
    labelled: int | None = None
    """Of how many the labelled ones are drawn; three times the largest count by default."""
    subset: str | None = None
    """One of ``archrank.data.splits.SUBSETS``, where not all architectures take part."""
    designed_on: int = 0
    """How many architectures, the first of a shuffle, features were designed on: left out."""
    our_scores: bool = False
    """Whether ``predictor_scores.py`` scored its networks."""
    remark: str = ""
    """What is to be known of published figures beside these."""

    title: str = ""
    """Of its table, where the space and the truth do not say enough."""

    @property
    def name(self) -> str:
        return f"{self.space}, {self.truth}"

    @property
    def heading(self) -> str:
        """Return the title of its table."""
        return self.title or self.name


FEW_AND_MANY = (50, 100, 500)
PROBLEMS = {
    "nasbench201": Problem(
        *("nasbench201", "nasbench201", "cifar10-valid", "cifar10", (39, 78, 156, 469, 1563)),
        {39: 0.76, 78: 0.80, 156: 0.84, 469: 0.88, 1563: 0.91},
        our_scores=True,
    ),
    "nasbench201-cifar100": Problem(
        *("nasbench201", "nasbench201", "cifar100-valid", "cifar100", (78,)),
        {78: 0.80},
        "cifar100",
        our_scores=True,
    ),
    "nasbench201-imagenet": Problem(
        *("nasbench201", "nasbench201", "ImageNet16-120-valid", "ImageNet16-120", (78,)),
        {78: 0.79},
        "ImageNet16-120",
        our_scores=True,
    ),
    "transnas101_micro": Problem(
        *("transnas101_micro", "transnas101_micro", "class_scene", "class_scene"),
        (16, 32, 64, 128, 256),
        {16: 0.57, 32: 0.67, 64: 0.74, 128: 0.79, 256: 0.82},
    ),
    "nasbench301": Problem(
        *("nasbench301", "nasbench301", "cifar10", "cifar10", (32, 64, 128, 256)),
        {32: 0.71, 64: 0.79, 128: 0.83, 256: 0.86},
        remark="*To reach* are figures of FLAN on another problem: there both cells of a network "
        "are the same one (a million genotypes of one cell; labels of the surrogate XGBoost v0.9 "
        "without noise), so that half as much is to be learnt. Here each of 725 networks has a "
        "normal and a reduction cell of its own, as in NB-Suite-Zero. No table here has FLAN's "
        "networks. Counts of what cells hold were designed on 362 of the 725; the section below is "
        "of the others alone. How cells are encoded was chosen on three other draws of labels "
        "from all 725.",
    ),
    "nasbench301-other": Problem(
        *("nasbench301", "nasbench301", "cifar10", "cifar10", (32, 64, 128)),
        {},
        designed_on=362,
        title="nasbench301, cifar10, the other half",
        remark="Counts of what cells hold were not designed on these networks. How cells are "
        "encoded was chosen on three other draws of labels, from all 725.",
    ),
    "nasbench101": Problem(
        *("nasbench101", "nasbench101", "cifar10", "cifar10", (72,)), {72: 0.74}
    ),
    "nasbench101_10k": Problem(
        *("nasbench101", "nasbench101_10k", "cifar10", "cifar10", (50, 100)),
        {},
        tested=1000,
        title="nasbench101_10k, cifar10",
    ),
    "nasbench_macro": Problem(
        *("nasbench_macro", "nas_bench_macro", "cifar10", "cifar10", FEW_AND_MANY), {}
    ),
    "nats_sss": Problem(*("nats_sss", "nats_sss", "cifar10@90", "cifar10@90", FEW_AND_MANY), {}),
    "accel_nasbench": Problem(
        *("mnasnet", "accel_nasbench", "imagenet", "imagenet", FEW_AND_MANY), {}
    ),
    "ec_nas": Problem(*("nasbench101", "ec_nas", "cifar10-valid@4", "cifar10@4", FEW_AND_MANY), {}),
    "enas": Problem(*("enas", "enas", "cifar10", "cifar10", FEW_AND_MANY), {}),
    "gpt": Problem(
        *("gpt", "gpt", "perplexity", "perplexity", FEW_AND_MANY), {}, tested=1000
    ),  # 0.2 s for a graph
    "nasbench_graph-cora": Problem(
        *("nasbench_graph", "nasbench_graph", "cora-valid", "cora", FEW_AND_MANY), {}, tested=1000
    ),  # 0.05 s for a graph
    "nasbench_graph-arxiv": Problem(
        *("nasbench_graph", "nasbench_graph", "arxiv-valid", "arxiv", FEW_AND_MANY),
        {},
        "arxiv",
        tested=1000,
    ),
    "graphgym": Problem(*("graphgym", "graphgym", "cora", "cora", (20,)), {}, "cora"),
}

ON_CODES, ON_GRAPHS, ON_SCORES = ("code",), ("statistics", "paths"), ("scores",)
ON_GRAPHS_WHOLE = (*ON_GRAPHS, "edges", "neighbourhoods")
PREDICTORS: Mapping[str, Callable[[int], Predictor]] = {
    "ridge, codes": lambda seed: Ridge(ON_CODES),
    "random forest, codes": lambda seed: RandomForest(ON_CODES, random_state=seed),
    "XGBoost, codes": lambda seed: XGBoost(ON_CODES, random_state=seed),
    "MLP, codes": lambda seed: MLP(ON_CODES, random_state=seed),
    "GP (RBF), codes": lambda seed: GaussianProcess(ON_CODES),
    "ridge, graphs": lambda seed: Ridge(ON_GRAPHS),
    "random forest, graphs": lambda seed: RandomForest(ON_GRAPHS, random_state=seed),
    "XGBoost, graphs": lambda seed: XGBoost(ON_GRAPHS, random_state=seed),
    "MLP, graphs": lambda seed: MLP(ON_GRAPHS, random_state=seed),
    "GP (RBF), graphs": lambda seed: GaussianProcess(ON_GRAPHS),
    "GP (WL)": lambda seed: GaussianProcess((), "wl"),
    "GP (a kernel per part), graphs": lambda seed: AdditiveProcess(ON_GRAPHS_WHOLE),
    "ridge, scores": lambda seed: Ridge(ON_SCORES),
    "XGBoost, scores": lambda seed: XGBoost(ON_SCORES, random_state=seed),
    "ArchRank": lambda seed: ArchRank(random_state=seed),
    "ArchRank, with scores": lambda seed: ArchRank(random_state=seed),
    "ArchRank, with our scores": lambda seed: ArchRank(random_state=seed),
}
EARLIER = tuple(f"{name}, earlier" for name in PREDICTORS if name.startswith("ArchRank"))
"""Figures of ``ArchRank`` as it was before, beside which new ones stand."""
SIZES = ("params", "flops")
_WITH_SCORES = ("ridge, scores", "XGBoost, scores", "ArchRank, with scores")
_WITH_OUR_SCORES = ("ArchRank, with our scores",)
_OUR_NAMES = {"nwot": "naswot", "jacov": "jacob_cov"}
"""What NB-Suite-Zero calls otherwise."""


@dataclass(frozen=True)
class Pool:
    """What is known of a problem's architectures: those that may be labelled, and the test.

    Where the table has more than the test and a few labelled sets need, the test is the same
    for all seeds; else it is whatever a seed does not label.
    """

    plain: list[Sample]
    scored: list[Sample]
    """With the scores that NB-Suite-Zero published."""
    ours: list[Sample | None]
    """With those of ``predictor_scores.py``, as far as they go."""
    canonical: np.ndarray
    labels: np.ndarray
    truth: np.ndarray
    fixed_test: np.ndarray | None

    def split(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw positions of the labelled and of the tested architectures."""
        rng = np.random.default_rng(seed)
        if self.fixed_test is None:
            order = rng.permutation(len(self.plain))
            return order[:count], order[count:]
        rest = np.setdiff1d(np.arange(len(self.plain)), self.fixed_test)
        return rng.permutation(rest)[:count], self.fixed_test


def pool_of(problem: Problem) -> Pool:
    """Read a problem's architectures; of all labels larger is made better."""
    found = table(problem.table)
    cells = space(problem.space)
    labels, truth = (
        found.labels(task) * found.tasks[task].direction for task in (problem.labels, problem.truth)
    )
    names = sorted(labels.dropna().index.intersection(truth.dropna().index))
    if problem.subset is not None:
        names = list(filter(SUBSETS[problem.subset], names))
    if problem.designed_on:
        random.Random(f"half A of {problem.space}").shuffle(names)
        names = names[problem.designed_on :]
    random.Random(f"test of {problem.name}").shuffle(names)
    wanted = problem.tested + (problem.labelled or 3 * max(problem.counts))
    fixed = len(names) > wanted
    archs = names[:wanted] if fixed else names
    plain = samples(archs, space=cells, task=problem.task)
    columns = [c for c in found.proxies.columns if c.startswith(f"{problem.truth}/")]
    rows = found.proxies[columns].loc[archs].to_dict("records")
    canonical = [cells.canonical(arch) for arch in archs]
    scored = [
        replace(sample, scores={_our_name(k): float(v) for k, v in row.items() if np.isfinite(v)})
        for sample, row in zip(plain, rows, strict=True)
    ]
    known = predictor_scores.read() if problem.our_scores else {}
    ours = [
        replace(sample, scores=known[name]) if name in known else None
        for sample, name in zip(plain, canonical, strict=True)
    ]
    return Pool(
        plain,
        scored if columns else plain,
        ours,
        np.array(canonical),
        labels.loc[archs].to_numpy(float),
        truth.loc[archs].to_numpy(float),
        np.arange(problem.tested) if fixed else None,
    )


def _our_name(column: str) -> str:
    name = column.partition("/")[2]
    return _OUR_NAMES.get(name, name)


def figures(predicted: np.ndarray, pool: Pool, labelled: np.ndarray, tested: np.ndarray) -> dict:
    """Compute every figure of predictions of the tested architectures."""
    truth = pool.truth[tested]
    apart = ~np.isin(pool.canonical[tested], pool.canonical[labelled])
    return {
        "tau": kendall(predicted, truth),
        "tau apart": kendall(predicted[apart], truth[apart]),
        "rho": spearman(predicted, truth),
        "ndcg": ndcg(predicted, truth, 10),
        "precision": precision_at(predicted, truth, 0.05),
        "tested": len(tested),
        "apart": int(apart.sum()),
    }


def fit(name: str, pool: Pool, count: int, seed: int) -> dict | None:
    """Fit one predictor to ``count`` labels and judge it; None if labelled ones lack scores."""
    given = pool.scored if name in _WITH_SCORES else pool.plain
    labelled, tested = pool.split(count, seed)
    if name in _WITH_OUR_SCORES:
        given = pool.ours
        tested = np.array([i for i in tested if given[i] is not None], dtype=int)
        if not len(tested) or any(given[i] is None for i in labelled):
            return None
    start = time.perf_counter()
    predictor = PREDICTORS[name](seed).fit([given[i] for i in labelled], pool.labels[labelled])
    fitted = time.perf_counter()
    predicted = predictor.predict([given[i] for i in tested])
    seconds = {"fit s": fitted - start, "predict s": time.perf_counter() - fitted}
    chosen = {"report": predictor.report_} if isinstance(predictor, ArchRank) else {}
    return {**figures(predicted, pool, labelled, tested), **seconds, **chosen}


def sizes(name: str, pool: Pool, count: int, seed: int) -> dict:
    """Compute the same figures of parameters or FLOPs, which need no labels."""
    labelled, tested = pool.split(count, seed)
    values = np.array([getattr(pool.plain[i].graph, name) for i in tested], dtype=float)
    return figures(values, pool, labelled, tested)


def run(key: str, seeds: int, names: Sequence[str], counts: Sequence[int] | None) -> None:
    """Do those fits of one problem that are not in the file yet; fewest labels first."""
    problem = PROBLEMS[key]
    todo = LINES.missing(
        [
            {"problem": key, "count": count, "seed": seed, "predictor": name}
            for count in problem.counts
            if counts is None or count in counts
            for seed in range(seeds)
            for name in names
        ]
    )
    if not todo:
        return
    pool = pool_of(problem)
    for one in todo:
        name = one["predictor"]
        if name in _WITH_SCORES and pool.scored is pool.plain:
            continue
        made = (sizes if name in SIZES else fit)(name, pool, one["count"], one["seed"])
        if made is None:
            continue
        LINES.append({**one, **made})
        print(*one.values(), f"{made['tau']:.3f}", flush=True)


def remarks(problem: Problem) -> list[str]:
    """Say what is to be known of a problem's labels and test before its table is read."""
    task = next(t for t in TABLES[problem.table].tasks if t.name == problem.truth)
    said = [] if task.label == "trained" else [f"Labels are {task.label} ({task.metric})."]
    if task.direction < 0:
        said.append("Less is better: figures are of its negative.")
    if problem.tested < Problem.tested:
        said.append(f"Test: {problem.tested:,} architectures.")
    if problem.remark:
        said.append(problem.remark)
    return [" ".join(said), ""] if said else []


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    lines = [
        "# Predictors against measured accuracy",
        "",
        f"{made_by('predictors.py', '--tables')} Kendall's tau-b on the architectures "
        "that were not labelled (a fixed random 5,000 where there are more; 1,000 where said), "
        f"mean over {SEEDS} seeds (in brackets how many, where there are fewer) and 95 % interval "
        "of the mean. How long fits take stands in `predictor_speed.md`. Labels are validation "
        "accuracies where the table has them, the truth is test accuracy. *apart*: "
        "without networks that equal a labelled one. *scores*: those of proxies that NB-Suite-Zero "
        "published; *our scores*: the proxies of `proxies='auto'` at initialisation on 8 CIFAR-10 "
        "images, from `python experiments/predictor_scores.py`. *earlier*: before `ArchRank` had "
        "members on encoded cells (from 32 labels on), some before its processes had a kernel for "
        "each group of features, or before it read cells.",
    ]
    lines += ["", "## Where another predictor is ahead of `ArchRank`", "", *ahead(results)]
    for key, problem in PROBLEMS.items():
        found = [r for r in results if r["problem"] == key]
        if found:
            lines += ["", f"## {problem.heading}", "", *remarks(problem)]
            lines += problem_table(problem, found)
    return lines


def ahead(results: list[dict]) -> list[str]:
    """Tabulate, of each problem and number of labels, the predictor that beats ``ArchRank``."""
    rows, compared = [], 0
    for key, problem in PROBLEMS.items():
        for count in problem.counts:
            mine = [r for r in results if r["problem"] == key and r["count"] == count]
            ours = taus(mine, "ArchRank") or taus(mine, "ArchRank, earlier")
            others = {
                name: taus(mine, name)
                for name in PREDICTORS
                if "scores" not in name and not name.startswith("ArchRank")
            }
            others = {name: found for name, found in others.items() if ours.keys() & found.keys()}
            if not others:
                continue
            compared += 1
            pairs = {
                name: [(found[seed], ours[seed]) for seed in sorted(ours.keys() & found.keys())]
                for name, found in others.items()
            }
            best = max(pairs, key=lambda name: float(np.mean([a - b for a, b in pairs[name]])))
            gained = [a - b for a, b in pairs[best]]
            if np.mean(gained) > 0:
                both = [f"{np.mean(values):.3f}" for values in zip(*pairs[best], strict=True)]
                rows.append((problem.heading, count, best, *both, interval(gained), len(gained)))
    headings = ("problem", "labels", "predictor", "its tau", "`ArchRank`", "difference", "seeds")
    return [
        f"Of {compared} pairs of a problem and a number of labels these {len(rows)}, among "
        "predictors without scores. `ArchRank` is the newest that the problem's table has, on the "
        "same seeds. The predictor is the best of up to ten on the test itself, which favours it.",
        "",
        *markdown_table(headings, rows),
    ]


def taus(results: list[dict], predictor: str) -> dict[int, float]:
    """Return tau by seed."""
    return {r["seed"]: r["tau"] for r in results if r["predictor"] == predictor}


def problem_table(problem: Problem, found: list[dict]) -> list[str]:
    """Tabulate tau by predictor and number of labels."""
    counts = [count for count in problem.counts if any(r["count"] == count for r in found)]
    rows = []
    for name in (*SIZES, *PREDICTORS, *EARLIER):
        for figure in ("tau", "tau apart") if name.startswith("ArchRank") else ("tau",):
            cells = []
            for count in counts:
                mine = [r for r in found if r["predictor"] == name and r["count"] == count]
                some = f" ({len(mine)})" if len(mine) != SEEDS else ""
                cells.append(interval([r[figure] for r in mine]) + some if mine else "-")
            if set(cells) != {"-"}:
                rows.append([name if figure == "tau" else f"{name}, apart", *cells])
    wanted = [f"{problem.targets[c]:.2f}" if c in problem.targets else "-" for c in counts]
    headings = ["predictor", *(f"{count} labels" for count in counts)]
    return markdown_table(headings, [*rows, ["*to reach*", *wanted]])


def main() -> None:
    """Fit what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("problems", nargs="*", metavar="PROBLEM", help=", ".join(PROBLEMS))
    options.add_argument("--seeds", type=int, default=SEEDS, help="how many, from 0")
    options.add_argument(
        "--counts", nargs="+", type=int, help="of labels, where a problem has them"
    )
    options.add_argument(
        *("--predictors", "-p"),
        nargs="+",
        choices=(*SIZES, *PREDICTORS),
        metavar="PREDICTOR",
        default=(*SIZES, *PREDICTORS),
        help="; ".join((*SIZES, *PREDICTORS)),
    )
    arguments = options.parse_args()
    if arguments.tables:
        write_page(PAGE, tables())
        return
    torch.set_num_threads(1)
    for key in arguments.problems or PROBLEMS:
        run(key, arguments.seeds, arguments.predictors, arguments.counts)


if __name__ == "__main__":
    main()
