"""When a network's tensors come and go, in a forward and in a backward pass."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ...basics import IntArray
from ...errors import InputError
from ...graphs import Graph
from ...graphs.features import output_elements, owned_parameters
from ...graphs.operators import CANONICAL_ID, PRODUCTS

PRECISIONS = ("fp32", "amp", "half")
"""All in 4 bytes; products in 2 with weights in 4 (torch's autocast); all in 2 bytes."""

_FROM_INPUTS = frozenset(
    "conv1d conv2d conv3d depthwise_conv conv_transpose1d conv_transpose2d conv_transpose3d "
    "deform_conv linear embedding batch_norm layer_norm group_norm instance_norm rms_norm norm "
    "gelu silu mish hardswish softplus glu prelu avg_pool max_pool pow log trigonometric "
    "clamp variance grid_sample cdist fourier linear_algebra matmul mul div where attention lstm "
    "gru rnn unknown".split()
)
_FROM_OUTPUT = frozenset(
    "relu relu6 leaky_relu elu hardtanh sigmoid hardsigmoid tanh softmax exp sqrt attention lstm "
    "gru rnn threshold extremum".split()
)
_PASS_ON = frozenset("add sub concat stack output mean sum".split())
"""Their gradient is their output's, seen otherwise: no new tensor."""
_FLOAT = frozenset("layer_norm group_norm softmax norm exp log pow cumulative sum loss".split())
"""What autocast computes in 4 bytes."""
_POSITION = 8  # bytes of what a max pool remembers of each maximum


class Lifetimes:
    """A graph's tensors: how large, in which storage, and until when a forward holds them.

    Attributes:
        bytes: (n,) of what each node makes; 0 for operators in place and for outputs.
        storage: (n,) the node whose storage holds the output.
        last: (n,) the node after which a forward without gradients lets go of a storage.
        operands: of each node the storages that it reads, in order.
        width: (n,) bytes of an element.
        positions: (n,) bytes of what a max pool remembers of where its maxima were.
    """

    def __init__(self, graph: Graph, batch_size: int, precision: str):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(
                f"batch_size: got {batch_size!r}, expected a whole number of at least 1"
            )
        if precision not in PRECISIONS:
            raise InputError(f"precision: got {precision!r}, expected one of {PRECISIONS}")
        self.graph, self.names, self.precision = graph, graph.operators, precision
        self.elements = output_elements(graph) * batch_size
        self.storage = np.arange(len(graph))
        self.reads: list[list[int]] = [[] for _ in range(len(graph))]
        for source, target in graph.edges.tolist():
            self.reads[target].append(source)
        self.in_place = np.array([self._is_in_place(i) for i in range(len(graph))])
        for i in np.flatnonzero(self.in_place).tolist():
            self.storage[i] = self.storage[self.reads[i][0]]
        self.operands = [[int(self.storage[u]) for u in read] for read in self.reads]
        self.width = self._widths()
        self.bytes = self.elements * self.width
        self.bytes[self.in_place | (graph.operator == CANONICAL_ID["output"])] = 0
        pools = np.array([name == "max_pool" for name in self.names])
        self.positions = np.where(pools, self.elements * _POSITION, 0)
        self.last = self._last()

    def _is_in_place(self, node: int) -> bool:
        name = self.graph.aten_names[self.graph.aten[node]].rpartition(".")[2]
        reads = self.reads[node]
        return (
            name.endswith("_")
            and bool(reads)
            and self.elements[reads[0]] == self.elements[node]
            and self.names[reads[0]] != "input"
        )

    def _widths(self) -> IntArray:
        if self.precision != "amp":
            return np.full(len(self.graph), 4 if self.precision == "fp32" else 2)
        widths = np.full(len(self.graph), 4)
        for i, name in enumerate(self.names):
            if name in PRODUCTS:
                widths[i] = 2
            elif name not in _FLOAT and self.reads[i]:
                widths[i] = max(widths[u] for u in self.reads[i])
        return widths

    def _last(self) -> IntArray:
        """Return who holds a tensor last: readers hold it, and so do the callers of modules that
        it was given to."""
        paths = [self.graph.module_names[i].split(".") for i in self.graph.module.tolist()]
        paths = [[] if path == [""] else path for path in paths]
        ends: list[list[int]] = []  # of each node, when each module around it returns
        for i in reversed(range(len(paths))):
            after, around = (paths[i + 1], ends[-1]) if ends else ([], [])
            shared = _shared(paths[i], after)
            ends.append(around[:shared] + [i] * (len(paths[i]) - shared))
        ends.reverse()
        last = np.arange(len(paths))
        last[self.graph.operator == CANONICAL_ID["input"]] = len(paths) - 1
        for i, (read, operands) in enumerate(zip(self.reads, self.operands, strict=True)):
            for maker, storage in zip(read, operands, strict=True):
                inside = _shared(paths[i], paths[maker])
                until = ends[i][inside] if inside < len(paths[i]) else i
                last[storage] = max(last[storage], until, last[i] if self.in_place[i] else i)
        return last


def _shared(one: list[str], other: list[str]) -> int:
    """Return how many modules around both there are."""
    for depth, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return depth
    return min(len(one), len(other))


class Saved:
    """What the backward pass needs of a forward.

    Attributes:
        until: storage -> the first node that needs it, the last that gives it back.
        extra: node -> bytes that it keeps beside.
    """

    def __init__(self, lives: Lifetimes):
        self.until: dict[int, int] = {}
        self.extra: dict[int, int] = defaultdict(int)
        for i, name in enumerate(lives.names):
            if name in _FROM_INPUTS:
                self._inputs(lives, i, name)
            if name in _FROM_OUTPUT:
                self._keep(int(lives.storage[i]), i)
            if lives.positions[i]:
                self.extra[i] += int(lives.positions[i])

    def _inputs(self, lives: Lifetimes, node: int, name: str) -> None:
        for maker, storage in zip(lives.reads[node], lives.operands[node], strict=True):
            if lives.in_place[node]:
                self.extra[node] += int(lives.elements[maker] * lives.width[maker])
            elif lives.precision == "amp" and name in PRODUCTS and lives.width[maker] == 4:
                self.extra[node] += int(lives.elements[maker]) * 2  # autocast's copy
            else:
                self._keep(storage, node)

    def _keep(self, storage: int, node: int) -> None:
        self.until[storage] = min(self.until.get(storage, node), node)


def training_peak(lives: Lifetimes, start: int = 0, stop: int | None = None) -> int:
    """Return the most bytes of tensors and gradients in both passes of some of the nodes."""
    stop = len(lives.names) if stop is None else stop
    saved = Saved(lives)
    held = _forward(lives, saved, start, stop)
    peak = int(held.max(initial=0))
    kept = sum(int(lives.bytes[s]) for s, at in saved.until.items() if start <= at < stop)
    kept += sum(size for at, size in saved.extra.items() if start <= at < stop)
    back = _Backward(lives, saved, kept)
    if lives.names[stop - 1] != "output":  # what comes behind hands on its gradient
        back.receive(stop - 1)
    for node in reversed(range(start, stop)):
        back.through(node)
        back.alive -= sum(back.given_back[node]) + saved.extra.get(node, 0)
    return max(peak, back.peak)


def cuts(lives: Lifetimes) -> list[int]:
    """Return the nodes whose output is all that later ones read of the nodes up to them."""
    reach = np.arange(len(lives.names))
    for i, read in enumerate(lives.reads):
        for maker in read:
            reach[maker] = max(reach[maker], i)
    furthest, found = -1, []
    for i in range(len(reach) - 1):
        if furthest <= i and lives.names[i] != "input":
            found.append(i)
        furthest = max(furthest, int(reach[i]))
    return found


def _forward(lives: Lifetimes, saved: Saved, start: int, stop: int) -> IntArray:
    """Return the bytes alive after each node of a forward that keeps what the backward needs."""
    change = np.zeros(stop - start + 1, dtype=np.int64)
    for i in range(start, stop):
        change[i - start] += int(lives.bytes[i]) + saved.extra.get(i, 0)
        if i not in saved.until and lives.last[i] + 1 < stop:
            change[lives.last[i] + 1 - start] -= int(lives.bytes[i])
    return change.cumsum()


class _Backward:
    """One backward pass, node by node from the last: what is alive, and the most that was."""

    def __init__(self, lives: Lifetimes, saved: Saved, kept: int):
        self.lives = lives
        self.alive = self.peak = kept
        self.gradient: dict[int, int] = {}  # node -> the buffer of its output's gradient
        self.users: dict[int, int] = defaultdict(int)
        self.sizes: dict[int, int] = {}
        self.given_back: dict[int, list[int]] = defaultdict(list)
        for storage, node in saved.until.items():
            self.given_back[node].append(int(lives.bytes[storage]))
        each = 2 if lives.precision == "half" else 4
        self.weights = owned_parameters(lives.graph) * each

    def through(self, node: int) -> None:
        """Make the gradients of a node's operands and weights; drop what is not needed."""
        lives, name = self.lives, self.lives.names[node]
        if name == "output":
            for maker in lives.reads[node]:
                self.receive(maker)
            return
        if node not in self.gradient:
            return  # no output needs it, or it is an input
        own = self.gradient.pop(node)
        self.alive += int(self.weights[node])
        for maker in dict.fromkeys(lives.reads[node]):
            if lives.names[maker] == "input":
                continue
            self._add(maker, own if name in _PASS_ON else self._new(maker))
        self.peak = max(self.peak, self.alive)
        self._drop(own)

    def receive(self, node: int) -> None:
        """Take a gradient of a node's output from outside."""
        self._add(node, self._new(node))

    def _new(self, node: int) -> int:
        """Return a buffer of a node's output."""
        buffer = len(self.sizes)
        self.sizes[buffer] = int(self.lives.elements[node] * self.lives.width[node])
        self.alive += self.sizes[buffer]
        return buffer

    def _add(self, node: int, buffer: int) -> None:
        """Add a gradient to a node's output; one that is there already is summed with it."""
        there = self.gradient.get(node)
        if there is None:
            self.gradient[node] = buffer
            self.users[buffer] += 1
            return
        self.peak = max(self.peak, self.alive)
        if self.users[there] > 1 or there == buffer:
            self.users[there] -= 1
            self.gradient[node] = there = self._new(node)
            self.users[there] = 1
            self.peak = max(self.peak, self.alive)
        if not self.users[buffer]:
            self._free(buffer)

    def _drop(self, buffer: int) -> None:
        self.users[buffer] -= 1
        if not self.users[buffer]:
            self._free(buffer)

    def _free(self, buffer: int) -> None:
        self.alive -= self.sizes[buffer]
