"""How the shipped predictor is made: from which families, and in which steps.

``archrank pretrain --recipe default --out FOLDER`` does all of it, and continues where it was
stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...basics import SIZES, Array, Progress
from .card import card
from .family_sources import SOURCES, Source, relatives, source
from .reference import Reference

if TYPE_CHECKING:
    from ...graphs import Graph
    from .. import Family, GraphEnsemble, Sample, TransferRank


UNLABELLED = 100
"""Networks of every space that the encoder learns from."""
KNOWN = 6000
"""The most graphs that others are compared with."""
_LEAST = 8  # networks of a family that say how far the expert is to be trusted within it
_NOT_DRAWN = ("imagenet_zoo", "graphgym")  # real networks have the expert; designs no images
ZOO = "imagenet_zoo"
"""The family of real networks, which has no proxies: graphs alone are learnt from."""


def family_of(one: Source, scores: Path, jobs: int = 1, progress: Progress | None = None) -> Family:
    """Return the labelled architectures of a source, and score those that lack scores.

    Args:
        one: the source; its table must be installed (``archrank data fetch``).
        scores: the folder of stores, one file per family.
        jobs: processes that share the scoring.
        progress: called after each network that is scored.

    Raises:
        InputError: the table is not installed.
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
    """Return the sample of a source, and its scores; a store that has them all is only read."""
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
    """Return the space's task that networks are built for; None where it knows of none."""
    from ...data import space

    task = one.tasks[0].partition("@")[0]
    return task if task in space(one.space).tasks else None


def graphs_of_all_spaces(
    each: int = UNLABELLED,
    without: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Graph]:
    """Return random networks of every space for images or text, except the ones named.

    Args:
        each: the most networks of a space.
        without: the names of spaces to leave out.
        seed: the seed of the draw.
        progress: a function called after each network.
    """
    from ...data import spaces
    from ..neural.corpus import graphs_to_learn_from

    names = [name for name in _names(spaces()) if name not in (*without, *_NOT_DRAWN)]
    return graphs_to_learn_from(names, each * len(names), seed=seed, progress=progress)


def _names(several: Sequence[object]) -> list[str]:
    return [str(getattr(one, "name", one)) for one in several]


def expert_of(folder: Path, progress: Progress | None = None) -> GraphEnsemble:
    """Return a predictor of ImageNet top-1 from graphs and recipes, fitted to all checkpoints.

    Args:
        folder: the folder of graphs of timm's networks; missing graphs are traced.
        progress: called after each network.

    Raises:
        InputError: the table of checkpoints is not installed.
        MissingExtraError: timm cannot be imported.
    """
    from .. import Sample
    from .training_recipes import context_of
    from .zoo import checkpoints, graphs_of

    rows = checkpoints()
    graphs = graphs_of(list(rows["network"]), folder, progress)
    samples = [
        Sample(graphs[name], context=context_of(recipe))
        for name, recipe in zip(rows["network"], rows["recipe"], strict=True)
    ]
    return expert_on(samples, rows["top1"].to_numpy(), list(rows["family"]))


def expert_on(samples: Sequence[Sample], labels: Array, families: Sequence[str]) -> GraphEnsemble:
    """Return the expert fitted to labelled networks, with errors measured on held-out families.

    Its standard deviations are scaled to the errors on families held out in five folds.
    """
    from sklearn.model_selection import GroupKFold

    from .. import GraphEnsemble

    mean, std = np.zeros(len(labels)), np.zeros(len(labels))
    for train, held in GroupKFold(5).split(labels, groups=families):
        fold = GraphEnsemble("percent").fit([samples[i] for i in train], labels[train])
        mean[held], std[held] = fold.expected([samples[i] for i in held])
    whole = GraphEnsemble("percent").fit(samples, labels)
    slopes = slopes_within(mean, labels, families)
    return whole.calibrate(mean + np.log(100.0 - labels), std, slopes=slopes)


def slopes_within(said: Array, labels: Array, families: Sequence[str]) -> Array:
    """Return rank correlations of predictions and labels within families of at least 8 networks."""
    from scipy.stats import spearmanr

    frame = pd.DataFrame({"said": said, "label": labels, "family": [*families]})
    groups = [group for _, group in frame.groupby("family") if len(group) >= _LEAST]
    return np.array([spearmanr(group["said"], group["label"]).statistic for group in groups])


def reference_of(families: Sequence[Family]) -> Reference:
    """Return the fixed scale of evidence, learnt from the families with measured proxies."""
    from ..features.evidence import measurements, table_of

    tables = {
        family.name: table_of([measurements(s.graph, s.scores) for s in family.samples])
        for family in families
    }
    scored = {n: t for n, t in tables.items() if np.isfinite(t[:, len(SIZES) :]).any()}
    kept = [family for family in families if family.name in scored]
    return Reference.learnt(scored, kept, relatives())


def learnt(
    families: Sequence[Family],
    graphs: Sequence[Graph],
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    expert: GraphEnsemble | None = None,
) -> TransferRank:
    """Return a predictor that learnt from families, and from their and other graphs' distribution.

    Args:
        families: the labelled families.
        graphs: graphs to train the encoder on; they also count as known graphs, like those of
            families.
        checkpoint: the file from which the same call continues to train the encoder after a stop.
        progress: called after each epoch of the encoder.
        expert: the predictor for real networks.
    """
    from .. import Distribution, Pretraining, TransferRank

    pretraining = Pretraining.published(
        options={"width": 64, "dropout": 0.1},
        projection=32,
        objectives={"spectral": 1.0, "sizes": 1.0},
        epochs=10,
        batch_size=128,
    )
    told = None
    if progress is not None:
        told = lambda e: progress(e.epoch, e.epochs, f"loss {e.loss:.4g}")  # noqa: E731
    encoder = pretraining.fit(graphs, checkpoint=checkpoint, progress=told)
    labelled = [sample.graph for family in families for sample in family.samples]
    known = Distribution(encoder, most=KNOWN).fit([*graphs, *labelled])
    return TransferRank.without_labels(reference_of(families), known, expert)


def make(
    out: Path,
    scores: Path,
    jobs: int = 1,
    without: Sequence[str] = (),
    progress: Progress | None = None,
) -> TransferRank:
    """Make and save the predictor of the default recipe; after a stop the same call continues.

    Args:
        out: folder that it is written to.
        scores: the folder of stores with scores of proxies; see ``family_of``.
        jobs: processes that share the scoring.
        without: families to leave out, together with their spaces and relatives.
        progress: called with (done, total, name) in each step.

    Raises:
        InputError: a table is not installed, or there is no family of such a name.
    """
    related = relatives()
    left_out = {
        name
        for family in without
        for name in (family, *(() if family == ZOO else related[source(family).family]))
    }
    kept = [one for one in SOURCES if one.family not in left_out]
    scores.mkdir(parents=True, exist_ok=True)
    families = [family_of(one, scores, jobs, progress) for one in kept]
    spaces_left_out = {ZOO if name == ZOO else source(name).space for name in left_out}
    graphs = graphs_of_all_spaces(without=sorted(spaces_left_out), progress=progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = out.with_name(out.name + ".checkpoint")
    traced = out.with_name(out.name + ".graphs")
    expert = None if ZOO in left_out else expert_of(traced, progress)
    predictor = learnt(families, graphs, checkpoint, progress, expert)
    predictor.save(out)
    (out / "card.md").write_text(
        card(predictor, kept, families, len(graphs), sorted(left_out), out)
    )
    checkpoint.unlink(missing_ok=True)
    shutil.rmtree(traced, ignore_errors=True)
    return predictor
