"""BOSHNAS on FlexiBERT's 500: gradient search in embeddings of graphs against simpler searches.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/boshnas.py``. The script may be
killed at any moment; started again, it continues where it was. Finished runs are lines of
``experiments/results/stores/boshnas.jsonl``. At the end it writes
``experiments/results/boshnas.md``. ``--tables`` writes the page alone.

Protocol: the published scores come from code in which operations had no effect, so the 500 rows are
only 301 networks. Each network is one candidate. Its label is the mean GLUE score of its rows, and
its graph is that of the network that was trained. A search sees the labels of the networks that it
evaluates; after n evaluations its best label counts. All methods have their default settings, which
were chosen on other spaces, and one thread.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, measure_and_write
from scipy import stats

from archrank.data import space, table
from archrank.metrics import kendall, relative_improvement
from archrank.predictors import (
    GraphEmbedding,
    HeteroscedasticNetwork,
    Sample,
    edit_distance,
    samples,
)
from archrank.predictors.checks import small_graphs
from archrank.search import GradientSearch, Searcher

LINES, PAGE = Lines(STORES / "boshnas.jsonl"), RESULTS / "boshnas.md"
AT = (10, 20, 50, 100)
SEEDS, MANY_SEEDS = 10, 200
LABELLED = (50, 100)
TIMEOUT = 1.0  # seconds for an exact edit distance
FLEXIBERT = space("flexibert")


@cache
def labels() -> dict[str, float]:
    """Average each network's GLUE scores over its rows."""
    rows = table("flexibert").labels("glue").dropna()
    return rows.groupby(rows.index.map(FLEXIBERT.canonical)).mean().sort_index().to_dict()


@cache
def known() -> dict[str, Sample]:
    """Collect what predictors read of each network."""
    return dict(zip(labels(), samples(list(labels()), space=FLEXIBERT), strict=True))


@cache
def points(distance: str) -> dict[str, np.ndarray]:
    """Place each network by an embedding, computed once."""
    for line in LINES.read(part="points", distance=distance):
        return {arch: np.array(row) for arch, row in line["points"].items()}
    graphs = [sample.graph for sample in known().values()]
    start = time.perf_counter()
    embedding = GraphEmbedding(distance).fit(graphs)
    made = embedding.transform(graphs)
    seconds = time.perf_counter() - start
    LINES.keep(
        {"part": "points", "distance": distance},
        seconds=seconds,
        kept=embedding.kept_,
        agreement=agreement(distance, made),
        distinct=len(np.unique(made.round(4), axis=0)),
        points=dict(zip(labels(), made.round(6).tolist(), strict=True)),
    )
    return dict(zip(labels(), made, strict=True))


