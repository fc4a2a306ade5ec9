"""Which part of each layer's and rectifier's tensor belongs to which sample.

Most networks keep samples in the first dimension throughout, which their graph, traced with one
sample, shows at no cost. Of all others one sample is run alone and then beside another one: where
its values come back says where samples lie, and where they do not, that samples are mixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ....errors import NotApplicable, ScoreError
from ....graphs import Graph, Node
from ....graphs.operators import NORMS, WEIGHTED
from ..modes import WithoutDropout, instance_norm
from ..weights.applying import APPLYING
from ..weights.parameters import TRANSFORMS_BACK
from .layout import ROWS, Layout, is_close, layout_of, lies_elsewhere
from .rectifiers import MAYBE_RECTIFIERS, Rectifiers

KINDS = ("product", "norm", "rectifier", "map")
"""What is surveyed: layers' outputs, batch norms' inputs, rectifiers' inputs, softmaxes."""

_LOOKED_FOR = 4
_ALSO = {"input", "softmax", "attention"}
# Operators that pick or place rows, by an operand that may depend on values.
_PICKS = frozenset(
    "index index_select gather take take_along_dim masked_select nonzero scatter scatter_add "
    "scatter_reduce index_put index_add index_copy index_reduce masked_scatter segment_reduce "
    "bincount sort argsort".split()
)
# Operators that may put rows in another order, whatever their values are.
_MOVES = _PICKS | {"flip", "roll", "rot90"}
_JOINS = frozenset("cat concat stack".split())


def moves_rows(graph: Graph) -> bool:
    """Return whether the network may put the samples of a batch in another order."""
    return any(map(_may_move, graph.nodes))


def _may_move(node: Node) -> bool:
    base = node.aten.rpartition(".")[2].strip("_")
    rows = node.in_shape[:1] != node.out_shape[:1]  # several of them, or some of a few samples
    return base in _MOVES or (base in _JOINS and rows and node.out_shape[:1] == (1,))


def picks_rows(graph: Graph) -> bool:
    """Return whether values of the input may decide what goes with what.

    Such are experts that get some rows, sorting by length, and whatever has to be traced for real.
    """
    if not graph.exact:
        return True
    read: dict[int, set[int]] = {}
    for source, target in graph.edges.tolist():
        read.setdefault(target, set()).add(source)
    return any(
        len(read.get(node.index, ())) > 1 and node.aten.rpartition(".")[2].strip("_") in _PICKS
        for node in graph.nodes
    )


def rows_first(graph: Graph) -> bool:
    """Return whether the graph shows, traced with one sample, that samples stay the rows."""
    watched = WEIGHTED - {"embedding"} | MAYBE_RECTIFIERS | NORMS | _ALSO
    shapes = [
        node.out_shape
        for node in graph.nodes
        if node.operator in watched or node.aten.rpartition(".")[2].strip("_") in TRANSFORMS_BACK
    ]
    return all(
        # of (1, 1, C) either dimension may be the samples'
        len(shape) > 1 and shape[0] == 1 and not (len(shape) == 3 and shape[1] == 1)
        for shape in shapes
    )


def is_softmax(func: Any) -> bool:
    """Return whether an ATen call is a softmax."""
    return func.overloadpacket.__name__ in ("_softmax", "_safe_softmax")


Found = tuple[Layout | None, bool]
"""Where samples lie in the tensor of a call, and whether values prove it."""


@dataclass(frozen=True)
class Layouts:
    """Where samples lie in the tensors that a forward makes.

    Attributes:
        found: kind -> what was found in each call of it, in order; None if samples are the rows
            everywhere.
        shown: whether the graph of one sample shows that they are.
        constant: kind -> the calls of it whose tensors depend on no sample.
        moved: kind -> the calls of it in whose tensors a sample lies in the place of another.
        failed: whether they could not be found, so that samples are nowhere.
        together: whether no sample runs alone. Then they are rows, or have several rows each.
    """

    found: dict[str, list[Found]] | None = None
    shown: bool = False
    constant: dict[str, set[int]] = field(default_factory=dict)
    moved: dict[str, set[int]] = field(default_factory=dict)
    failed: bool = False
    together: bool = False

    def counted(
        self, samples: int, any_rows: bool = False, any_order: bool = False
    ) -> CountedLayouts:
        """Return the layouts for one forward of so many samples.

        Args:
            samples: in the batch.
            any_rows: whether it is all the same which sample a row of several belongs to.
            any_order: whether it is all the same which sample is which.
        """
        return CountedLayouts(self, samples, any_rows, any_rows or any_order)


