"""Graphs put together from pieces that were traced once, for spaces of many similar networks.

Tracing runs every operator of a network. Networks of one search space differ in how the same few
pieces are wired, so ``assemble`` builds only the wiring. Classes derived from ``Piece`` become
empty placeholders, and the forward pass runs on symbolic values. Each call of a placeholder appends
the piece's graph, which is traced once per configuration and shape. The result equals the traced
graph, including the names of its nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import ATTRIBUTES
from ..graph import Graph
from ..module_path import ModulePath
from ..tracing import trace_whole
from .fragment import Fragment, Shape

_ASSEMBLING: ContextVar[bool] = ContextVar("assembling", default=False)
_FRAGMENTS: dict[Any, Fragment] = {}
_MOST_FRAGMENTS = 5_000


class Piece(nn.Module):
    """A module whose graph depends only on its arguments and its inputs' shapes.

    Derive the recurring parts of a search space from it: operators, cells, heads. The arguments
    must be hashable. ``forward`` takes tensors and returns one tensor. Pieces may contain pieces.
    Outside ``assemble``, a piece is an ordinary module.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if _ASSEMBLING.get():
            return _Placeholder(cls, args, tuple(kwargs.items()))
        return super().__new__(cls)


def assemble(build: Callable[[], nn.Module], inputs: Shape | Sequence[Shape]) -> Graph:
    """Return the graph of the network that ``build`` makes, much faster than by tracing it.

    Outside its pieces, the network's forward pass may use ``+``, ``*`` and torch functions that
    take tensors and return one tensor. Only shapes are available there, no values.

    Args:
        build: makes the network; it is called once, and every ``Piece`` is then a placeholder.
        inputs: the shape of the input without batch dimension, or one shape for each input.

    Example:
        >>> import torch
        >>> from archrank.graphs import Piece, assemble, trace
        >>> class Block(Piece):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.linear = torch.nn.Linear(width, width)
        ...     def forward(self, x):
        ...         return torch.relu(self.linear(x))
        >>> def build():
        ...     return torch.nn.Sequential(*(Block(8) for _ in range(4)))
        >>> assemble(build, (8,)) == trace(build(), (8,))
        True
    """
    shapes = [inputs] if isinstance(inputs[0], int) else list(inputs)
    fragment = _assembled(build, tuple((1, *shape) for shape in shapes))  # type: ignore[misc]
    return fragment.graph()


class _Placeholder(nn.Module):
    """Stands for a ``Piece``; called with symbolic values it appends the piece's graph."""

    key: tuple[type[Piece], tuple[Any, ...], tuple[Any, ...]]

    def __init__(self, kind: type[Piece], args: tuple[Any, ...], kwargs: tuple[Any, ...]):
        super().__init__()
        object.__setattr__(self, "key", (kind, args, kwargs))  # no parameter: Module need not look

    def __call__(self, *values: Symbol) -> Symbol:
        # Not through Module's hooks: a network has hundreds of calls, and none listens.
        assembler = values[0].assembler
        shapes = tuple(value.shape for value in values)
        return assembler.append(_fragment(self.key, shapes), values, self)

    def make(self, assembling: bool) -> nn.Module:
        """Return the piece itself, its own pieces placeholders if ``assembling``."""
        kind, args, kwargs = self.key
        token = _ASSEMBLING.set(assembling)
        try:
            piece = object.__new__(kind)
            piece.__init__(*args, **dict(kwargs))  # type: ignore[misc]
        finally:
            _ASSEMBLING.reset(token)
        return piece


class Symbol:
    """The value of a tensor that is not there: its shape and the node that makes it."""

    def __init__(self, assembler: _Assembler, node: int, shape: Shape):
        self.assembler = assembler
        self.node = node
        self.shape = torch.Size(shape)

    def __add__(self, other: Any) -> Symbol:
        return self.__torch_function__(torch.add, (), (self, other))

    def __mul__(self, other: Any) -> Symbol:
        return self.__torch_function__(torch.mul, (), (self, other))

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Symbol:
        symbols: list[Symbol] = []

        def slot(value: Any) -> Any:
            if isinstance(value, Symbol):
                symbols.append(value)
                return _Slot(len(symbols) - 1)
            if isinstance(value, (list, tuple)):
                return tuple(slot(item) for item in value)
            return value

        plan = (slot(args), tuple((name, slot(value)) for name, value in (kwargs or {}).items()))
        key = (_Function, (function, plan), ())
        shapes = tuple(tuple(symbol.shape) for symbol in symbols)
        return symbols[0].assembler.append(_fragment(key, shapes), symbols, None)