def agreement(distance: str, made: np.ndarray) -> float:
    """Correlate distances of points and of graphs over 2,000 random pairs."""
    graphs = [sample.graph for sample in known().values()]
    pairs = np.random.default_rng(0).integers(0, len(graphs), (2000, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    apart = np.linalg.norm(made[pairs[:, 0]] - made[pairs[:, 1]], axis=1)
    if distance == "edit":
        true = [edit_distance(graphs[i], graphs[j], timeout=0).high for i, j in pairs.tolist()]
    else:
        spectra = np.array([graph.spectrum() for graph in graphs])
        true = np.linalg.norm(spectra[pairs[:, 0]] - spectra[pairs[:, 1]], axis=1)
    return float(np.corrcoef(apart, true)[0, 1])


class Prepared(HeteroscedasticNetwork):
    """The same network with points that were computed before, so that no seed computes them."""

    def fit_encoder(self, given: Sequence[Sample]) -> None:
        everything = np.array(list(points(self.embedding).values()))
        self.spread_ = float(everything.std(axis=0).max())

    def encode(self, given: Sequence[Sample]) -> np.ndarray:
        return np.array([points(self.embedding)[s.arch] for s in given]) / self.spread_


def network(name: str, seed: int) -> HeteroscedasticNetwork:
    """Make the surrogate on an embedding, or on the space's code."""
    if name == "code":
        return HeteroscedasticNetwork(None, ("code",), random_state=seed)
    return Prepared(name, random_state=seed)


# --- searches -------------------------------------------------------------------------------------

Run = Iterator[str]


def by_chance(seed: int) -> Run:
    """Yield networks in random order."""
    archs = list(labels())
    random.Random(seed).shuffle(archs)
    yield from archs


def by_size(name: str) -> Run:
    """Yield the largest networks first."""
    yield from sorted(labels(), key=lambda arch: -getattr(known()[arch].graph, name))


def by_evolution(seed: int) -> Run:
    """Evolve; a child is the unseen network nearest to a neighbour of its parent."""
    rng = random.Random(seed)
    archs = list(labels())
    codes = np.array([FLEXIBERT.encode(arch) for arch in archs])
    seen = np.zeros(len(archs), dtype=bool)
    population: deque[tuple[float, str]] = deque(maxlen=10)
    while not seen.all():
        distances = np.zeros(len(archs))
        if len(population) == 10:
            parent = max(rng.sample(population, 3))[1]
            child = FLEXIBERT.canonical(rng.choice(FLEXIBERT.neighbours(parent)))
            distances = np.abs(codes - FLEXIBERT.encode(child)).sum(axis=1)
        distances[seen] = np.inf
        at = rng.choice(np.flatnonzero(distances == distances.min()).tolist())
        seen[at] = True
        population.append((labels()[archs[at]], archs[at]))
        yield archs[at]


class EveryCandidate(GradientSearch):
    """The largest bound of all candidates instead of those nearest to points that climbed."""

    def _climb(self, best: np.ndarray) -> None:
        """Climb nowhere."""

    def _nearest(self, rows: np.ndarray) -> int:
        mean, epistemic = self._moments(rows)
        return int(np.argmax(mean + self.beta * epistemic))


def by_gradient(name: str, seed: int, kind: type[GradientSearch] = GradientSearch) -> Run:
    """Search by BOSHNAS."""
    search = kind(FLEXIBERT, network(name, seed), list(labels()), seed=seed, samples=known())
    while True:
        arch = search.ask()
        search.tell(arch, labels()[arch])
        yield arch


def by_searcher(seed: int) -> Run:
    """Search by archrank's own with its defaults, asked for five at a time."""
    searcher = Searcher(FLEXIBERT, pool=list(labels()), seed=seed, samples=known())
    while True:
        archs = searcher.ask(5)
        searcher.tell(archs, [labels()[arch] for arch in archs])
        yield from archs


SEARCHES: Mapping[str, tuple[int, Callable[[int], Run]]] = {
    "random search": (MANY_SEEDS, by_chance),
    "regularised evolution": (MANY_SEEDS, by_evolution),
    "largest by params": (1, lambda seed: by_size("params")),
    "largest by FLOPs": (1, lambda seed: by_size("flops")),
    "BOSHNAS, edit distances": (SEEDS, lambda seed: by_gradient("edit", seed)),
    "BOSHNAS, spectral distances": (SEEDS, lambda seed: by_gradient("spectral", seed)),
    "BOSHNAS, the space's code": (SEEDS, lambda seed: by_gradient("code", seed)),
    "edit distances, every candidate looked at": (
        SEEDS,
        lambda seed: by_gradient("edit", seed, EveryCandidate),
    ),
    "`Searcher`, its defaults": (SEEDS, by_searcher),
}


# --- running --------------------------------------------------------------------------------------


def run_searches() -> None:
    """Find the best network after so many evaluations; fewer seeds first, so that all get some."""
    keys = [
        {"part": "search", "search": name, "seed": seed}
        for seed in range(MANY_SEEDS)
        for name, (seeds, _) in SEARCHES.items()
        if seed < seeds
    ]
    for key in LINES.missing(keys):
        known()
        for distance in ("edit", "spectral"):
            points(distance)
        start = time.perf_counter()
        best, reached = "", {}
        for count, arch in enumerate(SEARCHES[key["search"]][1](key["seed"]), 1):
            best = max(best or arch, arch, key=labels().__getitem__)
            if count in AT:
                reached[count] = best
            if count == max(AT):
                break
        LINES.keep(key, seconds=time.perf_counter() - start, best=reached)


def run_surrogates() -> None:
    """Measure how well surrogates order unlabelled networks, and how often intervals hold."""
    keys = [
        {"part": "surrogate", "inputs": name, "labelled": count, "seed": seed}
        for seed in range(SEEDS)
        for count in LABELLED
        for name in ("edit", "spectral", "code")
    ]
    archs = list(labels())
    truth = np.array(list(labels().values()))
    side = stats.norm.ppf(0.95)
    for key in LINES.missing(keys):
        order = np.random.default_rng(key["seed"]).permutation(len(archs))
        taught, asked = order[: key["labelled"]], order[key["labelled"] :]
        fitted = network(key["inputs"], key["seed"])
        fitted.fit([known()[archs[i]] for i in taught], truth[taught])
        given = [known()[archs[i]] for i in asked]
        mean, aleatoric, epistemic = fitted.predict_apart(given)
        error, total = np.abs(truth[asked] - mean), np.hypot(aleatoric, epistemic)
        sizes = {
            name: kendall([getattr(s.graph, name) for s in given], truth[asked])
            for name in ("params", "flops")
        }
        LINES.keep(
            key,
            tau=kendall(mean, truth[asked]),
            covered=float((error <= side * total).mean()),
            covered_unscaled=float((error <= side * total / fitted.scale_).mean()),
            width=float(2 * side * np.median(total)),
            aleatoric=float(np.median(aleatoric)),
            epistemic=float(np.median(epistemic)),
            error_with_deviation=float(stats.spearmanr(total, error).statistic),
            sizes=sizes,
        )


def run_exactness() -> None:
    """Measure for how many pairs of small graphs the search ends, and how far bounds are apart."""
    graphs = small_graphs()
    keys = [
        {"part": "exactness", "pair": list(pair)} for pair in combinations(range(len(graphs)), 2)
    ]
    for key in LINES.missing(keys):
        one, other = (graphs[i] for i in key["pair"])
        at_once = edit_distance(one, other, timeout=0)
        found = edit_distance(one, other, timeout=TIMEOUT)
        LINES.keep(
            key,
            nodes=max(len(one), len(other)),
            at_once=list(at_once),
            found=list(found),
        )


def run() -> None:
    """Run all parts."""
    run_searches()
    run_surrogates()
    run_exactness()


# --- the page -------------------------------------------------------------------------------------


def gained(arch: str) -> float:
    """Compute by how many percent a network is better than a random one of the 301."""
    return relative_improvement(
        [float(other == arch) for other in labels()], list(labels().values()), k=1
    )


def search_table() -> list[str]:
    """Tabulate best labels after so many evaluations."""
    top = max(labels(), key=labels().__getitem__)
    rows = []
    for name in SEARCHES:
        mine = LINES.read(part="search", search=name)
        if not mine:
            continue
        best = {count: [line["best"][str(count)] for line in mine] for count in AT}
        rows.append(
            [
                name,
                len(mine),
                *(interval([labels()[a] for a in best[count]], 2) for count in AT),
                *(interval([gained(a) for a in best[count]], 2) for count in (20, 100)),
                f"{100 * np.mean([arch == top for arch in best[100]]):.0f} %",
                f"{np.median([line['seconds'] for line in mine]):.1f}",
            ]
        )
    headings = (
        *("search", "seeds"),
        *(f"{count} evaluations" for count in AT),
        *("RI at 20, %", "RI at 100, %", "best of all found by 100", "s"),
    )
    return markdown_table(headings, rows)


def surrogate_table() -> list[str]:
    """Tabulate tau and coverage by inputs and labels."""
    columns = {
        "tau": ("tau", 1, 3),
        "coverage of 90 %": ("covered", 100, 1),
        "unscaled": ("covered_unscaled", 100, 1),
        "median width": ("width", 1, 2),
        "aleatoric": ("aleatoric", 1, 2),
        "epistemic": ("epistemic", 1, 2),
        "rho of deviation and error": ("error_with_deviation", 1, 2),
    }
    rows = []
    for count in LABELLED:
        for name in ("edit", "spectral", "code"):
            mine = LINES.read(part="surrogate", inputs=name, labelled=count)
            if mine:
                cells = [
                    interval([times * line[column] for line in mine], digits)
                    for column, times, digits in columns.values()
                ]
                rows.append([name, count, *cells])
        for name in ("params", "flops") if mine else ():
            taus = [line["sizes"][name] for line in mine]
            rows.append([f"{name} alone", "none", interval(taus), *["-"] * (len(columns) - 1)])
    return markdown_table(("inputs", "labels", *columns), rows)


def exactness_table() -> list[str]:
    """Tabulate by the size of the larger graph."""
    lines = LINES.read(part="exactness")
    rows = []
    for nodes in sorted({line["nodes"] for line in lines}):
        some = [line for line in lines if line["nodes"] == nodes]
        shares, bounds = [], []
        for which in ("at_once", "found"):
            found = np.array([line[which] for line in some])
            shares.append(f"{100 * (found[:, 0] == found[:, 1]).mean():.0f} %")
            bounds.append(" to ".join(f"{bound:.1f}" for bound in found.mean(axis=0)))
        rows.append([nodes, len(some), *shares, *bounds])
    headings = (
        *("nodes of the larger", "pairs", "exact at once", "exact in time"),
        *("mean bounds at once", "in time"),
    )
    return markdown_table(headings, rows)


def facts() -> list[str]:
    """Say what the embeddings keep, and how much labels of one network differ."""
    rows = table("flexibert").labels("glue").dropna()
    groups = rows.groupby(rows.index.map(FLEXIBERT.canonical))
    noise = float(np.sqrt(groups.var(ddof=1).dropna().mean()))
    values = list(labels().values())
    headings = (
        *("distance", "distinct places", "positive spectrum kept"),
        *("correlation of distances", "s"),
    )
    embeddings = [
        [
            line["distance"],
            f"{line['distinct']} of {len(groups)}",
            f"{100 * line['kept']:.0f} %",
            f"{line['agreement']:.3f}",
            f"{line['seconds']:.0f}",
        ]
        for line in LINES.read(part="points")
    ]
    return [
        f"{len(rows)} architectures with a GLUE score are {len(groups)} networks as trained. "
        f"Scores of one network under several names differ by a standard deviation of {noise:.2f} "
        f"points ({int((groups.size() > 1).sum())} networks), all networks by {np.std(values):.2f} "
        f"around {np.mean(values):.2f}; the best has {max(values):.2f}.",
        "",
        *markdown_table(headings, embeddings),
    ]


def tables() -> list[str]:
    """Write the page from the lines."""
    return [
        "# BOSHNAS on FlexiBERT's 500",
        "",
        f"{made_by('boshnas.py', also='one thread')} Seeds from 0; means and 95 % intervals "
        "over them. Intervals of searches are over "
        "seeds alone: all search the same networks.",
        "",
        "**Oddity of the labels.** In the code that made them the type and the parameter of an "
        "operation had no effect: every network was trained with plain attention. Candidates are "
        "therefore the networks as trained, and nothing here says which operations are good.",
        "",
        *facts(),
        "",
        "## Search",
        "",
        "Best GLUE score found. BOSHNAS: `GradientSearch`, 10 random networks, a fit for every 5 "
        "results, bound with 0.5 epistemic deviations, one evaluation in ten uncertain and one "
        "random. *Every candidate looked at*: the same without ascent, the largest bound of all "
        "301, which is possible where candidates are few. RI: gain over a random network (Yang et "
        "al., 2020). *s*: median seconds of a run of 100, embeddings and graphs made before.",
        "",
        *search_table(),
        "",
        "By 100 evaluations, a third of all, BOSHNAS on edit distances finds more than random "
        "search and regularised evolution; by 20 the intervals overlap, and at no count does it "
        "find more than the largest networks in order of parameters or FLOPs. Neither the kind of "
        "embedding nor the ascent makes a difference to the search beyond the intervals. The best "
        "networks differ by less than the noise of one score, so that the best label found is "
        "partly luck.",
        "",
        "## Surrogate",
        "",
        "Networks that are not labelled: Kendall's tau, and the share within mean ± 1.645 "
        "deviations. *Unscaled*: before scaling by folds left out. Width and both parts in GLUE "
        f"points. {SEEDS} seeds.",
        "",
        *surrogate_table(),
        "",
        "## Exact edit distances",
        "",
        f"All pairs of the {len(small_graphs())} small networks that `check_predictor` uses, "
        f"{TIMEOUT} s each, on a machine with other work.",
        "",
        *exactness_table(),
    ]


def main() -> None:
    """Measure what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, run, tables)


if __name__ == "__main__":
    main()
