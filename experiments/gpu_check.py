"""Check scores on a device within minutes: their values, their speed, and what they leave behind.

    python experiments/gpu_check.py --device cuda --out experiments/results/gpu.md

Each check is a row of the page: what was checked, what was found, and the seconds it took. A check
that fails does not stop the others; the exit code is then 1. ``--small`` takes smaller networks,
for a trial on a CPU.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import made_by, markdown_table, parser, write_page
from torch import Tensor, nn

import archrank
from archrank.data import space
from archrank.graphs.randomness import random_state, seeded
from archrank.metrics import kendall
from archrank.predictors import GraphPredictor

SHAPE = (3, 16, 16)
CLASSES = 10
_TOLERANCE = 1e-6


class Network(nn.Module):
    """Convolutions with batch norm, attention, a recurrent layer, dropout, a classifier."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.3, batch_first=True)
        self.gate = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.head, self.drop = nn.Linear(width, CLASSES), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x))).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.recurrent(x + self.gate(x))[0]
        return self.head(self.drop(x.mean(1)))


class Failing(Network):
    """A network that raises at its second forward on values, or wants more memory than there is."""

    def __init__(self, error: type[Exception] | None):
        super().__init__()
        self.error, self.calls = error, iter(range(10**9))

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta and next(self.calls) > 0:
            if self.error is not None:
                raise self.error("half-way")
            x = x + torch.zeros(1 << 46, device=x.device).sum()
        return super().forward(x)


def made(kind: Callable[..., nn.Module], device: str, *arguments: Any) -> nn.Module:
    """Build a network under a seed, on the device."""
    with seeded(0):
        return kind(*arguments).to(device)


