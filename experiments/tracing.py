"""How fast models are traced: timm's families, and blocks repeated 10, 100 and 1,000 times.

Run from the repository: ``python experiments/tracing.py [--per-module N] [--threads N]``. It writes
``experiments/results/tracing.md``. Building a model is not counted.
"""

from __future__ import annotations

import importlib
import platform
import statistics
import sys
import time
import warnings

import torch
from common import RESULTS, command_line, made_by, markdown_table, parser, write_page
from torch import Tensor, nn

import archrank

RESULT = RESULTS / "tracing.md"
TARGET_MEDIAN, TARGET_P95 = 0.4, 1.5
_library = torch.library.Library("torchvision", "FRAGMENT")  # declarations live as long as it


class Block(nn.Module):
    """A residual block: nine nodes."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x)) * 0.5 + x


def timed(model: nn.Module, shape: tuple[int, ...], repeats: int = 1) -> tuple[float, int]:
    """Take the best time in seconds of ``repeats`` traces, and the number of nodes."""
    best, nodes = float("inf"), 0
    for _ in range(repeats):
        start = time.perf_counter()
        nodes = len(archrank.trace(model, shape))
        best = min(best, time.perf_counter() - start)
    return best, nodes


def families(per_module: int) -> list[tuple[str, float, int]]:
    """Time the models with the shortest names in each of timm's modules: name, seconds, nodes."""
    declare_torchvision()
    import timm
    from timm.models import list_modules

    rows = []
    for module in list_modules():
        names = sorted(timm.list_models(module=module), key=lambda n: (len(n), n))[:per_module]
        for name in names:
            with torch.device("meta"):
                model = timm.create_model(name, pretrained=False)
            shape = model.default_cfg.get("input_size", (3, 224, 224))
            rows.append((name, *timed(model, shape)))
            if sys.stderr.isatty():
                print(f"\r{len(rows)} models", end="", file=sys.stderr)
    return rows


def declare_torchvision() -> None:
    """Declare what torchvision cannot be imported without, with the CPU build of torch."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--per-module", type=int, default=2, help="models per module of timm")
    options.add_argument("--threads", type=int, default=2)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    timed(nn.Conv2d(3, 3, 1), (3, 8, 8))  # imports and caches
    lines = [
        "# Tracing speed",
        "",
        made_by(
            command_line(),
            also=f"Python {platform.python_version()}",
        ),
        "",
        "## A residual block repeated",
        "",
    ]
    blocks = []
    for count in (10, 100, 1000):
        with torch.device("meta"):
            model = nn.Sequential(*(Block(8) for _ in range(count)))
        seconds, nodes = timed(model, (8, 16, 16), repeats=3)
        per_node = f"{1e6 * seconds / nodes:.0f}"
        blocks.append([f"{count:,}", f"{nodes:,}", f"{seconds:.3f}", per_node])
    headings = ("blocks", "nodes", "seconds", "microseconds per node")
    lines += markdown_table(headings, blocks, numbers=True)
    rows = families(arguments.per_module)
    times = [seconds for _, seconds, _ in rows]
    median, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    total = sum(nodes for *_, nodes in rows)
    lines += [
        "",
        f"## {len(rows)} models of timm, the shortest names of each module",
        "",
        *markdown_table(
            ("", "measured", "target"),
            [
                ("median", f"{median:.2f} s", f"{TARGET_MEDIAN} s"),
                ("95th percentile", f"{p95:.2f} s", f"{TARGET_P95} s"),
                ("slowest", f"{max(times):.2f} s", ""),
                ("nodes per second", f"{total / sum(times):,.0f}", ""),
            ],
            numbers=True,
        ),
        "",
        "The ten slowest:",
        "",
    ]
    slowest = sorted(rows, key=lambda row: -row[1])[:10]
    cells = [[name, f"{seconds:.2f}", f"{nodes:,}"] for name, seconds, nodes in slowest]
    lines += markdown_table(("model", "seconds", "nodes"), cells, numbers=True)
    write_page(RESULT, lines)
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
