"""Variants of learned predictors that the ablations fit, and how they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from ablation_scores import IMAGES, NODE_PROXIES

from archrank.predictors import GENNAPE, KGNN, GraphPredictor, ParZC, Predictor
from archrank.predictors.neural.encoders import encoders
from archrank.predictors.neural.losses import LOSSES, DiffKendall
from predictors import PROBLEMS, Pool, pool_of


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


# --- how they are made ---------------------------------------------------------------------------

POINTWISE = ("mse", "huber")  # which learn what they did before


def _gennape(member: str, transform: str | None) -> Callable[[int], Predictor]:
    """Make GENNAPE with one member, as in the paper; its encoder is given later."""
    return lambda seed: GENNAPE((member,), transform, loss="mse", random_state=seed)


def _of_loss(loss: str | torch.nn.Module, served: bool = True) -> Callable[[int], Predictor]:
    how = {} if served else {"normal_scores": False, "training": {"spread": 0.5}}
    small = {"width": 32, "layers": 3}
    return lambda seed: GraphPredictor("gin", small, loss=loss, random_state=seed, **how)


def _of_encoder(name: str) -> Callable[[int], Predictor]:
    return lambda seed: GraphPredictor(name, {"width": 64}, random_state=seed)


SMALL = {"batch_size": 32, "learning_rate": 1e-3}


def _small_parzc(seed: int, mixer: Mapping[str, object] | None = None, **options: object) -> ParZC:
    small = {"width": 128, "depth": 2, **(mixer or {})}
    draws = {"draws": 2}  # deviations are not judged
    return ParZC(mixer=small, random_state=seed, **SMALL, **draws, **options)


def _of_proxy(name: str) -> Callable[[int], Predictor]:
    return lambda seed: _small_parzc(seed, proxies=(name,))


def _transformer(seed: int) -> GraphPredictor:
    """Make what ``joined`` is without its mixer: the same loss, labels, batches and steps."""
    how = {"optimiser": "adam", "weight_decay": 1e-3, "clip": None, "spread": float("inf")}
    return GraphPredictor(
        "transformer",
        loss=DiffKendall(form="product"),
        head=(),
        epochs=200,
        training=how,
        normal_scores=False,
        random_state=seed,
        **SMALL,
    )


# --- parts ----------------------------------------------------------------------------------------

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
    "parzc parts": Part(
        "ParZC's parts",
        "As above, of 78 labels, tested on a fixed random 500 cells; each row differs from "
        "*small* by what it names. *not Bayesian*: ordinary layers. *drawn*: weights are drawn "
        "when it predicts, too, as released. *across*: mixing across segments, as in an MLP-Mixer, "
        "where the released one stays within each. *perceptron*: no segments; *no blocks*: "
        "none between the first and the last layer. *normal scores*: what is learnt from labels. "
        "*released size*: width 512, four blocks, batches of 10, a learning rate of 0.0001. "
        "*joined*: the mixer's output is the context of a graph transformer; *transformer alone*: "
        "the same without any statistics, trained alike. *... alone*: the statistics of that "
        "proxy only. Fits were timed on a busy machine: on an idle one, *released size* takes "
        "about 4 minutes.",
        ("nasbench201",),
        (78,),
        {
            "small": lambda seed: _small_parzc(seed),
            "modules": lambda seed: _small_parzc(seed, positions="module"),
            "log": lambda seed: _small_parzc(seed, scaling="log"),
            "log, modules": lambda seed: _small_parzc(seed, scaling="log", positions="module"),
            "not Bayesian": lambda seed: _small_parzc(seed, {"bayesian": False}),
            "drawn": lambda seed: _small_parzc(seed, {"evaluation": "sample"}),
            "across": lambda seed: _small_parzc(seed, {"mixing": "across"}),
            "perceptron": lambda seed: _small_parzc(seed, {"body": "mlp"}),
            "no blocks": lambda seed: _small_parzc(seed, {"depth": 0}),
            "normal scores": lambda seed: _small_parzc(seed, normal_scores=True),
            "pairwise logistic": lambda seed: _small_parzc(seed, loss="pairwise_logistic"),
            "MSE": lambda seed: _small_parzc(seed, loss="mse"),
            "joined": lambda seed: _small_parzc(seed, encoder="transformer"),
            "transformer alone": lambda seed: _transformer(seed),
            **{f"{one} alone": _of_proxy(one) for one in NODE_PROXIES},
            "released size": lambda seed: ParZC(draws=2, random_state=seed),
        },
        ("tau", "tau apart", "fit s"),
        tested=500,
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
            "CL": _gennape("single", None),
            "CL+FCM": _gennape("fuzzy", None),
            "CL+T": _gennape("single", "flops"),
            "CL+FCM+T": _gennape("fuzzy", "flops"),
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
    "encoders": Part(
        "Encoders",
        "`GraphPredictor` with encoders of width 64, all else its default.",
        ("nasbench201",),
        (78, 469),
        {name: _of_encoder(name) for name in encoders()},
        ("tau", "tau apart", "fit s"),
    ),
}