@dataclass
class CountedLayouts:
    """The layouts of the calls of one forward, asked for in the order of the calls."""

    layouts: Layouts
    samples: int
    any_rows: bool = False
    any_order: bool = False
    _count: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    _layers: int = 0
    _alone: Counter[str] = field(default_factory=Counter)
    _in_parts: bool = False
    _left_out: list[str] = field(default_factory=list)

    def see_layer(self, name: str, output: Tensor, ordered: bool = True) -> None:
        """See the output of a layer, which may hold some of the samples only, or in other rows.

        Where the graph shows that samples are the rows, one row belongs to all samples, unless the
        layer makes one for each sample in turn.

        Args:
            name: of its weight.
            output: of the layer.
            ordered: whether ``next`` is asked for the output, too.
        """
        hidden, found = is_functorch_wrapped_tensor(output), self.layouts.found
        if not ordered and (hidden or found is not None):
            self.next("product", output, needed=name)
        if found is not None:  # two samples make fewer calls where each sample makes its own
            self._layers += 1
            self._in_parts |= self._layers > len(found["product"])
        shown = self.layouts.shown
        rows = output.shape[0] if output.dim() > 1 else 1
        if hidden or not name or not (shown or self.layouts.failed) or rows == self.samples:
            return
        self._alone[name] += 1
        self._in_parts |= (shown and rows != 1) or self._alone[name] >= self.samples

    def refuse_turns(self) -> None:
        """Refuse what was read of a forward in which layers ran on parts of the samples in turn.

        Raises:
            ScoreError: some layer did.
        """
        if self._in_parts:
            raise ScoreError(
                f"a layer runs on parts of the batch of {self.samples} samples in turn, so its "
                "features cannot be read as one: run it on the whole batch"
            )

    def refuse_parts(self) -> None:
        """Refuse what was read of a forward unless it was read of all samples.

        Raises:
            ScoreError: some layer ran on parts of them in turn, or nobody knows on which of them.
        """
        self.refuse_turns()
        if self._left_out and self.layouts.together:
            raise NotApplicable(
                f"a sample has several rows in the output of {self._left_out[0]}, as a graph has "
                "nodes and edges, and which rows are whose is not known"
            )
        if self._left_out and self.layouts.moved:
            raise ScoreError(
                f"the samples cannot be told apart in the output of {self._left_out[0]}, before "
                "which the network puts them in another order; keep the order of the batch"
            )
        if self._left_out:
            raise ScoreError(
                f"the samples cannot be told apart in the output of {self._left_out[0]}, which "
                "would be left out: it is under vmap, or is of some of the rows alone as in "
                "experts, or mixes samples"
            )

    def next(
        self, kind: str, tensor: Tensor, proven: bool = False, needed: str = ""
    ) -> Layout | None:
        """Return where samples lie in the tensor of the next call of a kind; None where nowhere.

        Args:
            kind: one of ``KINDS``.
            tensor: of the call.
            proven: take nothing but what values prove.
            needed: what made it, if samples must be found unless it depends on none.
        """
        index = self._count[kind]
        self._count[kind] += 1
        layout = self._at(kind, index, tensor, proven)
        layouts = self.layouts
        unsure = layouts.found is not None or layouts.failed or layouts.together
        unknown = unsure or is_functorch_wrapped_tensor(tensor)
        constant = index in self.layouts.constant.get(kind, ())
        if needed and layout is None and unknown and not constant:
            self._left_out.append(needed)
        return layout

    def _at(self, kind: str, index: int, tensor: Tensor, proven: bool) -> Layout | None:
        if self.layouts.failed or is_functorch_wrapped_tensor(tensor):  # vmap hides its dimension
            return None
        if self.layouts.found is None:
            rows = self.any_rows and self.layouts.together
            return ROWS if tensor.dim() > 1 and (rows or len(tensor) == self.samples) else None
        if index in self.layouts.moved.get(kind, ()) and not self.any_order:
            return None
        known = self.layouts.found[kind]
        layout, sure = known[index] if index < len(known) else (None, False)
        if layout is None or (proven and not sure) or not layout.fits(tensor, self.samples):
            return None
        return layout


