"""How the predictor that is shipped is made: of which families, and in which steps.

``archrank pretrain --recipe default --out FOLDER`` does all of it, and goes on where it was
stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...basics import Progress
from ...errors import InputError

if TYPE_CHECKING:
    from ...graphs import Graph
    from .. import Family, TransferRank


@dataclass(frozen=True)
class Source:
    """Where the labelled architectures of a family come from.

    Attributes:
        family: its name.
        space, table, tasks: whose networks, and labels; networks are built for the first task.
        sample: how many of them, drawn with seed 0; None for all.
        batch, data, resolution: under which proxies are scored, as ``archrank.benchmark.run``
            takes; ``batch=0`` for families whose evidence is made of sizes alone.
        relatives: families that share networks, blocks or labels with it: what is learnt for an
            honest test on one of them leaves out the others.
        quality: of labels: 1 trained to the end, less for surrogates, short training and shared
            weights. Our choice.
    """

    family: str
    space: str
    table: str
    tasks: tuple[str, ...]
    sample: int | None = None
    batch: int = 16
    data: str = "cifar10"
    resolution: int | None = None
    relatives: tuple[str, ...] = ()
    quality: float = 1.0


_TRANSNAS = (
    *("class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal"),
    "autoencoder",
)

SOURCES = (
    Source(
        *("nasbench201", "nasbench201", "nasbench201"),
        ("cifar10", "cifar100", "ImageNet16-120"),
        *(400, 32),
        relatives=("transnas101_micro", "nats_sss"),
    ),
    Source(
        *("transnas101_micro", "transnas101_micro", "transnas101_micro", _TRANSNAS),
        sample=150,
        resolution=64,
        relatives=("nasbench201",),
    ),
    Source(
        *("transnas101_macro", "transnas101_macro", "transnas101_macro", _TRANSNAS),
        sample=150,
        resolution=64,
    ),
    Source("nasbench_macro", "nasbench_macro", "nas_bench_macro", ("cifar10",), 300, 32),
    Source(
        *("nats_sss", "nats_sss", "nats_sss", ("cifar10@90",), 300, 32),
        relatives=("nasbench201",),
    ),
    Source(
        *("nasbench101", "nasbench101", "nasbench101", ("cifar10",), 150),
        relatives=("ec_nas",),
    ),
    Source(
        *("ec_nas", "nasbench101", "ec_nas", ("cifar10@4",), 100),
        relatives=("nasbench101",),
        quality=0.5,
    ),
    Source("nasbench301", "nasbench301", "nasbench301", ("cifar10",), 100, quality=0.5),
    Source(
        *("accel_nasbench", "mnasnet", "accel_nasbench", ("imagenet",), 100),
        resolution=96,
        relatives=("ofa_mobilenetv3",),
        quality=0.5,
    ),
    Source(
        *("ofa_mobilenetv3", "ofa_mobilenetv3", "ofa_mobilenetv3", ("imagenet",), 100),
        resolution=96,
        relatives=("accel_nasbench",),
        quality=0.5,
    ),
    Source("enas", "enas", "enas", ("cifar10",), 150, quality=0.5),
    Source("gpt", "gpt", "gpt", ("perplexity",), 150, batch=0, quality=0.5),
    Source("flexibert", "flexibert", "flexibert", ("glue",), 100, data="random"),
    Source("digits", "digits", "digits", ("digits",), None, 64, "digits"),
)
"""The families of the default recipe."""
UNLABELLED = 100
"""Networks of every space that the encoder learns from."""
KNOWN = 6000
"""The most graphs that others are compared with."""


def source(family: str) -> Source:
    """The source of a family.

    Raises:
        InputError: there is none of that name.

    Example:
        >>> source("nats_sss").relatives
        ('nasbench201',)
    """
    for one in SOURCES:
        if one.family == family:
            return one
    known = ", ".join(one.family for one in SOURCES)
    raise InputError(f"family: got {family!r}, expected one of {known}")


def unrelated(family: str) -> tuple[Source, ...]:
    """The sources that may be learnt from before an honest test on a family.

    Example:
        >>> kept = {one.family for one in unrelated("nats_sss")}
        >>> sorted({one.family for one in SOURCES} - kept)
        ['nasbench201', 'nats_sss']
    """
    left_out = {family, *source(family).relatives}
    return tuple(one for one in SOURCES if one.family not in left_out)


def family_of(one: Source, scores: Path, jobs: int = 1, progress: Progress | None = None) -> Family:
    """The labelled architectures of a source, scored as far as they are not yet.

    Args:
        one: the source; its table must be at hand (``archrank data fetch``).
        scores: folder of stores, one file per family.
        jobs: processes that share the scoring.
        progress: called after each network that is scored.

    Raises:
        InputError: the table is not at hand.
    """
    from ...data import space, table
    from .. import Family, samples

    measured = table(one.table)
    labels = [measured.labels(task) * measured.tasks[task].direction for task in one.tasks]
    values: dict[str, dict[str, float]] = {}
    if one.batch:
        drawn, values = _scored(one, scores, jobs, progress)
    else:
        names = sorted(labels[0].dropna().index)
        order = np.random.default_rng(0).permutation(len(names))[: one.sample]
        drawn = [names[i] for i in np.sort(order)]
    read = samples(drawn, space=space(one.space), task=_built_for(one))
    scored = [replace(sample, scores=values.get(sample.arch or "", {})) for sample in read]
    known = np.array([row.reindex(drawn).to_numpy(float) for row in labels])
    return Family(one.family, scored, known, one.quality)


def _scored(
    one: Source, scores: Path, jobs: int, progress: Progress | None
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """The sample of a source, and its scores; a store that has them all is only read."""
    from ...scoring.store import Store
    from ...scoring.table_runs import run, settings_for
    from ..features.evidence import PROXIES

    path = scores / f"{one.family}.sqlite"
    conditions: dict[str, Any] = {
        "table": one.table,
        "sample": one.sample,
        "batch_size": one.batch,
        "data": one.data,
        "resolution": one.resolution,
    }
    settings = settings_for(one.space, one.tasks[0], **conditions)

    def read() -> tuple[list[str], pd.DataFrame]:
        with Store(path, writable=False) as store:
            runs = [n for n, given in store.runs().items() if given == asdict(settings)]
            if not runs:
                return [], pd.DataFrame(columns=["arch", "proxy", "value"])
            frame = store.scores(runs[0], settings.condition)
            return store.sample(runs[0]), frame[frame["proxy"].isin(PROXIES)]

    drawn, frame = read() if path.exists() else ([], pd.DataFrame())
    if not drawn or len(frame) < len(drawn) * len(PROXIES):
        run(
            *(path, one.space, one.tasks[0]),
            **conditions,
            proxies=PROXIES,
            jobs=jobs,
            progress=progress,
        )
        drawn, frame = read()
    values: dict[str, dict[str, float]] = {}
    known = frame.dropna(subset="value")
    for arch, proxy, value in zip(known["arch"], known["proxy"], known["value"], strict=True):
        values.setdefault(arch, {})[proxy] = float(value)
    return drawn, values


def _built_for(one: Source) -> str | None:
    """The space's task that networks are built for; None where it knows of none."""
    from ...data import space

    task = one.tasks[0].partition("@")[0]
    return task if task in space(one.space).tasks else None