@dataclass(frozen=True)
class _Slot:
    index: int


class _Function(Piece):
    """One torch function called between pieces."""

    def __init__(self, function: Any, plan: tuple[Any, ...]):
        super().__init__()
        self.function = function
        self.plan = plan

    def forward(self, *tensors: Tensor) -> Any:
        def filled(value: Any) -> Any:
            if isinstance(value, _Slot):
                return tensors[value.index]
            return tuple(map(filled, value)) if isinstance(value, tuple) else value

        args, kwargs = self.plan
        return self.function(*filled(args), **{name: filled(value) for name, value in kwargs})


class _Assembler:
    """Collects fragments while a skeleton's forward runs."""

    def __init__(self, shapes: tuple[Shape, ...]):
        self.shapes = shapes
        self.calls: list[tuple[Fragment, tuple[int, ...], int, nn.Module | None, str]] = []
        self.length = 0
        self.path: ModulePath | None = None

    def append(
        self, fragment: Fragment, values: Sequence[Symbol], module: nn.Module | None
    ) -> Symbol:
        assert self.path is not None
        sources = tuple(value.node for value in values)
        name = self.path.current if module is None else self.path.name_of(module)
        self.calls.append((fragment, sources, self.length, module, name))
        output = fragment.output
        node = sources[-1 - output] if output < 0 else self.length + output
        self.length += len(fragment.operator)
        return Symbol(self, node, fragment.output_shape)

    def fragment(self, skeleton: nn.Module, output: Symbol) -> Fragment:
        """Return everything appended, as one fragment with the skeleton's names."""
        names, sizes, at = _parameters(skeleton, self.calls)
        parts = [part for part, *_ in self.calls]
        columns = {name: _concatenated(parts, name) for name in _COLUMNS}
        aten, module = _Table(), _Table()
        outer: list[int] = []  # what the parts read from outside, one after the other
        first_outer = []
        for part, sources, _, _, path in self.calls:
            aten.extend(part.aten_names)
            module.extend([_joined(path, text) for text in part.module_names])
            first_outer.append(len(outer))
            outer.extend(sources)
        nodes = [len(part.operator) for part in parts]
        columns["aten"] = aten.codes(columns["aten"], nodes)
        columns["module"] = module.codes(columns["module"], nodes)
        first_parameter = [at.get(id(called), 0) for _, _, _, called, _ in self.calls]
        columns["uses"] = columns["uses"] + np.repeat(
            np.array(first_parameter, np.int64), [len(part.uses) for part in parts]
        )
        local = columns["edges"]
        counts = [len(part.edges) for part in parts]
        start = np.array([start for _, _, start, _, _ in self.calls], np.int64)
        columns["edges"] = edges = local + np.repeat(start, counts)[:, None]
        outside = np.flatnonzero(local[:, 0] < 0)
        first = np.repeat(np.array(first_outer, np.int64), counts)[outside]
        edges[outside, 0] = np.array(outer, np.int64)[first - 1 - local[outside, 0]]
        return Fragment(
            inputs=self.shapes,
            output=output.node,
            output_shape=tuple(output.shape),
            parameter_sizes=sizes,
            aten_names=tuple(aten.names),
            module_names=tuple(module.names),
            parameter_names=names,
            **columns,
        )


_COLUMNS: dict[str, Shape] = {
    **dict.fromkeys(
        "operator aten module signature in_shapes in_lengths out_shapes out_lengths uses "
        "uses_lengths node_flops".split(),
        (),
    ),
    "attributes": (len(ATTRIBUTES),),
    "edges": (2,),
}


def _concatenated(parts: Sequence[Fragment], column: str) -> np.ndarray:
    if not parts:
        return np.zeros((0, *_COLUMNS[column]), np.int64)
    return np.concatenate([getattr(part, column) for part in parts])


