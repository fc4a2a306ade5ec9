"""The computation graph: immutable, and stored as arrays."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..basics import IntArray
from ..errors import InputError
from ..files import written_whole
from .arrays import Arrays, row_of
from .features import to_pyg
from .operators import CANONICAL
from .spectra import laplacian_spectrum

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Data

FORMAT = 1
_COMMUTATIVE = frozenset({"add", "mul"})


@dataclass(frozen=True, eq=False, repr=False)
class Graph(Arrays):
    """The computation graph of one model: one node per operator, one edge per operand.

    Nodes are in execution order, which is a topological order. Views, copies, casts and dropout are
    left out. Computations on weights alone are folded into the operator that uses their result. Two
    graphs with the same structure are equal and have the same hash. The names of modules and
    parameters and the values of weights do not count.

    Attributes:
        operator: int array (n,), index into ``CANONICAL``.
        attributes: int array (n, len(ATTRIBUTES)): kernel, stride, padding, dilation, groups, ...
        edges: int array (m, 2) of (source, target), in operand order per target.
        node_flops: int array (n,), multiply-adds of each node (see ``graphs/flops.py``).
        parameter_names, parameter_sizes: every parameter of the model once, used or not.
        exact: whether shapes alone determined the graph. If False, the forward pass ran with
            values, since the model branches on them (early exit, a solver's steps) or an operator
            has no shape rule. Other values of the same shape may then take other paths.

    Example:
        >>> import torch
        >>> import archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.ReLU())
        >>> graph = archrank.trace(net, (3, 32, 32))
        >>> [node.operator for node in graph.nodes]
        ['input', 'conv2d', 'relu', 'output']
        >>> graph.params, graph.flops, graph.depth
        (216, 201600, 1)
    """

    # --- identity -----------------------------------------------------------------------------

    @cached_property
    def hash(self) -> str:
        """Structural hash of 32 hex digits, equal for equal architectures.

        It is a Weisfeiler-Lehman relabelling along the graph's direction. Each node takes the
        digest of its own label and those of its operands, in operand order, or sorted if the
        operator commutes. A second sweep runs backwards over the consumers. The hash is the digest
        of the sorted node digests. In a directed acyclic graph, these two sweeps are as fine as any
        number of local rounds.
        """
        labels = [self._label(i) for i in range(len(self))]
        operands: list[list[bytes]] = [[] for _ in labels]
        consumers: list[list[bytes]] = [[] for _ in labels]
        down: list[bytes] = []
        pairs = self.edges.tolist()
        by_target: list[list[int]] = [[] for _ in labels]
        by_source: list[list[int]] = [[] for _ in labels]
        for source, target in pairs:
            by_target[target].append(source)
            by_source[source].append(target)
        for i, label in enumerate(labels):
            operands[i] = [down[s] for s in by_target[i]]
            if CANONICAL[self.operator[i]] in _COMMUTATIVE:
                operands[i].sort()
            down.append(_digest(label, *operands[i]))
        up = list(down)
        for i in reversed(range(len(labels))):
            consumers[i] = sorted(up[t] for t in by_source[i])
            up[i] = _digest(down[i], *consumers[i])
        unused = sorted(
            size
            for name, size in zip(self.parameter_names, self.parameter_sizes.tolist(), strict=True)
            if name not in self.parameter_node
        )
        # Which operators share a weight: a(a(b(b(x)))) is not a(b(a(b(x)))).
        users: dict[int, list[bytes]] = {}
        for i, digest in enumerate(up):
            for p in row_of(self.uses, self.uses_offsets, i):
                users.setdefault(p, []).append(digest)
        shared = sorted(_digest(*sorted(group)) for group in users.values() if len(group) > 1)
        return _digest(repr((unused, len(up))).encode(), *sorted(up), *shared).hex()

    def _label(self, i: int) -> bytes:
        uses = row_of(self.uses, self.uses_offsets, i)
        parts = (
            CANONICAL[self.operator[i]],
            self.aten_names[self.aten[i]].rstrip("_") if self.operator[i] == 0 else "",
            row_of(self.in_shapes, self.in_offsets, i),
            row_of(self.out_shapes, self.out_offsets, i),
            self.attributes[i].tolist(),
            int(self.signature[i]),
            # A weight used twice is another network than two weights used once.
            sorted((int(self.parameter_sizes[p]), int(self._use_counts[p])) for p in uses),
        )
        return repr(parts).encode()

    @cached_property
    def _use_counts(self) -> IntArray:
        return np.bincount(self.uses, minlength=len(self.parameter_names)).astype(np.int64)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.hash == other.hash

    def __hash__(self) -> int:
        return int(self.hash[:15], 16)

    def __repr__(self) -> str:
        return (
            f"Graph({len(self)} nodes, {len(self.edges)} edges, {self.params:,} params, "
            f"{self.flops:,} FLOPs, depth {self.depth}, hash {self.hash[:8]})"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>{self.draw()}"

    # --- other forms --------------------------------------------------------------------------

    def spectrum(self, q: int = 21) -> npt.NDArray[np.float64]:
        """Return the ``q`` smallest eigenvalues of the undirected graph's normalised Laplacian.

        See ``archrank.graphs.spectra.laplacian_spectrum``.
        """
        return laplacian_spectrum(self, q)

    def to_pyg(self, features: str = "default") -> Data:
        """Return a torch-geometric ``Data``; see ``archrank.graphs.features.to_pyg``."""
        return to_pyg(self, features)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """Return a ``networkx.MultiDiGraph`` whose node attributes are the fields of each node.

        Edges have the attribute ``operand``, the position among the target's operands. Changes to
        the returned object do not affect this graph.
        """
        import networkx

        graph = networkx.MultiDiGraph()
        for node in self.nodes:
            facts = {field.name: getattr(node, field.name) for field in fields(node)}
            graph.add_node(facts.pop("index"), **facts)
        seen: Counter[int] = Counter()
        for source, target in self.edges.tolist():
            graph.add_edge(source, target, operand=seen[target])
            seen[target] += 1
        return graph

    def draw(self, path: str | Path | None = None, **options: Any) -> str:
        """Draw the graph with repeated stages folded; see ``archrank.graphs.drawing.draw``."""
        from .drawing import draw

        return draw(self, path, **options)

    def save(self, path: str | Path) -> None:
        """Write the graph to one file of NumPy arrays and JSON names, without pickle.

        The file appears whole or not at all.
        """
        with written_whole(path) as partial:
            partial.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return what ``save`` writes."""
        arrays: dict[str, Any] = {}
        names: dict[str, Any] = {"format": FORMAT, "canonical": CANONICAL}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                arrays[field.name] = value
            elif value != field.default:  # files of exact graphs are as they always were
                names[field.name] = value
        file = io.BytesIO()
        arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
        # Numbers alone. Before NumPy 2.1, allow_pickle=False would be saved as one of them.
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Graph:
        """Read a graph that ``to_bytes`` wrote.

        Raises:
            InputError: the content is not such a graph, or its format is newer.
        """
        return cls._read(io.BytesIO(content), "content: it")

    @classmethod
    def load(cls, path: str | Path) -> Graph:
        """Read a graph that ``save`` wrote.

        Raises:
            InputError: the file is not such a graph, or its format is newer.
        """
        return cls._read(path, f"path: {str(path)!r}")

    @classmethod
    def _read(cls, source: str | Path | io.BytesIO, named: str) -> Graph:
        """Read a graph from a file or from memory; errors call it ``named``."""
        import zipfile
        import zlib

        # What numpy, zipfile and json raise on files that are cut, changed or something else.
        damaged = (
            *(ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, RuntimeError),
            *(zipfile.BadZipFile, zlib.error),
        )
        problem = f"{named} is not a graph saved by archrank"
        try:
            with np.load(source, allow_pickle=False) as file:
                data: dict[str, Any] = {name: file[name] for name in file.files}
            names = json.loads(data.pop("names").tobytes())
        except FileNotFoundError:
            raise InputError(f"path: no file {str(source)!r}") from None
        except damaged as e:
            raise InputError(f"{problem} ({e})") from e
        wanted = {field.name for field in fields(cls)} | {"format", "canonical"}
        if not isinstance(names, dict) or {*data, *names, "exact"} != wanted:
            raise InputError(f"{problem}: it lacks parts of one or holds others")
        if names.pop("format") != FORMAT:
            raise InputError(f"{problem} of format {FORMAT}; install the archrank that wrote it")
        # Operators are saved by their name's position: translate if the vocabulary has grown.
        canonical = names.pop("canonical")
        position = {name: i for i, name in enumerate(CANONICAL)}
        try:
            translate = np.array([position.get(name, 0) for name in canonical], dtype=np.int16)
            data["operator"] = translate[data["operator"]]
            data["exact"] = bool(names.pop("exact", True))
            data.update((name, tuple(value)) for name, value in names.items())
            graph = cls(**data)
            graph.check()
        except (IndexError, TypeError, ValueError) as e:
            raise InputError(f"{problem}: its parts do not fit together ({e})") from e
        return graph


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(part)
    return digest.digest()