def graphs_of_all_spaces(
    each: int = UNLABELLED,
    without: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Graph]:
    """Random networks of every space that images or words go through, none of the ones named.

    Args:
        each: how many of every space, at most.
        without: names of spaces to leave out.
        seed: which networks.
        progress: called after each.
    """
    from ...data import spaces
    from ..neural.corpus import graphs_to_learn_from

    names = [name for name in _names(spaces()) if name not in without]
    return graphs_to_learn_from(names, each * len(names), seed=seed, progress=progress)


def _names(several: Sequence[object]) -> list[str]:
    return [str(getattr(one, "name", one)) for one in several]


def learnt(
    families: Sequence[Family],
    graphs: Sequence[Graph],
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> TransferRank:
    """Return a predictor that knows what families teach, and their distribution with other graphs.

    Args:
        families: labelled ones.
        graphs: for the encoder and, like those of the families, the distances.
        checkpoint: file that says how far the encoder is; if stopped, the same call goes on.
        progress: called after each epoch of the encoder.
    """
    from .. import Distribution, FamilyPrior, Pretraining, TransferRank

    pretraining = Pretraining(
        options={"width": 64, "dropout": 0.1},
        projection=32,
        statistics=1.0,
        epochs=10,
        batch_size=128,
    )
    told = None
    if progress is not None:
        told = lambda e: progress(e.epoch, e.epochs, f"loss {e.loss:.4g}")  # noqa: E731
    encoder = pretraining.fit(graphs, checkpoint=checkpoint, progress=told)
    labelled = [sample.graph for family in families for sample in family.samples]
    known = Distribution(encoder, most=KNOWN).fit([*graphs, *labelled])
    return TransferRank.without_labels(FamilyPrior.of(families), known)


def make(
    out: Path,
    scores: Path,
    jobs: int = 1,
    without: Sequence[str] = (),
    progress: Progress | None = None,
) -> TransferRank:
    """Make the predictor of the default recipe and save it; if stopped, the same call goes on.

    Args:
        out: folder that it is written to.
        scores: folder of stores of proxies' scores, see ``family_of``.
        jobs: processes that share the scoring.
        without: families to leave out; their spaces and relatives are left out, too.
        progress: called with (done, total, name) in each step.

    Raises:
        InputError: a table is not at hand, or no family has such a name.
    """
    left_out = {name for family in without for name in (family, *source(family).relatives)}
    kept = [one for one in SOURCES if one.family not in left_out]
    scores.mkdir(parents=True, exist_ok=True)
    families = [family_of(one, scores, jobs, progress) for one in kept]
    spaces_left_out = {source(name).space for name in left_out}
    graphs = graphs_of_all_spaces(without=sorted(spaces_left_out), progress=progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = out.with_name(out.name + ".checkpoint")
    predictor = learnt(families, graphs, checkpoint, progress)
    predictor.save(out)
    (out / "card.md").write_text(card(predictor, kept, families, len(graphs), out))
    checkpoint.unlink(missing_ok=True)
    return predictor


def card(
    predictor: TransferRank,
    sources: Sequence[Source],
    families: Sequence[Family],
    networks: int,
    folder: Path,
) -> str:
    """What has to be known of a predictor, as Markdown: data, protocol, limits, files.

    Args:
        predictor: which.
        sources, families: what it learnt of, in the same order.
        networks: how many graphs its encoder learnt of.
        folder: that it was saved to.
    """
    from ...data import table
    from ..features.evidence import KINDS

    prior = predictor.family_prior_
    left_out = [one.family for one in SOURCES if one not in sources]
    command = "archrank pretrain --recipe default --out FOLDER"
    command += f" --without {','.join(left_out)}" if left_out else ""
    lines = [
        "# The pretrained predictor",
        "",
        "Ranks architectures of any family without labels, from sizes of their graphs and proxies "
        "at initialisation, and goes on learning from a few labels. "
        "`archrank.load_predictor()` reads it; its class is `archrank.predictors.TransferRank`.",
        "",
        "## What it learnt of",
        "",
        "Labels are normal scores of their ranks within family and task; families count by "
        "*weight* (less for surrogates, short training and shared weights). No label, and nothing "
        "that a label could be read from, is in the files.",
        "",
        "| family | space | networks | tasks | labels | weight | licence of the labels |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, family in zip(sources, families, strict=True):
        measured = table(one.table)
        made = measured.tasks[one.tasks[0]].label
        lines.append(
            f"| {one.family} | {one.space} | {len(family.samples)} | {len(one.tasks)} | {made} "
            f"| {one.quality:g} | {measured.licence} |"
        )
    lines += [
        "",
        "Its encoder, which says whether a graph is in distribution, "
        f"learnt of {networks:,} random networks "
        + ("of the spaces of other families" if left_out else "of all spaces")
        + ", without labels."
        + (f" Left out: {', '.join(left_out)}." if left_out else ""),
        "",
        "## What it learnt",
        "",
        "| kind of evidence | measurements | mean correlation with labels |",
        "|---|---|---|",
    ]
    for (kind, names), value in zip(KINDS.items(), prior["correlations"], strict=True):
        lines.append(f"| {kind} | {', '.join(f'`{name}`' for name in names)} | {value:.2f} |")
    lines += [
        "",
        "Kinds count the same: weights fitted to labels carry over worse. A few labels of a new "
        "family tell which of these families it is like, in how far the evidence is to be trusted.",
        "",
        "| family | correlation of all evidence with its labels |",
        "|---|---|",
        *(
            f"| {family.name} | {value:.2f} |"
            for family, value in zip(families, prior["taught"], strict=True)
        ),
        "",
        "## How good it is",
        "",
        "`experiments/results/transfer.md`: every family left out in turn, with its relatives.",
        "",
        "## Limits",
        "",
        "- Without labels it orders the architectures that it is given together; it knows no "
        "accuracies, and no training recipe.",
        f"- Its correlation with labels was {min(prior['taught']):.2f} in the worst family.",
        "- Of graphs unlike all that it learnt of it warns, and is less certain. Most families "
        "are image classifiers of convolutions; two are transformers.",
        "- Proxies were computed on one batch at initialisation, mostly of CIFAR-10 images, at "
        "reduced resolution where `archrank/recipe.py` says so.",
        "",
        "## How to make it again",
        "",
        f"`{command}`, with the tables at hand (`archrank data fetch NAME`). It scores all "
        "networks first, which takes hours, or reads the scores of the repository with "
        "`--scores experiments/results/stores/pretraining`. Seeds are 0; the proxies of another "
        "machine differ by rounding.",
        "",
        "## Files",
        "",
    ]
    for name in ("predictor.json", "arrays.safetensors"):
        content = (folder / name).read_bytes()
        lines.append(f"- `{name}`, {len(content):,} bytes, SHA-256 {sha256(content).hexdigest()}")
    return "\n".join(lines) + "\n"
