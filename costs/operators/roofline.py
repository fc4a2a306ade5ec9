"""Milliseconds of a network as a sum over its operators, with efficiencies learnt from networks.

    t = sum over operators i of  n_i (W_i / w_i + Q_i / q_i + o_i)

W multiply-adds and Q bytes of the whole batch; w and q the rates that the device reaches on an
operator of this class and these shapes, o what starting it takes. Their logarithms are the
device's, plus the class's, plus a small network's of the shapes, bounded, so that a class or a
shape never seen is at most so far from what the device does otherwise.

Source: the roofline's two terms after Williams et al., CACM 2009; learning operators' costs from
whole networks after nn-Meter, MobiSys 2021, and Habitat, ATC 2021.

Notes:
    Sum instead of maximum, classes and bounds are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...basics import Array
from .loads import CLASSES, Loads

_BOUND = 3.0  # of a class's and its shapes' part of a logarithm
_WIDTH = 32
_START = (1e10, 2e8, 0.01)  # multiply-adds and elements in a millisecond, ms to start an operator
_CENTRE = (30.0, 28.0, 18.0, 6.0, 6.0, 2.0, 1.0, 12.0, 3.0, 0.0, 0.0)
_SPREAD = (8.0, 6.0, 6.0, 3.0, 3.0, 3.0, 2.0, 6.0, 3.0, 1.0, 1.0)
_ALIGNED = 8  # channels that tensor cores take at once
_SOME = 192  # networks in a step of training
_RATE = 0.01
_SMOOTH = 0.1  # of a logarithm: errors below count by their square


class Rows(NamedTuple):
    """The operators of several networks, one behind the other, each for its batch size.

    Attributes:
        shapes: (n, 11) what efficiencies depend on.
        classes, settings, owner: (n,) class, device's setting and network of each.
        work, bytes, times: (n,) W, Q (in elements) and n.
        networks: how many there are.
    """

    shapes: Tensor
    classes: Tensor
    settings: Tensor
    owner: Tensor
    work: Tensor
    bytes: Tensor
    times: Tensor
    networks: int

    def of(self, networks: Sequence[int]) -> Rows:
        """Return the rows of some of the networks, in this order."""
        ends = torch.searchsorted(self.owner, torch.arange(self.networks + 1))
        some = torch.as_tensor(networks)
        counts = ends[some + 1] - ends[some]
        owner = torch.repeat_interleave(torch.arange(len(some)), counts)
        before = torch.cumsum(counts, 0) - counts
        at = torch.arange(len(owner)) + (ends[some] - before)[owner]
        picked = {name: getattr(self, name)[at] for name in self._fields[:-1]}
        return Rows(**{**picked, "owner": owner}, networks=len(networks))


def rows(networks: Sequence[Loads], settings: Sequence[int], batches: Sequence[float]) -> Rows:
    """Put networks' operators one behind the other."""
    counts = [len(one) for one in networks]
    batch = np.repeat(np.asarray(batches, dtype=np.float64), counts)
    classes = np.concatenate([one.classes for one in networks])
    work, read, written, weights = np.concatenate([one.counts for one in networks]).T
    positions, inner, outer, groups, kernel = np.concatenate([one.shapes for one in networks]).T
    work, moved = work * batch, (read + written) * batch + weights
    sizes = np.stack(
        [
            *(work, moved, positions * batch, inner, outer, groups, kernel, weights),
            work / np.maximum(moved, 1.0),
        ],
        axis=1,
    )
    aligned = np.stack([inner % _ALIGNED == 0, outer % _ALIGNED == 0], axis=1)
    shapes = np.concatenate([np.log2(1.0 + sizes), aligned], axis=1)
    shapes = (shapes - np.array(_CENTRE)) / np.array(_SPREAD)
    of = torch.from_numpy
    return Rows(
        of(shapes).float(),
        of(classes),
        torch.repeat_interleave(torch.as_tensor(settings), torch.as_tensor(counts)),
        torch.repeat_interleave(torch.arange(len(counts)), torch.as_tensor(counts)),
        of(work).float(),
        of(moved).float(),
        of(np.concatenate([one.times for one in networks])).float(),
        len(counts),
    )