class _Table:
    """One table of names for the codes of several parts, in the order of first use."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self._translated: list[int] = []
        self._first: list[int] = []  # of each part in _translated

    def extend(self, names: Sequence[str]) -> None:
        """Take the names of the next part."""
        self._first.append(len(self._translated))
        table = self.names
        self._translated += [table.setdefault(name, len(table)) for name in names]

    def codes(self, codes: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """Return the codes of all parts, of so many nodes each, renumbered."""
        first = np.repeat(np.array(self._first, np.int64), lengths)
        renumbered: np.ndarray = np.array(self._translated, np.int64)[codes + first]
        return renumbered


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _parameters(
    skeleton: nn.Module, calls: list[tuple[Fragment, tuple[int, ...], int, nn.Module | None, str]]
) -> tuple[tuple[str, ...], np.ndarray, dict[int, int]]:
    """Return all parameters in the order of registration, and where each placeholder's begin."""
    called = {id(module): fragment for fragment, _, _, module, _ in calls if module is not None}
    names: list[str] = []
    sizes: list[np.ndarray] = []
    at: dict[int, int] = {}
    for prefix, module in skeleton.named_modules():
        if not isinstance(module, _Placeholder):
            if module._parameters:
                raise TypeError(f"{prefix or type(module).__name__}: parameters outside a Piece")
            continue
        at[id(module)] = len(names)
        fragment = called.get(id(module))
        if fragment is None:  # made, never called: its parameters count all the same
            with torch.device("meta"):
                own = list(module.make(assembling=False).named_parameters())
            names.extend(_joined(prefix, name) for name, _ in own)
            sizes.append(np.array([p.numel() for _, p in own], np.int64))
        else:
            names.extend(_joined(prefix, name) for name in fragment.parameter_names)
            sizes.append(fragment.parameter_sizes)
    return tuple(names), np.concatenate([np.zeros(0, np.int64), *sizes]), at


def _fragment(key: Any, shapes: tuple[Shape, ...]) -> Fragment:
    """Return the fragment of a piece, from memory if it was made before."""
    found = _FRAGMENTS.get((key, shapes))
    if found is None:
        shapes = tuple(map(tuple, shapes))
        placeholder = _Placeholder(*key)
        with torch.device("meta"):
            piece = placeholder.make(assembling=True)
        if any(isinstance(module, _Placeholder) for module in piece.modules()):
            found = _wired(piece, shapes)
        else:
            found = _traced(piece, shapes)
        if len(_FRAGMENTS) >= _MOST_FRAGMENTS:
            _FRAGMENTS.clear()
        _FRAGMENTS[key, shapes] = found
    return found


def _assembled(build: Callable[[], nn.Module], shapes: tuple[Shape, ...]) -> Fragment:
    with _placeholders(), torch.device("meta"):
        skeleton = build()
    return _wired(skeleton, shapes)


@contextmanager
def _placeholders() -> Iterator[None]:
    token = _ASSEMBLING.set(True)
    try:
        yield
    finally:
        _ASSEMBLING.reset(token)


def _wired(skeleton: nn.Module, shapes: tuple[Shape, ...]) -> Fragment:
    assembler = _Assembler(shapes)
    path = ModulePath(skeleton)
    assembler.path = path
    symbols = [Symbol(assembler, -1 - i, shape) for i, shape in enumerate(shapes)]
    token = _ASSEMBLING.set(False)
    try:
        with path.tracked():
            output = skeleton(*symbols)
    finally:
        _ASSEMBLING.reset(token)
    if not isinstance(output, Symbol):
        raise TypeError(f"the forward returned {type(output).__name__}, expected one value")
    return assembler.fragment(skeleton, output)


def _traced(piece: nn.Module, shapes: tuple[Shape, ...]) -> Fragment:
    token = _ASSEMBLING.set(False)
    try:
        tensors = tuple(torch.empty(shape, device="meta") for shape in shapes)
        return Fragment.of(trace_whole(piece, tensors), shapes)
    finally:
        _ASSEMBLING.reset(token)
