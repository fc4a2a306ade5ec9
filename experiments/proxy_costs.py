"""The cost of proxies relative to the network's own passes, at 0.1 to 20 billion multiply-adds.

Run from the repository: ``python experiments/proxy_costs.py``. If it was interrupted, run it again.
``--tables`` writes the page alone.

The unit is the CPU time of one forward and backward of the same batch on one thread. It is measured
before and after each call of ``score``, and a ratio is to the mean of both. Tracing is included.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write
from torch import Tensor, nn
from tracing import declare_torchvision

import archrank
from archrank.predictors.features.evidence import PROXIES as EVIDENCE
from proxies import network

LINES = Lines(STORES / "proxy_costs.jsonl")
CELLS = "NAS-Bench-201"
NETWORKS = {  # name -> samples, pixels, classes
    CELLS: (64, 32, 10),
    "mobilenetv2_050": (2, 224, 1000),
    "regnety_004": (2, 224, 1000),
    "resnet18": (2, 224, 1000),
    "resnet50": (2, 224, 1000),
    "resnet101": (2, 224, 1000),
    "resnet152": (2, 288, 1000),
}
WHOLE = ("resnet50", CELLS)  # on which all proxies are measured, in several rounds
ROUNDS = 2
SOME = ("near", "meco", "az_trainability", "epsinas", "gradsign")
"""Proxies that cost more than passes alone, measured on every network."""
TOGETHER = ("quick", "evidence", "all")
TARGETS = {"evidence": 12, "all": 25, "grasp": 8, "epsinas": 8, "croze": 8}
TARGET = 6  # of any other

Batches = list[tuple[Tensor, Tensor]]


@cache
def made(name: str) -> tuple[nn.Module, Batches]:
    """Make a network with random weights, and two random batches."""
    samples, pixels, classes = NETWORKS[name]
    if name == CELLS:
        net = network()
    else:
        declare_torchvision()
        import timm

        torch.manual_seed(0)
        net = timm.create_model(name)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor]:
        images = torch.randn(samples, 3, pixels, pixels, generator=generator)
        return images, torch.randint(classes, (samples,), generator=generator)

    return net.train(), [batch(), batch()]


def clocked(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def pass_seconds(name: str) -> float:
    """Return the CPU seconds of one forward and backward."""
    net, ((images, labels), _) = made(name)
    seconds = clocked(lambda: F.cross_entropy(net(images), labels).backward())
    net.zero_grad()
    return seconds


@cache
def applicable(name: str) -> list[str]:
    """Return the proxies that have a value of a network."""
    net, batches = made(name)
    few = [(images[:8], labels[:8]) for images, labels in batches]
    return [n for n, result in archrank.score(net, few).items() if result.status == "ok"]


def proxies_of(name: str, what: str) -> list[str]:
    """Return the proxies that a stretch of work stands for."""
    if what == "all":
        return applicable(name)
    if what == "quick":
        return [proxy for proxy in EVIDENCE if archrank.proxies.get(proxy).is_quick]
    return list(EVIDENCE) if what == "evidence" else [what]


def apart(name: str) -> list[str]:
    """Return one proxy for each set of signals: the others of the same signals cost the same."""
    found: dict[frozenset[str], str] = {}
    for proxy in applicable(name):
        found.setdefault(frozenset(archrank.proxies.get(proxy).needs), proxy)
    return [*found.values()]


def stretches() -> Iterator[dict[str, object]]:
    """Yield what is measured: all proxies in rounds on two networks, some on all."""
    for turn in range(ROUNDS):
        for name in WHOLE:
            for what in dict.fromkeys((*apart(name), *SOME, *TOGETHER)):
                yield {"network": name, "what": what, "round": turn}
        if turn == 0:
            for name in NETWORKS:
                for what in () if name in WHOLE else (*SOME, *TOGETHER):
                    yield {"network": name, "what": what, "round": turn}


def measure() -> None:
    """Measure what is missing."""
    for key in LINES.missing([*stretches()]):
        name = str(key["network"])
        net, batches = made(name)
        wanted = proxies_of(name, str(key["what"]))
        before = pass_seconds(name)
        seconds = clocked(lambda n=net, b=batches, w=wanted: archrank.score(n, b, proxies=w))
        unit = statistics.mean((before, pass_seconds(name)))
        flops = archrank.trace(net, batches[0][0]).flops
        LINES.keep(key, ratio=seconds / unit, unit=unit, flops=flops, proxies=len(wanted))


def ratio(name: str, what: str) -> str:
    """Write the median over rounds of what a stretch took, in forwards and backwards."""
    found = [line["ratio"] for line in LINES.read(network=name, what=what)]
    return f"{statistics.median(found):.2f}" if found else ""


def tables() -> list[str]:
    """Write the page."""
    measured = {name: LINES.read(network=name) for name in NETWORKS}
    flops = {name: lines[0]["flops"] for name, lines in measured.items() if lines}
    everything = {line["proxies"] for line in LINES.read(what="all")}
    single = [line["what"] for line in LINES.read(network=WHOLE[0], round=0)]
    return [
        "# What proxies cost beside the network's own passes",
        "",
        made_by("proxy_costs.py", also="1 thread"),
        "",
        "CPU time of one call of `score`, tracing included, in units of one forward and backward "
        "of the same batch, measured before and after each call. Random weights, random data, seed "
        f"0. {CELLS}: the macro skeleton of `experiments/proxies.py`, 64 images of 32 pixels; all "
        "others: timm's models, 2 images of 224 pixels (resnet152: 288).",
        "",
        "## Over the size of the network",
        "",
        "One call for each cell, on the networks of the second table the median of more. The "
        f"evidence are the {len(EVIDENCE)} proxies of the default ranking, quick those of one "
        "forward pass among them; all are those that have "
        f"a value of the network ({' or '.join(map(str, sorted(everything)))}).",
        "",
        *markdown_table(
            ["network", "GFLOPs", *SOME, *TOGETHER],
            [
                [name, f"{flops[name] / 1e9:.2f}", *(ratio(name, w) for w in (*SOME, *TOGETHER))]
                for name in sorted(flops, key=flops.__getitem__)
            ],
            numbers=True,
        ),
        "",
        "## Every proxy",
        "",
        f"Median of up to {ROUNDS} calls; of proxies that read the same signals, the first. Aimed "
        f"at is {TARGET} at most, and "
        + ", ".join(f"{limit} for {what}" for what, limit in TARGETS.items())
        + ".",
        "",
        *markdown_table(
            ["", *WHOLE],
            [
                [what if what in TOGETHER else f"`{what}`", *(ratio(name, what) for name in WHOLE)]
                for what in sorted(single, key=TOGETHER.__contains__)
            ],
            numbers=True,
        ),
    ]


def main() -> None:
    """Run the command line."""
    measure_and_write(__doc__, RESULTS / "proxy_costs.md", measure, tables)


if __name__ == "__main__":
    main()
