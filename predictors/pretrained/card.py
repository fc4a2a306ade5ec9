"""The card of the shipped predictor: what users need to know about it, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import table
from ..features.evidence import KINDS
from .families import Family
from .family_sources import Source
from .reference import Reference

if TYPE_CHECKING:
    from .transfer import TransferRank


def card(
    predictor: TransferRank,
    sources: Sequence[Source],
    families: Sequence[Family],
    networks: int,
    left_out: Sequence[str],
    folder: Path,
) -> str:
    """Return the card of a predictor: its data, protocol, limits and files.

    Args:
        predictor: the predictor.
        sources, families: the sources and families that it learnt from, in the same order.
        networks: the number of graphs that its encoder learnt from.
        left_out: the families that it did not learn from.
        folder: the folder that it was saved to.
    """
    command = "archrank pretrain --recipe default --out FOLDER"
    command += f" --without {','.join(left_out)}" if left_out else ""
    parts = (
        _opening(predictor),
        _families(sources, families),
        _encoder(networks, left_out),
        _evidence(predictor),
        _limits(predictor.reference_),
        _making(command, folder),
    )
    return "\n".join(line for part in parts for line in (*part, "")).rstrip() + "\n"


def _opening(predictor: TransferRank) -> list[str]:
    expert = predictor.expert_
    real = (
        "It knows no networks of real size."
        if expert is None
        else "Networks that take images of 96 pixels and more it ranks by their graphs alone: by "
        f"the ImageNet top-1 that {expert.n_samples_} published checkpoints of timm say is to be "
        "expected under the commonest recipe (`in1k`), or under the one that is given."
    )
    reference = Reference.read(predictor.reference_)
    return [
        "# The pretrained predictor",
        "",
        "Ranks architectures of any family without labels, and goes on learning from a few. "
        "`archrank.load_predictor()` reads it; its class is `archrank.predictors.TransferRank`.",
        "",
        f"{real} Others it ranks by sizes of their graphs and proxies at initialisation, on a "
        "scale that labelled families fix. What it says of a network depends on no other network. "
        f"The scale's mean correlation with labels was {reference.slope:.2f} in families held "
        f"out; of two networks {1 / max(reference.certainty, 1e-3):.2f} deviations apart it "
        "tells the better with .84.",
    ]


def _families(sources: Sequence[Source], families: Sequence[Family]) -> list[str]:
    lines = [
        "## What it learnt from",
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
    return lines


def _encoder(networks: int, left_out: Sequence[str]) -> list[str]:
    return [
        "Its encoder, which says whether a graph is in distribution, "
        f"learnt from {networks:,} random networks "
        + ("of the spaces of other families" if left_out else "of all spaces")
        + ", without labels."
        + (f" Left out: {', '.join(left_out)}." if left_out else "")
    ]


def _evidence(predictor: TransferRank) -> list[str]:
    lines = [
        "## What a few labels begin with",
        "",
        "The evidence is one more thing that every member learns from, and one member begins with "
        "a line through it. A few labels of a new family tell which of these families it is like, "
        "in how far evidence is to be trusted; each was held out for its figure.",
        "",
        "| family | rank correlation of all evidence with labels | of sizes alone |",
        "|---|---|---|",
    ]
    known = predictor.reference_
    told = zip(known["families"], known["taught"], known["taught_by_sizes"], strict=True)
    lines += [f"| {name} | {value:.2f} | {of_sizes:.2f} |" for name, value, of_sizes in told]
    expert = predictor.expert_
    if expert is not None and len(expert.slopes_):
        low, middle, high = np.quantile(expert.slopes_, (0.1, 0.5, 0.9))
        lines += [
            "",
            f"Networks of real size: within {len(expert.slopes_)} families of timm held out, the "
            f"expected top-1 correlates {middle:.2f} with the published one ({low:.2f} to "
            f"{high:.2f} for eight of ten).",
        ]
    kinds = [f"{kind} ({', '.join(f'`{n}`' for n in names)})" for kind, names in KINDS.items()]
    return [*lines, "", f"Kinds of evidence, which count the same: {'; '.join(kinds)}."]


def _limits(reference: Mapping[str, Any]) -> list[str]:
    return [
        "## How good it is",
        "",
        "`experiments/results/imagenet_zoo.md`: real networks, whole families held out. "
        "`experiments/results/fixed_scale.md` and `transfer.md`: every other family left out in "
        "turn, with its relatives.",
        "",
        "## Limits",
        "",
        "- Of networks of real size it says what published recipes come to on ImageNet; what is "
        "no word of a recipe there, and other data, move that by points.",
        f"- Its correlation with labels was {min(reference['taught']):.2f} in the worst family.",
        "- It warns of small graphs that are out of distribution. Most families are convolutional "
        "image classifiers; two are transformers.",
        "- Proxies were computed on one batch at initialisation, mostly of CIFAR-10 images, at "
        "reduced resolution where `predictors/pretrained/family_sources.py` says so.",
    ]


def _making(command: str, folder: Path) -> list[str]:
    lines = [
        "## How to make it again",
        "",
        f"`{command}`, with the tables at hand (`archrank data fetch NAME`) and timm. It scores "
        "all networks first, which takes hours, or reads the scores of the repository with "
        "`--scores experiments/results/stores/pretraining`. Seeds are 0; the proxies of another "
        "machine differ by rounding.",
        "",
        "## Files",
        "",
    ]
    for name in ("predictor.json", "arrays.safetensors"):
        content = (folder / name).read_bytes()
        lines.append(f"- `{name}`, {len(content):,} bytes, SHA-256 {sha256(content).hexdigest()}")
    return lines
