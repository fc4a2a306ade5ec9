"""What pretraining is worth: frozen encoders, pretrained and untrained, under the same small head.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/ablation_pretraining.py WORK``.
The script may be killed at any moment; started again, it continues where it was. Graphs and
checkpoints lie in the folder WORK, and finished figures are lines of
``experiments/results/stores/ablation_pretraining.jsonl``. ``--tables`` writes
``experiments/results/ablation_pretraining.md`` from these lines and trains nothing. ``--chosen-on``
judges the families that objectives were chosen on, instead of the reported ones.

Protocol: all encoders learn from one corpus without labels (``SPACES`` and networks wired at
random). It holds no network of the families that are judged, of those that objectives were chosen
on, or of timm. The head is ridge regression from standardised vectors to normal scores of the
labels; leave-one-out error chooses its penalty. It was fixed beforehand and is the same for all
rows. Each seed draws the labels; the test is a fixed set, or all other networks. In the zoo of
timm, each model counts once, with its best checkpoint that was trained on ImageNet-1k alone. A
random quarter of its models is the test, in whole families.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, STORES, Lines, interval, made_by, markdown_table, parser, write_page
from scipy.stats import norm, rankdata, t
from sklearn.linear_model import RidgeCV

from archrank.graphs import Graph
from archrank.metrics import kendall
from archrank.predictors import Pretrained, Pretraining
from archrank.predictors.features.columns import Features, read_columns
from archrank.predictors.neural.corpus import graphs_to_learn_from
from archrank.predictors.pretrained.zoo import best_plain, checkpoints, graphs_of
from archrank.predictors.reading import Sample
from predictors import Problem, pool_of

LINES = Lines(STORES / "ablation_pretraining.jsonl")
PAGE = RESULTS / "ablation_pretraining.md"
COUNTS = (40, 80, 200, 600)
SEEDS = 5
ALPHAS = tuple(np.logspace(0, 5, 11))
TESTED, LABELLED = 1000, 1200
_SIZES = {"tested": TESTED, "labelled": LABELLED}

JUDGED = {
    "nasbench201": Problem(
        *("nasbench201", "nasbench201", "cifar10-valid", "cifar10", COUNTS, {}), **_SIZES
    ),
    "nasbench_macro": Problem(
        *("nasbench_macro", "nas_bench_macro", "cifar10", "cifar10", COUNTS, {}), **_SIZES
    ),
    "nasbench101_10k": Problem(
        *("nasbench101", "nasbench101_10k", "cifar10", "cifar10", COUNTS, {}), **_SIZES
    ),
    "zoo": None,
}
CHOSEN_ON = {
    "transnas101_micro": Problem(
        *("transnas101_micro", "transnas101_micro", "class_scene", "class_scene", COUNTS, {}),
        **_SIZES,
    ),
    "digits": Problem("digits", "digits", "digits", "digits", COUNTS, {}, tested=300),
    "flexibert": Problem("flexibert", "flexibert", "glue", "glue", (40, 80, 200), {}),
}
SPACES = (
    *("hiaml", "inception", "two_path", "nasbench301", "enas", "transnas101_macro"),
    *("mnasnet", "fbnet", "proxylessnas", "ofa_resnet", "pit", "gpt", "nasbench_graph"),
    *("autoformer_tiny", "autoformer_small", "autoformer_base", "graphgym"),
)
"""Of the corpus: all but those judged, relatives of theirs, and DARTS-like ones, whose large
graphs take long."""
EACH, WIRINGS, EPOCHS = 60, 300, 30
EACH_OF_MANY, MANY_WIRINGS = 1000, 4000
"""Of the large corpus: what an hour of two cores allows to learn from."""


# --- what is learnt from --------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Graphs and labels of a family, and which of them are tested on."""

    graphs: Sequence[Graph]
    labels: np.ndarray
    truth: np.ndarray
    fixed_test: np.ndarray | None = None
    families: np.ndarray | None = None

    def split(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw positions of labelled and of tested networks; fewer labels are part of more."""
        rng = np.random.default_rng(seed)
        every = np.arange(len(self.graphs))
        if self.families is not None:
            tested = np.zeros(len(every), dtype=bool)
            for family in rng.permutation(np.unique(self.families)):
                if tested.sum() < len(every) / 4:
                    tested |= self.families == family
            tested = every[tested]
        elif self.fixed_test is not None:
            tested = self.fixed_test
        else:
            tested = rng.permutation(every)[: max(len(every) // 3, len(every) - LABELLED)]
        return rng.permutation(np.setdiff1d(every, tested))[:count], tested


@cache
def pool(name: str, work: Path) -> Pool:
    """Read a family."""
    problem = {**JUDGED, **CHOSEN_ON}[name]
    if problem is None:
        rows = best_plain(checkpoints())
        graphs = graphs_of(list(rows["network"]), work / "zoo")
        labels = rows["top1"].to_numpy(float)
        ordered = [graphs[network] for network in rows["network"]]
        return Pool(ordered, labels, labels, families=rows["family"].to_numpy())
    found = pool_of(problem)
    graphs = [sample.graph for sample in found.plain]
    return Pool(graphs, found.labels, found.truth, found.fixed_test)


@cache
def corpus(work: Path, large: bool) -> list[Graph]:
    """Make or read the graphs that encoders are pretrained on."""
    if large:
        networks, folder = EACH_OF_MANY * len(SPACES), work / "corpus_large"
        return graphs_to_learn_from(SPACES, networks, seed=2, wirings=MANY_WIRINGS, folder=folder)
    networks, folder = EACH * len(SPACES), work / "corpus"
    return graphs_to_learn_from(SPACES, networks, seed=1, wirings=WIRINGS, folder=folder)


# --- encoders -------------------------------------------------------------------------------------

WIDTH, LAYERS = 64, 3
SHAPE = {"width": WIDTH, "layers": LAYERS, "readout": "counts"}
WIDE = {**SHAPE, "width": 128}
KGNN = {"width": WIDTH, "dropout": 0.1}
SMALL = {"projection": WIDTH // 2, "batch_size": 64, "learning_rate": 3e-3, "together": 16}


@dataclass(frozen=True)
class Way:
    """How an encoder comes about, one for each seed of ``seeds``."""

    options: Mapping[str, object]
    objectives: Mapping[str, float]
    seeds: int = 1
    together: int = SMALL["together"]
    epochs: int = EPOCHS
    control: str = "untrained"
    """The encoder of the same shape that nothing was learnt by."""
    large: bool = False
    """Whether it learns from the large corpus."""
    published: bool = False
    """Whether all that is not said is GENNAPE's form: a k-GNN, large mixed batches."""

    def pretraining(self, seed: int) -> Pretraining:
        """Return how it is trained; one without objectives for no epoch."""
        epochs = self.epochs if self.objectives else 0
        same = {"options": self.options, "epochs": epochs, "random_state": seed}
        if self.published:
            return Pretraining.published(projection=SMALL["projection"], **same)
        small = {**SMALL, "together": self.together}
        return Pretraining("gin", objectives=self.objectives or "published", **small, **same)

    def encoder(self, work: Path, name: str, seed: int) -> Pretrained:
        """Train the encoder, or read it; one without objectives is as it was drawn."""
        folder = work / "encoders" / f"{name}-{seed}"
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            checkpoint = work / f"{name}-{seed}.checkpoint"
            start = time.process_time()
            graphs = corpus(work, self.large)
            made = self.pretraining(seed).fit(
                graphs if self.objectives else graphs[:1], checkpoint, _told(name)
            )
            made.save(folder)
            LINES.keep(
                {"encoder": name, "seed": seed},
                minutes=(time.process_time() - start) / 60,
                graphs=len(graphs),
            )
        return Pretrained.load(folder)


def _told(name: str) -> Callable[[object], None]:
    return lambda epoch: print(name, epoch.epoch, f"{epoch.loss:.4g}", flush=True)


LARGE = "statistics + 0.3 counts, width 128, large corpus"
WAYS = {
    "untrained": Way(SHAPE, {}, seeds=3),
    "untrained, mean of nodes": Way({"width": WIDTH, "layers": LAYERS}, {}, seeds=3),
    "statistics": Way(SHAPE, {"statistics": 1.0}),
    "counts": Way(SHAPE, {"counts": 1.0}),
    "masked": Way(SHAPE, {"masked": 1.0}),
    "contrast": Way(SHAPE, {"contrast": 1.0}),
    "spectral (GENNAPE)": Way({**SHAPE, "dropout": 0.1}, {"spectral": 1.0}, together=0),
    "statistics + counts": Way(SHAPE, {"statistics": 1.0, "counts": 1.0}),
    "statistics + masked": Way(SHAPE, {"statistics": 1.0, "masked": 1.0}),
    "statistics + contrast": Way(SHAPE, {"statistics": 1.0, "contrast": 0.1}),
    "untrained, width 128": Way(WIDE, {}, seeds=3),
    "statistics + 0.3 counts, width 128": Way(
        WIDE, {"statistics": 1.0, "counts": 0.3}, epochs=20, control="untrained, width 128"
    ),
    LARGE: Way(
        WIDE,
        {"statistics": 1.0, "counts": 0.3},
        epochs=30,
        control="untrained, width 128",
        large=True,
    ),
    "statistics, whole corpus": Way(SHAPE, {"statistics": 1.0}, together=0),
    "untrained, k-GNN": Way(KGNN, {}, seeds=3, published=True),
    "GENNAPE's form, k-GNN": Way(
        KGNN, {"spectral": 1.0}, epochs=40, control="untrained, k-GNN", published=True
    ),
}


# --- judging --------------------------------------------------------------------------------------


def head(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Predict labels, as normal scores, by ridge regression on standardised columns."""
    mean, spread = known.mean(axis=0), known.std(axis=0)
    kept = spread > 1e-9
    scaled = [np.clip((v - mean)[:, kept] / spread[kept], -5, 5) for v in (known, asked)]
    scores = norm.ppf((rankdata(labels) - 0.5) / len(labels))
    return RidgeCV(ALPHAS).fit(scaled[0], scores).predict(scaled[1])


def taus(vectors: np.ndarray, of: Pool, counts: Sequence[int]) -> dict[str, list[float]]:
    """Compute tau at each number of labels, seed by seed."""
    made = {}
    for count in counts:
        made[str(count)] = []
        for seed in range(SEEDS):
            labelled, tested = of.split(count, seed)
            said = head(vectors[labelled], of.labels[labelled], vectors[tested])
            made[str(count)].append(kendall(said, of.truth[tested]))
    return made


PLAIN = "ridge on statistics"


def plain_columns(of: Pool) -> np.ndarray:
    """Read the statistics and profile of graphs: the control without any encoder."""
    columns = read_columns([Sample(graph) for graph in of.graphs], ("statistics", "profile"))
    return Features(("statistics", "profile")).fit(columns).transform(columns)


def run(work: Path, families: Mapping[str, Problem | None], names: Sequence[str]) -> None:
    """Judge what is missing."""
    todo = [
        {"way": name, "seed": seed, "family": family}
        for name in names
        for seed in range(1 if name == PLAIN else WAYS[name].seeds)
        for family in families
    ]
    for one in LINES.missing(todo):
        of = pool(one["family"], work)
        if one["way"] == PLAIN:
            vectors = plain_columns(of)
        else:
            way = WAYS[one["way"]]
            vectors = way.encoder(work, one["way"], one["seed"]).embed(of.graphs)
        LINES.keep(one, taus=taus(vectors, of, COUNTS))


# --- the page -------------------------------------------------------------------------------------


def by_seed(way: str, family: str, count: int) -> np.ndarray:
    """Read taus seed by seed of the labels, each the mean over encoders; none if not judged."""
    lines = LINES.read(way=way, family=family)
    return np.mean([line["taus"][str(count)] for line in lines], axis=0) if lines else np.array([])


def table_of(family: str) -> list[str]:
    """Tabulate one family: tau of each way, and how far it is above its untrained encoder."""
    rows = []
    for way in (PLAIN, *WAYS):
        if LINES.read(way=way, family=family):
            rows.append([way, *(interval(by_seed(way, family, count)) for count in COUNTS)])
            control = WAYS[way].control if way in WAYS and WAYS[way].objectives else None
            if control and LINES.read(way=control, family=family):
                above = [by_seed(way, family, c) - by_seed(control, family, c) for c in COUNTS]
                rows.append([f"{way}, above {control}", *map(signed, above)])
    return markdown_table(["frozen encoder", *(f"{count} labels" for count in COUNTS)], rows)


def reached(way: str) -> str:
    """Say where a way is above its untrained encoder by more than the interval of that."""
    found = []
    for family in JUDGED:
        control = WAYS[way].control
        if not (LINES.read(way=way, family=family) and LINES.read(way=control, family=family)):
            continue
        above = {c: by_seed(way, family, c) - by_seed(control, family, c) for c in COUNTS}
        held = [str(c) for c, values in above.items() if values.mean() > half_interval(values)]
        found.append(f"{family} {', '.join(held) or 'nowhere'}")
    return f"- {way}: {'; '.join(found)}."


def half_interval(values: np.ndarray) -> float:
    """Compute half the 95 % interval of a mean, as ``interval`` writes it."""
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def signed(values: np.ndarray) -> str:
    """Write a difference with its sign, and the interval of its mean."""
    written = interval(values)
    return written if written.startswith("-") else f"+{written}"


def tables() -> list[str]:
    """Write the page from the lines."""
    made = LINES.read()
    minutes = {(m["encoder"], m["seed"]): m for m in made if "minutes" in m}
    trained = {name: m for (name, _), m in minutes.items() if WAYS[name].objectives}
    lines = [
        "# What pretraining is worth",
        "",
        f"{made_by('ablation_pretraining.py WORK', '--tables')} Kendall's tau-b of a ridge "
        f"regression on the vectors of a frozen encoder (a GIN of {LAYERS} layers, of width "
        f"{WIDTH} where not said), mean over {SEEDS} seeds of the labels (or all labels there are) "
        "and 95 % interval of the mean. *above*: the difference to the untrained encoder of the "
        "same shape, seed by seed. Untrained ones are means over three; *mean of nodes* reads "
        "vectors out without counts.",
        "",
        f"Pretrained for {EPOCHS} epochs (width 128: 20), one encoder each, on up to {EACH} "
        f"networks each of {', '.join(SPACES)}, and {WIRINGS} wired at random. No network of the "
        "families judged is among them, nor of those that objectives were chosen on, nor of timm. "
        f"*large corpus*: up to {EACH_OF_MANY:,} networks each and {MANY_WIRINGS:,} wired ones, "
        f"{WAYS[LARGE].epochs} epochs, a number chosen on the families below that objectives were "
        "chosen on. *whole corpus*: columns as they are, not how they differ among graphs of one "
        "kind. "
        f"*GENNAPE's form*: its contrast alone on a k-GNN of width {WIDTH} read out by the mean, "
        "40 epochs in batches of 256. The objective `scores` is not here: no network of the corpus "
        "was scored by proxies.",
    ]
    lines += [
        "",
        "Labels at which a way is above its untrained encoder by more than the interval:",
        "",
    ]
    lines += [reached(way) for way in trained]
    for title, families in (("Reported", JUDGED), ("Chosen on", CHOSEN_ON)):
        for family in families:
            if LINES.read(family=family):
                lines += ["", f"## {title}: {family}", "", *table_of(family)]
    lines += [
        "",
        "## Cost",
        "",
        "CPU minutes of features and training, of graphs that were there:",
        "",
    ]
    lines += markdown_table(
        ["objectives", "graphs", "minutes"],
        [[name, m["graphs"], f"{m['minutes']:.1f}"] for name, m in trained.items()],
    )
    return lines


def main() -> None:
    """Judge what is missing, or write the page."""
    options = parser(__doc__, tables=True)
    options.add_argument("work", type=Path, nargs="?", help="folder of graphs and encoders")
    options.add_argument("--chosen-on", action="store_true", help="judge those families")
    options.add_argument("--ways", nargs="+", choices=(PLAIN, *WAYS), default=(PLAIN, *WAYS))
    arguments = options.parse_args()
    torch.set_num_threads(1)
    if not arguments.tables:
        if arguments.work is None:
            options.error("WORK is missing")
        run(arguments.work, CHOSEN_ON if arguments.chosen_on else JUDGED, arguments.ways)
    write_page(PAGE, tables())


if __name__ == "__main__":
    main()
