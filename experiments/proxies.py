"""What each proxy costs, in units of one plain forward+backward of the same batch.

    python experiments/proxies.py [--repeats 5] [--out experiments/results/proxies.md]

The network is the NAS-Bench-201 macro skeleton (C = 16, N = 5, 32x32 images, 10 classes) with a
cell of five convolutions and a skip; the batch has 64 samples, on the CPU. Each round measures
everything in turn, and each ratio is taken within its round. The page reports medians and ranges
over rounds. Memory is the peak above the start, measured in a process of its own for each proxy.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from common import command_line, made_by, markdown_table, parser, write_page
from torch import Tensor, nn

import archrank

CELL = (  # (source node, target node, operator)
    (0, 1, "conv3"),
    (0, 2, "conv3"),
    (1, 2, "conv1"),
    (0, 3, "skip"),
    (1, 3, "conv1"),
    (2, 3, "conv3"),
)
NINE = "grad_norm,snip,grasp,fisher,jacob_cov,plain,synflow,synflow_bn,l2_norm".split(",")
BATCH, SEED = 64, 0
MEMORY_OF = ("unit", "loop", "gradsign", "grasp", "nine", "all")


def relu_conv_norm(source: int, target: int, kernel: int, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(source, target, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(target))


class Cell(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        make = {
            "conv3": lambda: relu_conv_norm(channels, channels, 3),
            "conv1": lambda: relu_conv_norm(channels, channels, 1),
            "skip": nn.Identity,
        }
        self.edges = nn.ModuleList(make[operator]() for _, _, operator in CELL)

    def forward(self, x: Tensor) -> Tensor:
        nodes: dict[int, Tensor] = {0: x}
        for (source, target, _), edge in zip(CELL, self.edges, strict=True):
            value = edge(nodes[source])
            nodes[target] = nodes[target] + value if target in nodes else value
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, source: int, target: int):
        super().__init__()
        self.body = nn.Sequential(
            relu_conv_norm(source, target, 3, 2), relu_conv_norm(target, target, 3)
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(source, target, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def network(channels: int = 16, cells: int = 5) -> nn.Module:
    torch.manual_seed(SEED)
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1, bias=False)]
    layers.append(nn.BatchNorm2d(channels))
    for stage in range(3):
        if stage:
            layers.append(Reduction(channels, 2 * channels))
            channels *= 2
        layers += [Cell(channels) for _ in range(cells)]
    layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, 10))


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(BATCH, 3, 32, 32, generator=generator), torch.arange(BATCH) % 10


def unit() -> Callable[[], None]:
    """Make one plain forward+backward."""
    net, (images, labels) = network().train(), data()

    def run() -> None:
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()

    return run


def loop() -> Callable[[], None]:
    """Make GradSign as published: one image at a time, train-mode batch norm on a batch of one."""
    net, (images, labels) = network().train(), data()
    weights = [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]

    def run() -> None:
        rows = []
        for i in range(BATCH):
            net.zero_grad()
            F.cross_entropy(net(images[i : i + 1]), labels[i : i + 1]).backward()
            rows.append(torch.cat([w.grad.flatten() for w in weights]))
        torch.stack(rows).sign().sum(dim=0).abs().sum()

    return run


def scorer(names: list[str]) -> Callable[[], archrank.Scores]:
    """Make one call of ``score`` for these proxies, tracing included."""
    net, (images, labels) = network(), data()
    batches = [(images, labels), (images.flip(0), labels.flip(0))]

    def run() -> archrank.Scores:
        scores = archrank.score(net, batches, proxies=names)
        failed = [r.reason for r in scores.values() if r.status != "ok"]
        assert not failed, failed
        return scores

    return run


@lru_cache(maxsize=1)
def applicable() -> tuple[list[str], list[str]]:
    """List the proxies that have a value of this network, and the others."""
    images, labels = data()
    batches = [(images[:8], labels[:8]), (images[8:16], labels[8:16])]
    scores = archrank.score(network(), batches, proxies="all")
    here = [name for name, result in scores.items() if result.status == "ok"]
    return here, [name for name in scores if name not in here]


def stretches() -> dict[str, tuple[Callable[[], Callable[[], object]], str]]:
    """Map names to (maker of what is measured, row label)."""
    proxies, _ = applicable()
    made: dict[str, tuple[Callable[[], Callable[[], object]], str]] = {
        "unit": (unit, "one forward+backward"),
        "loop": (loop, "GradSign as published (loop)"),
    }
    for name in proxies:
        made[name] = (lambda name=name: scorer([name]), f"`{name}`")
    made["nine"] = (lambda: scorer(NINE), "the nine of zero-cost-nas")
    made["all"] = (lambda: scorer(proxies), f"all {len(proxies)} proxies")
    return made


def peak(name: str) -> int:
    """Measure peak memory of one stretch, in a fresh process after one warm-up run."""
    code = (
        "import sys, json, torch; sys.path.insert(0, sys.argv[2]); import proxies as b\n"
        "from archrank.proxies.recording.meter import Meter\n"
        "run = b.stretches()[sys.argv[1]][0](); run()\n"
        "with Meter(torch.device('cpu')) as meter: scores = run()\n"
        # score() meters each of its passes, and meters do not nest
        "found = [meter.peak_memory] if scores is None else "
        "[r.peak_memory for r in scores.values() if r.peak_memory is not None]\n"
        "print(json.dumps(max(found)))"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, name, here], capture_output=True, text=True, check=True
    )
    return int(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(repeats: int) -> list[tuple[str, list[float], int | None]]:
    made = stretches()
    peaks = {name: peak(name) for name in MEMORY_OF}
    runs = {name: maker() for name, (maker, _) in made.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    rows = []
    for name, (_, label) in made.items():
        ratios = [t / u for t, u in zip(times[name], times["unit"], strict=True)]
        rows.append((label, ratios, peaks.get(name)))
    print(f"one forward+backward: {statistics.median(times['unit']):.3f} s", file=sys.stderr)
    return rows


def main() -> None:
    """Measure, and print or write the page."""
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--out", type=Path)
    arguments = options.parse_args()
    rows = measure(arguments.repeats)
    base = rows[0][2]
    threads = f"{torch.get_num_threads()} threads"
    made = made_by(command_line(), also=threads)
    cells = []
    for label, ratios, memory in rows:
        times = f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}-{max(ratios):.2f}"
        share = "" if memory is None or base is None else f"{memory / base:.2f}"
        cells.append([label, *times, share])
    lines = [
        "# What each proxy costs",
        "",
        f"{made} Seed {SEED}, batch {BATCH}.",
        "",
        "Median over rounds of time / time of one plain forward+backward of the same batch in the "
        "same round (range in brackets); peak memory above the start / that of the "
        "forward+backward. Each row is one call of `score`, tracing included. Without a value of "
        f"this network: {', '.join(f'`{name}`' for name in applicable()[1])}.",
        "",
        *markdown_table(("", "time", "range", "memory"), cells),
    ]
    print(*lines, sep="\n")
    if arguments.out:
        write_page(arguments.out, lines)


if __name__ == "__main__":
    main()