def bits(model: nn.Module) -> dict[str, Any]:
    """Return everything of a model, and around it, that must stay."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {n: t.detach().cpu().numpy().tobytes() for n, t in tensors.items()},
        "places": {n: (id(t), t.data_ptr(), t.requires_grad, t.grad) for n, t in tensors.items()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "hooks": {n: len(m._forward_hooks) for n, m in model.named_modules()},
        "random": random_state(),
        "flags": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.mha.get_fastpath_enabled(),
        ),
    }


@dataclass(frozen=True)
class Checks:
    """The checks, each of which returns what it found or raises.

    Attributes:
        device: to check.
        small: whether networks are small.
    """

    device: str
    small: bool

    def leave_no_trace(self) -> str:
        """Score with every proxy, in peace and with errors: models come back bit by bit."""
        kinds: list[tuple[Any, ...]] = [(Network,), (Failing, ValueError), (Failing, None)]
        for kind in kinds:
            model, before_memory = made(kind[0], self.device, *kind[1:]), self._memory()
            before = bits(model)
            scores = archrank.score(model, SHAPE, batch_size=8)
            after = bits(model)
            for name, value in before.items():
                assert after[name] == value, f"{kind}: {name} changed"
            statuses = {result.status for result in scores.values()}
            wanted = {"ok", "not applicable"}
            wanted |= set() if kind[0] is Network else {"error", "out of memory"}
            assert statuses <= wanted, statuses
            del scores
            kept = self._memory() - before_memory
            assert kept < 1 << 20, f"{kept:,} bytes of the device are still held"
        return f"{len(kinds)} networks x all proxies unchanged, and no memory held"

    def _memory(self) -> int:
        if not self.device.startswith("cuda"):
            return 0
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(self.device)

    def parity(self) -> str:
        """Compare all proxies in double precision with the CPU's."""
        given = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
        targets = torch.arange(8) % CLASSES
        both = [
            archrank.score(made(Network, device).double(), given, targets)
            for device in ("cpu", self.device)
        ]
        worst, at, count = 0.0, "", 0
        for name, result in both[0].items():
            other = both[1][name]
            assert result.status == other.status, f"{name}: {result.status}, {other.status}"
            if result.value is not None and other.value is not None:
                apart = abs(result.value - other.value) / max(abs(result.value), 1e-12)
                count += 1
                if apart > worst:
                    worst, at = apart, name
        assert worst < _TOLERANCE, f"{at}: relative difference {worst:.1e}"
        return f"{count} proxies, largest relative difference {worst:.1e} ({at or 'none'})"

    def rank(self) -> str:
        """Rank cells of NAS-Bench-201 on the device and on the CPU."""
        count = 4 if self.small else 12
        names = [f"nasbench201:{arch}" for arch in space("nasbench201").sample(count, seed=0)]
        proxies = "snip,grad_norm,gradsign,naswot,synflow_log"
        here, there = (
            archrank.rank(names, by=proxies, device=device, batch_size=8 if self.small else 32)
            for device in ("cpu", self.device)
        )
        assert there.failures.empty, there.failures
        order = [list(ranking.table["name"]) for ranking in (here, there)]
        same = sum(a == b for a, b in zip(*order, strict=True))
        tau = kendall(
            [order[0].index(name) for name in names], [order[1].index(name) for name in names]
        )
        assert tau > 0.9, f"tau {tau:.3f}"
        return f"{same} of {count} places as on the CPU, tau {tau:.3f}, single precision"

    def gradsign(self) -> str:
        """Compare GradSign with its definition, a loop over samples, in value and in time."""
        samples = 8 if self.small else 64
        model = made(lambda: space("nasbench201").build(_CELL), self.device)
        given = torch.randn(samples, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(samples) % CLASSES
        batch, labels = given.to(self.device), targets.to(self.device)
        archrank.score(model, batch, labels, proxies="gradsign")  # libraries load what they need
        start = self._now()
        value = archrank.score(model, batch, labels, proxies="gradsign")["gradsign"].value
        ours = self._now() - start
        start = self._now()
        want = looped(model, batch, labels)
        theirs = self._now() - start
        assert value is not None
        assert abs(value - want) < 0.01 * want, f"{value}, by the loop {want}"
        return (
            f"{samples} samples: {ours:.2f} s, by the loop {theirs:.2f} s, {theirs / ours:.1f} "
            f"times; value {value:,.0f}, by the loop {want:,.0f}"
        )

    def _now(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    def out_of_memory(self) -> str:
        """Ask for more memory than there is; the next network must be scored all the same."""
        model = made(Failing, self.device, None)
        scores = archrank.score(model, SHAPE, batch_size=8)
        out = [name for name, result in scores.items() if result.status == "out of memory"]
        assert out, "no proxy ran out of memory"
        scores = archrank.score(made(Network, self.device), SHAPE, batch_size=8)
        assert {result.status for result in scores.values()} <= {"ok", "not applicable"}
        return f"{len(out)} proxies say so, and the next network is scored"

    def neural_predictor(self) -> str:
        """Fit a graph neural network to sizes of networks, on the device."""
        count = 40 if self.small else 200
        home = space("nasbench201")
        archs = home.sample(count, seed=1)
        labels = [float(np.log10(home.graph(arch).flops)) for arch in archs]
        half = count // 2
        predictor = GraphPredictor(
            encoder="gin", epochs=10 if self.small else 60, device=self.device, space="nasbench201"
        )
        start = self._now()
        predictor.fit(archs[:half], labels[:half])
        seconds = self._now() - start
        tau = predictor.score(archs[half:], labels[half:])
        assert tau > (0.0 if self.small else 0.5), f"tau {tau:.3f}"
        return f"{half} cells in {seconds:.1f} s, tau {tau:.2f} to the FLOPs of {half} others"


_CELL = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
    "nor_conv_3x3~2|"
)


def looped(model: nn.Module, batch: Tensor, labels: Tensor) -> float:
    """Compute GradSign by its definition: a forward and a backward of each sample alone."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    sums = [torch.zeros_like(weight) for weight in weights]
    for i in range(len(batch)):
        loss = F.cross_entropy(_logits(model(batch[i : i + 1])), labels[i : i + 1])
        for total, gradient in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
    return float(sum(total.abs().sum(dtype=torch.float64) for total in sums))


def _logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[-1]


def run(checks: Checks) -> list[list[str]]:
    """Run every check; return the rows of the page."""
    rows = []
    for name in ("leave_no_trace", "parity", "rank", "gradsign", "out_of_memory"):
        rows.append(_row(name, getattr(checks, name)))
    rows.append(_row("neural_predictor", checks.neural_predictor))
    return rows


def _row(name: str, check: Callable[[], str]) -> list[str]:
    start = time.perf_counter()
    try:
        found, good = check(), "yes"
    except Exception as error:  # one check must not stop the others
        found, good = f"{type(error).__name__}: {str(error).splitlines()[0]}", "no"
    row = [name.replace("_", " "), good, found, f"{time.perf_counter() - start:.1f}"]
    print("  ".join(row), flush=True)
    return row


def main() -> None:
    """Parse the arguments, check, write."""
    options = parser(__doc__)
    options.add_argument("--device", default="cuda", help="what to check")
    options.add_argument("--small", action="store_true", help="smaller networks, for a CPU")
    options.add_argument("--out", type=Path, help="where to write the page")
    arguments = options.parse_args()
    random.seed(1)  # a state that a leak would move
    rows = run(Checks(arguments.device, arguments.small))
    name = "CPU"
    if arguments.device.startswith("cuda"):
        name = torch.cuda.get_device_name(arguments.device)
    if arguments.out is not None:
        small = " --small" if arguments.small else ""
        command = f"gpu_check.py --device {arguments.device}{small}"
        write_page(
            arguments.out,
            [
                "# Checks on a device",
                "",
                made_by(command, also=name),
                "",
                *markdown_table(["check", "held", "found", "seconds"], rows),
            ],
        )
    sys.exit(any(good == "no" for _, good, *_ in rows))


if __name__ == "__main__":
    main()