class _Watch(WithoutDropout):
    """A mode that sees the tensors of all kinds, and lets batch norm see single samples."""

    def __init__(self) -> None:
        super().__init__()
        self._inner = _InnerWatch(self)

    def __enter__(self) -> Self:
        super().__enter__()
        self._inner.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._inner.__exit__(*raised)
        super().__exit__(*raised)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is F.batch_norm:
            return self.norm(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in APPLYING:
            self.see("product", result)
        return result

    def norm(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run batch norm as a sample alone would."""
        raise NotImplementedError

    def see(self, kind: str, tensor: Tensor) -> None:
        """See the tensor of one call."""
        raise NotImplementedError


class _InnerWatch(TorchDispatchMode):
    """The part of the watch that sees what functions are made of."""

    def __init__(self, outer: _Watch):
        super().__init__()
        self._outer = outer
        self._rectifiers = Rectifiers()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        source = self._rectifiers.source(func, args, kwargs)
        if source is not None:
            self._outer.see("rectifier", source)
        result = func(*args, **(kwargs or {}))
        self._rectifiers.see(result)
        if is_softmax(func):
            self._outer.see("map", result)
        return result


class _Alone(_Watch):
    """The watch of one sample alone, which keeps what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}

    def norm(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.see("norm", input)
        return _normalised(Layout(0, 1, input.shape[0]), 1, input, *args, **kwargs)

    def see(self, kind: str, tensor: Tensor) -> None:
        hidden = is_functorch_wrapped_tensor(tensor)
        self.seen[kind].append(torch.empty(0) if hidden else tensor.detach().clone())


class _Seen:
    """What is found, beside others, of one sample that was seen alone."""

    def __init__(self, alone: dict[str, list[Tensor]], position: int):
        self._alone, self._position = alone, position
        self.found: dict[str, list[Found]] = {kind: [] for kind in KINDS}
        self.constant: dict[str, set[int]] = {kind: set() for kind in KINDS}
        self.moved: dict[str, set[int]] = {kind: set() for kind in KINDS}

    def see(self, kind: str, tensor: Tensor, samples: int) -> None:
        """Look for the sample in the tensor of one call."""
        index, known = len(self.found[kind]), self._alone[kind]
        found: Found = (None, False)
        if index < len(known) and not is_functorch_wrapped_tensor(tensor):
            found = layout_of(tensor, samples, known[index], self._position)
            if is_close(tensor, known[index]):
                self.constant[kind].add(index)
            elif lies_elsewhere(tensor, samples, known[index], self._position):
                self.moved[kind].add(index)
        self.found[kind].append(found)


class _Beside(_Watch):
    """The watch of samples beside others, which looks for what some of them gave alone."""

    def __init__(self, alone: dict[int, dict[str, list[Tensor]]], samples: int):
        super().__init__()
        self._samples = samples
        self.seen = [_Seen(tensors, position) for position, tensors in alone.items()]

    def norm(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.see("norm", input)
        layout = self.seen[-1].found["norm"][-1][0]
        if layout is None:
            return F.batch_norm(input, *args, **kwargs)
        return _normalised(layout, self._samples, input, *args, **kwargs)

    def see(self, kind: str, tensor: Tensor) -> None:
        for one in self.seen:
            one.see(kind, tensor.detach(), self._samples)


def _normalised(layout: Layout, samples: int, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Run batch norm as each sample alone would see it; leave single values as they are."""
    if input.numel() == samples * input.shape[1]:
        return input
    return instance_norm(layout, samples, input, *args, **kwargs)


def survey(
    run: Callable[[int, int], Any], samples: int, picks: bool = False, moves: bool = False
) -> Layouts:
    """Return the layouts of a network of which the graph does not show that samples are the rows.

    Args:
        run: runs the network on samples ``start`` to ``stop`` of the batch.
        samples: in the batch.
        picks: whether values may decide in which row a sample lies. Then several samples are looked
            for beside all, and one that is not where the others are is nowhere.
        moves: whether samples may be put in another order. Then some are looked for beside all.
    """
    first = 0 if picks or moves else max(samples - 2, 0)
    wanted = [*range(max(samples - _LOOKED_FOR, 0), samples)] if picks else [samples - 1]
    if moves and not picks:
        wanted = sorted({0, max(samples - 2, 0), samples - 1})
    alone: dict[int, dict[str, list[Tensor]]] = {}
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        for sample in wanted:
            with _Alone() as watch:
                run(sample, sample + 1)
            alone[sample - first] = watch.seen
        with _Beside(alone, samples - first) as beside:
            run(first, samples)
    seen = beside.seen
    moved = {kind: set[int]().union(*(one.moved[kind] for one in seen)) for kind in KINDS}
    moved = moved if any(moved.values()) else {}
    if not picks:
        return Layouts(seen[-1].found, constant=seen[-1].constant, moved=moved)
    found = {
        kind: [_agreed(calls) for calls in zip(*(s.found[kind] for s in seen), strict=False)]
        for kind in KINDS
    }
    constant = {kind: set.intersection(*(s.constant[kind] for s in seen)) for kind in KINDS}
    return Layouts(found, constant=constant, moved=moved)


def _agreed(found: tuple[Found, ...]) -> Found:
    """Return what values prove of all samples that were looked for."""
    return found[0] if all(one == found[0] and one[1] for one in found) else (None, False)
