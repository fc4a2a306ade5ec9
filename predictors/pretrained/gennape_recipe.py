"""How the shipped GENNAPE is made: from all labelled families, with an encoder and six members.

``archrank pretrain --recipe gennape --out FOLDER`` does all of it, and continues where it was
stopped. It needs the tables of the families and timm, but no proxies.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...basics import Array, Progress
from ..features.rank_transform import normal_scores
from ..neural.learning.plan import Epoch
from ..reading import Sample
from .family_sources import SOURCES, Source, relatives, source
from .transfer_recipe import family_of
from .zoo import best_plain, checkpoints, graphs_of

if TYPE_CHECKING:
    from .. import GENNAPE, Pretrained

MOST = 100
"""Architectures of a family that are learnt from, so that none outweighs the others."""
UNLABELLED = (
    *("hiaml", "inception", "two_path", "fbnet", "proxylessnas", "ofa_resnet", "pit"),
    "autoformer_tiny",
)
"""Spaces that the encoder learns from: no labelled family is of them, so that one encoder is
honest for all families held out."""
EACH = 700
"""Networks of each of these spaces."""
SMALLEST = 8
"""Networks that a family of timm's models must have to be learnt from."""
MOBILE = {"accel_nasbench", "ofa_mobilenetv3"}
"""Families of the blocks that ``MOBILE_IN_TIMM`` have, which are left out with them."""
MOBILE_IN_TIMM = {"effnetish", "mobilevit"}
Labelled = tuple[list[Sample], Array]
"""Architectures and their labels (n,), larger is better."""


def labelled(one: Source) -> Labelled:
    """Return up to 100 architectures of a source, and the mean of their normal scores over tasks.

    Architectures without a label for every task are left out.

    Raises:
        InputError: the table is not installed.
    """
    most = min(one.sample or MOST, MOST)
    family = family_of(replace(one, batch=0, sample=most), Path())
    rows = np.flatnonzero(np.isfinite(family.labels).all(axis=0))
    scores = np.mean([normal_scores(task) for task in family.labels[:, rows]], axis=0)
    return [family.samples[i] for i in rows.tolist()], scores


def families_of_timm(
    folder: Path, left_out: Collection[str] = (), progress: Progress | None = None
) -> dict[str, Labelled]:
    """Return families of timm's models: up to 100 networks, and the normal scores of their top-1.

    Each network counts once, with its best checkpoint of ImageNet-1k alone. Families of fewer than
    8 are left out, and those of mobile blocks if a family of such blocks is.

    Args:
        folder: keeps the graphs, one file each; a call that was stopped continues from them.
        left_out: labelled families that are not learnt from.
        progress: called after each graph.

    Raises:
        InputError: the table ``imagenet_zoo`` is not installed.
        MissingExtraError: timm is not installed.
    """
    rows = best_plain(checkpoints())
    rows = rows[rows.groupby("family")["network"].transform("size") >= SMALLEST]
    if MOBILE & set(left_out):
        rows = rows[~rows["family"].isin(MOBILE_IN_TIMM)]
    rows = rows.groupby("family").sample(frac=1, random_state=0).groupby("family").head(MOST)
    graphs = graphs_of(list(rows["network"]), folder, progress)
    return {
        f"timm {family}": (
            [Sample(graphs[network]) for network in of["network"]],
            normal_scores(of["top1"].to_numpy(float)),
        )
        for family, of in rows.groupby("family")
    }


def encoder_of(
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    epochs: int = 30,
) -> Pretrained:
    """Return the encoder, trained to predict how graphs of one kind differ.

    A contrastive encoder did worse on families that no page reports.

    Args:
        checkpoint: file to go on from.
        progress: called after each graph and each epoch.
        seed: the seed of the graphs, the weights and the training.
        epochs: the number of epochs; with 0 the encoder stays untrained, as a control.
    """
    from .. import Pretraining
    from ..neural.corpus import graphs_to_learn_from

    graphs = graphs_to_learn_from(
        UNLABELLED, (EACH if epochs else 1) * len(UNLABELLED), seed=seed, progress=progress
    )
    how = Pretraining(epochs=epochs, random_state=seed)
    return how.fit(graphs, checkpoint, _told(progress, "encoder"))


def learnt(
    families: Mapping[str, Labelled],
    encoder: Pretrained,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> GENNAPE:
    """Return a GENNAPE fitted to families, on an encoder.

    Args:
        families: name -> architectures and labels.
        encoder: the encoder; it is not trained further.
        seed: the seed of the members.
        checkpoint: folder to go on from.
        progress: called after each epoch.
    """
    from .. import GENNAPE, KGNN, HeadSettings

    # Folded, and trained to rank like the other members: in minutes what takes hours as released.
    kgnn = KGNN(loss="diff_kendall", epochs=5, learning_rate=1e-3, fold=True, random_state=seed)
    made = GENNAPE(
        transform=None,
        epochs=2,  # more of them fit the families learnt from, and order new ones worse
        pretrained=encoder,
        heads=HeadSettings(sizes=True),
        kgnn=kgnn,
        random_state=seed,
    )
    return made.fit_families(families, checkpoint, _told(progress, "members"))


def make(out: Path, without: Sequence[str] = (), progress: Progress | None = None) -> GENNAPE:
    """Make the predictor and save it; after a stop the same call continues.

    Args:
        out: folder that it is written to.
        without: families to leave out; their relatives are left out, too.
        progress: called with (done, total, name) in each step.

    Raises:
        InputError: a table is not installed, or no family has such a name.
    """
    related = relatives()
    left_out = {other for name in without for other in (name, *related[source(name).family])}
    kept = [one for one in SOURCES if one.family not in left_out]
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(out.name + ".checkpoint")
    encoder = encoder_of(work / "encoder.safetensors", progress)
    families = {one.family: labelled(one) for one in kept}
    families |= families_of_timm(work / "timm", left_out, progress)
    made = learnt(families, encoder, 0, work, progress)
    made.save(out)
    (out / "card.md").write_text("\n".join(_card(made, left_out)) + "\n")
    shutil.rmtree(work, ignore_errors=True)
    return made


def _card(made: GENNAPE, left_out: Collection[str]) -> list[str]:
    """Say what has to be known of the predictor, as Markdown."""
    option = f" --without {','.join(sorted(left_out))}" if left_out else ""
    return [
        "# The pretrained GENNAPE",
        "",
        f"`archrank pretrain --recipe gennape --out FOLDER{option}` made it; "
        '`archrank.load_predictor("gennape")` reads it, `adapt` fits it to a few labels.',
        "",
        f"- **Labels**: {made.n_samples_:,} networks of {', '.join(made.families_ or ())}; up to "
        f"{MOST} of each, as normal scores within their family, the mean over its tasks.",
        f"- **Encoder**: a GIN, trained by free statistics on {EACH} random networks of each of "
        f"{', '.join(UNLABELLED)}. Heads read sizes beside its vectors.",
        f"- **Members**: {', '.join(made.members)}; equal weights without labels.",
        "- **Predictions**: in deviations of a family's labels. They rank networks of one kind, "
        "and say nothing of how kinds compare, nor of accuracy.",
        "- **Figures** on families that were left out: `experiments/results/gennape.md`.",
    ]


def _told(progress: Progress | None, what: str) -> Callable[[Epoch], None] | None:
    if progress is None:
        return None
    return lambda one: progress(one.epoch, one.epochs, f"{what}, loss {one.loss:.4g}")