class Roofline(nn.Module):
    """Rates w, q and times o of every operator; see the module's text.

    Args:
        settings: how many there are.
        width: of the small network.
    """

    def __init__(self, settings: int, width: int = _WIDTH):
        super().__init__()
        self.first = nn.Linear(len(_CENTRE), width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        # Zero at first, so that a class that no network has stays like the others.
        self.class_input = nn.Parameter(torch.zeros(len(CLASSES), width))
        self.setting_input = nn.Parameter(torch.zeros(settings, width))
        self.class_part = nn.Parameter(torch.zeros(len(CLASSES), 3))
        self.both_part = nn.Parameter(torch.zeros(settings, len(CLASSES), 3))
        self.setting_part = nn.Parameter(torch.log(torch.tensor(_START)).repeat(settings, 1))

    def parts(self, given: Rows) -> Tensor:
        """Return (n, 3) milliseconds of each operator once: of work, of bytes, of its start."""
        shown = self.first(given.shapes) + self.class_input[given.classes]
        hidden = functional.silu(shown + self.setting_input[given.settings])
        own = self.last(functional.silu(self.second(hidden))) + self.class_part[given.classes]
        own = own + self.both_part[given.settings, given.classes]
        logs = _BOUND * torch.tanh(own / _BOUND) + self.setting_part[given.settings]
        works, moves, starts = logs.unbind(dim=1)
        parts = [given.work * torch.exp(-works), given.bytes * torch.exp(-moves), torch.exp(starts)]
        return torch.stack(parts, dim=1)

    def sums(self, given: Rows) -> Tensor:
        """Return (networks, 3) milliseconds of each network: of work, of bytes, of starts."""
        parts = self.parts(given) * given.times[:, None]
        return torch.zeros(given.networks, 3).index_add(0, given.owner, parts)

    def forward(self, given: Rows) -> Tensor:
        """Return the logarithms of the networks' milliseconds."""
        return torch.log(self.sums(given).sum(dim=1))


def fitted(
    given: Rows,
    milliseconds: Array,
    settings: int,
    *,
    epochs: int = 40,
    decay: float = 0.1,
    seed: int = 0,
) -> Roofline:
    """Learn from measured networks: AdamW on the smooth absolute error of logarithms.

    The first guess of each setting's rates is scaled so that its median network is right.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Roofline(settings)
    target = torch.from_numpy(np.log(milliseconds)).float()
    _scale(model, given, target)
    steps = epochs * -(-given.networks // _SOME)
    decayed = [p for name, p in model.named_parameters() if name != "setting_part"]
    groups: list[dict[str, Any]] = [
        {"params": decayed},
        {"params": [model.setting_part], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=_RATE, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps, pct_start=0.2)
    shuffled = np.random.default_rng(seed)
    for _ in range(epochs):
        order = shuffled.permutation(given.networks)
        for at in np.split(order, range(_SOME, len(order), _SOME)):
            said = model(given.of(at.tolist()))
            loss = functional.smooth_l1_loss(said, target[torch.from_numpy(at)], beta=_SMOOTH)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return model


@torch.no_grad()
def _scale(model: Roofline, given: Rows, target: Tensor) -> None:
    """Let the median network of each setting be right."""
    off = target - model(given)
    settings = torch.zeros(given.networks, dtype=torch.long)
    settings[given.owner] = given.settings
    for one in settings.unique().tolist():
        by = torch.median(off[settings == one])
        model.setting_part[one] += by * torch.tensor([-1.0, -1.0, 1.0])


# --- a processor that nothing was measured on -----------------------------------------------------

PROCESSOR = (3.0, 94.0)
"""TFLOP/s and GB/s of the processor that ``processor_times`` has in mind."""
_EFFICIENCY = {
    "conv": 0.6,
    **dict.fromkeys(("conv_pointwise", "linear"), 0.5),
    "conv_strided": 0.45,
    "conv_grouped": 0.25,
    **dict.fromkeys(("matmul", "attention", "attention_biased"), 0.3),
    "depthwise": 0.08,
    "depthwise_large": 0.1,
}
"""Of the multiply-adds in a second, the share that vector units reach: less with few inner
channels. Other classes only move data."""
_UNFUSED = {"batch_norm": 0.0, **dict.fromkeys(("relu", "smooth_activation", "add", "mul"), 0.3)}
"""The share of what these classes read and write that other operators do not do for them."""
_CACHED = 2.0  # times the memory's rate at which results go through caches
_READ = 0.65  # of the memory's rate at which weights, which no cache keeps, are read
_STARTING = 0.005  # ms to start an operator
_SINGLE = 4  # bytes of a number


def processor_times(networks: Sequence[Loads], batches: Sequence[float]) -> tuple[Array, Array]:
    """Return the milliseconds of batches on a processor by its datasheet alone.

        t = sum over operators i of  n_i (W_i / (e P) + 4 k (reads + writes) / (2 B) +
            4 weights / (0.65 B) + 5 us)

    P multiply-adds and B bytes a second, e and k the class's shares. They are wide of the mark on
    any one device: what differs is learnt from measurements (``calibrating``).

    Notes:
        Shares and rates are our choice, written down before they were tried on any processor.

    Returns:
        Milliseconds (n, classes) of work and data, by class, and (n, 3) of work, bytes and starts.
    """
    work_rate, byte_rate = PROCESSOR[0] / 2 * 1e9, PROCESSOR[1] * 1e6  # in a millisecond
    per_work = np.array([1 / (_EFFICIENCY.get(name, np.inf) * work_rate) for name in CLASSES])
    moved = np.array([_UNFUSED.get(name, 1.0) for name in CLASSES]) * _SINGLE / byte_rate
    by_class, parts = np.zeros((len(networks), len(CLASSES))), np.zeros((len(networks), 3))
    for row, (one, batch) in enumerate(zip(networks, batches, strict=True)):
        work, read, written, weights = (one.counts * one.times[:, None]).T
        busy = work * batch * per_work[one.classes]
        results = (read + written) * batch * moved[one.classes] / _CACHED
        data = results + weights * _SINGLE / (_READ * byte_rate)
        np.add.at(by_class[row], one.classes, busy + data)
        parts[row] = busy.sum(), data.sum(), _STARTING * one.times.sum()
    return by_class, parts
