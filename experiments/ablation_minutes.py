"""The part ``pretraining`` of the ablations: time and memory of contrastive pretraining."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import torch
from common import STORES, Lines, markdown_table

from archrank.data import space
from archrank.predictors import Pretraining
from archrank.predictors.neural.learning.plan import Epoch

LINES = Lines(STORES / "ablations.jsonl")
MIX = (
    *("nasbench201", "nasbench101", "nasbench301", "nasbench_macro", "transnas101_micro"),
    *("hiaml", "inception", "two_path"),
)


def pretrain(networks: int, epochs: int, width: int, threads: int, work: Path) -> None:
    """Pretrain, and write minutes and peak memory once it is over.

    Each epoch's seconds are noted beside the checkpoint. An interruption costs what is done again;
    the line counts it once: the median epoch times the epochs, the graphs, and what the first
    epoch of a run takes longer, which is the making of tensors and spectra.
    """
    facts = {"part": "pretraining", "networks": networks, "epochs": epochs, "width": width}
    if LINES.read(**facts):
        return
    torch.set_num_threads(threads)
    folder = work / f"pretraining-{networks}-{epochs}-{width}"
    folder.mkdir(parents=True, exist_ok=True)
    notes = Lines(folder / "epochs.jsonl")
    start = time.perf_counter()
    graphs = [
        space(name).graph(arch)
        for name in MIX
        for arch in space(name).sample(networks // len(MIX), seed=0)
    ]
    reading = time.perf_counter() - start
    print(f"{len(graphs)} graphs in {reading:.0f} s", flush=True)
    latest = time.perf_counter()
    first = True

    def note(epoch: Epoch) -> None:
        nonlocal latest, first
        now = time.perf_counter()
        said = {"epoch": epoch.epoch, "loss": epoch.loss, "s": now - latest, "first": first}
        notes.append(said | {"reading s": reading, "peak MB": peak_memory()})
        print(said, flush=True)
        latest, first = now, False

    how = Pretraining.published(options={"width": width, "dropout": 0.1}, epochs=epochs)
    how.fit(graphs, folder / "checkpoint.safetensors", note).save(folder / "encoder")
    noted = notes.read()
    usual = float(np.median([n["s"] for n in noted if not n["first"]] or [n["s"] for n in noted]))
    preparing = max([n["s"] - usual for n in noted if n["first"]])
    LINES.append(
        {
            **facts,
            "threads": threads,
            "graphs s": noted[-1]["reading s"],
            "preparing s": preparing,
            "epoch s": usual,
            "minutes": (noted[-1]["reading s"] + preparing + epochs * usual) / 60,
            "peak MB": max(n["peak MB"] for n in noted),
            "loss": [noted[0]["loss"], noted[-1]["loss"]],
        },
    )


def peak_memory() -> float:
    """Read the peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def table_of_pretraining() -> list[str]:
    """Tabulate one row per run."""
    rows = [
        [
            f"{r['networks']:,}",
            *(r[what] for what in ("width", "epochs", "threads")),
            *(f"{r[what]:.0f} s" for what in ("graphs s", "preparing s")),
            f"{r['epoch s']:.1f} s",
            f"{r['minutes']:.1f} min",
            f"{r['peak MB'] / 1e3:.2f} GB",
            f"{r['loss'][0]:.3f} to {r['loss'][1]:.3f}",
        ]
        for r in LINES.read(part="pretraining")
    ]
    if not rows:
        return []
    headings = (
        *("networks", "width", "epochs", "threads", "graphs", "tensors and spectra", "an epoch"),
        *("in all", "peak memory", "loss, first to last epoch"),
    )
    return [
        *("", "## Contrastive pretraining", ""),
        f"Equal parts of {', '.join(MIX)}; a k-GNN on folded graphs, batches of 256 graphs of "
        "all sizes.",
        "",
        *markdown_table(headings, rows),
    ]
