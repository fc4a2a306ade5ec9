"""FlexiBERT: BERT-like encoders of layers that differ in operation, heads and feed-forward."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Choice, MadeUpSpace, Signature, Values
from ..reading import ArchitectureReader

VOCABULARY = 30_522
OPERATIONS = ("sa:sdp", "sa:wma", "lt:dft", "lt:dct", "dsc:5", "dsc:9")
"""Self-attention, plain or of queries times a matrix; linear transforms; dynamic convolution."""

_HIDDEN, _DEPTHS, _HEADS, _WIDTHS, _STACKS = (128, 256), (2, 4), (2, 4), (512, 1024), (1, 3)
_EMBEDDED = 128
_POSITIONS = 512
_EPS = 1e-12


class Embeddings(nn.Module):
    """Words, positions and types (all of the first), normed; a matrix to the encoder's width."""

    positions: Tensor

    def __init__(self, hidden: int):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, _EMBEDDED)
        self.places = nn.Embedding(_POSITIONS, _EMBEDDED)
        self.types = nn.Embedding(2, _EMBEDDED)
        self.norm = nn.LayerNorm(_EMBEDDED, eps=_EPS)
        self.project = nn.Identity() if hidden == _EMBEDDED else nn.Linear(_EMBEDDED, hidden)
        self.register_buffer("positions", torch.arange(_POSITIONS), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.places(self.positions[: tokens.shape[1]])
        types = self.types(torch.zeros_like(tokens))
        return self.project(self.norm(self.words(tokens) + places + types))  # type: ignore[no-any-return]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Turn (batch, length, features) into (batch, heads, length, features of a head)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # type: ignore[no-any-return]


def merge_heads(x: Tensor) -> Tensor:
    """Undo ``split_heads``."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Scaled dot products; ``weighted`` multiplies the queries by one more matrix."""

    def __init__(self, hidden: int, features: int, heads: int, weighted: bool = False):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, features)
        self.weight = nn.Linear(features, features, bias=False) if weighted else nn.Identity()
        self.key = nn.Linear(hidden, features)
        self.value = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        parts = (self.weight(self.query(x)), self.key(x), self.value(x))
        queries, keys, values = (split_heads(part, self.heads) for part in parts)
        return merge_heads(F.scaled_dot_product_attention(queries, keys, values))


class AttentionBesideConvolution(nn.Module):
    """Half of the heads attend, the other half convolve with kernels made at every position.

    Source: Jiang et al., ConvBERT, NeurIPS 2020: a kernel comes from the query times a depthwise
    separable convolution of the input.
    """

    def __init__(self, hidden: int, heads: int, kernel: int):
        super().__init__()
        self.heads = max(1, heads // 2)
        self.kernel = kernel
        features = self.heads * (hidden // heads)
        self.query = nn.Linear(hidden, features)
        self.key = nn.Linear(hidden, features)
        self.value = nn.Linear(hidden, features)
        self.depthwise = nn.Conv1d(
            hidden, hidden, kernel, padding=kernel // 2, groups=hidden, bias=False
        )
        self.pointwise = nn.Conv1d(hidden, features, 1)
        self.kernels = nn.Linear(features, self.heads * kernel)
        self.convolved = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)
        queries, keys, values = (
            split_heads(part, self.heads) for part in (query, self.key(x), self.value(x))
        )
        attended = F.scaled_dot_product_attention(queries, keys, values)
        span = self.pointwise(self.depthwise(x.transpose(1, 2))).transpose(1, 2)
        kernels = self.kernels(span * query).unflatten(-1, (self.heads, self.kernel, 1)).softmax(-2)
        around = F.unfold(
            self.convolved(x).transpose(1, 2).unsqueeze(-1),
            (self.kernel, 1),
            padding=(self.kernel // 2, 0),
        )
        windows = around.transpose(1, 2).unflatten(-1, (self.heads, -1, self.kernel))
        return torch.cat([merge_heads(attended), (windows @ kernels).flatten(2)], -1)


def cosine_matrix(size: int) -> Tensor:
    """Return the discrete cosine transform (II, not scaled) as a matrix."""
    k = torch.arange(size, dtype=torch.float64)  # angles are large: single precision is too coarse
    return (2 * torch.cos(math.pi / size * torch.outer(k, k + 0.5))).float()


class Transform(nn.Module):
    """One projection, then a two-dimensional transform over positions and a head's features.

    The Fourier transform is reduced to its real part.

    Notes:
        The kind of the cosine transform (II, not scaled) is our choice.
    """

    along: Tensor
    across: Tensor

    def __init__(self, hidden: int, heads: int, kind: str, length: int):
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(hidden, hidden)
        self.fourier = kind == "dft"
        if not self.fourier:
            self.register_buffer("along", cosine_matrix(length), persistent=False)
            self.register_buffer("across", cosine_matrix(hidden // heads).T, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = split_heads(self.project(x), self.heads)
        if self.fourier:
            return merge_heads(torch.fft.fft2(x).real)
        return merge_heads(self.along @ x @ self.across)


class Residual(nn.Module):
    """An attention, a matrix, sum with the input, norm."""

    def __init__(self, hidden: int, heads: int, operation: str):
        super().__init__()
        kind, parameter = operation.split(":")
        self.attention = (
            AttentionBesideConvolution(hidden, heads, int(parameter))
            if kind == "dsc"
            else Attention(hidden, hidden, heads, parameter == "wma")
        )
        self.project = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.project(self.attention(x)))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """To four times the width, then to ``width`` as often as stacked, and back; sum and norm."""

    def __init__(self, hidden: int, width: int, stacked: int):
        super().__init__()
        sizes = [hidden, 4 * hidden] + [width] * (stacked - 1)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(sizes):
            layers += [nn.Linear(c_in, c_out), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], hidden))
        self.norm = nn.LayerNorm(hidden, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.layers(x))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Classifier of the first token."""

    def __init__(self, hidden: int, classes: int):
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.gelu(self.dense(x[:, 0])))  # type: ignore[no-any-return]


class FlexiBERT(MadeUpSpace):
    """Hidden size, then two or four layers: ``h128-sa:sdp:2:512x1-lt:dft:4:512x1``.

    A layer is its operation and parameter, heads, and feed-forward width x number stacked. Networks
    take token ids of shape (batch, 128) and end in a classifier of two classes, which is not part
    of the published counts.

    The published scores come from code in which the operation had no effect: every network was
    trained with plain attention. The task ``glue`` builds these; operations are labels there, so
    conclude nothing from them. ``glue-intended`` builds the networks that the operations describe.
    The authors' scoring model is ``glue-intended`` with hidden size 256 and every width 1024.

    Example:
        >>> from archrank.data import space
        >>> flexibert = space("flexibert")
        >>> flexibert.canonical("h128-dsc:9:4:1024x1-lt:dct:2:1024x3")
        'h128-sa:sdp:4:512x1-sa:sdp:2:1024x3'
    """

    name = "flexibert"
    title = "FlexiBERT, the set of NAS-Bench-BERT"
    reference = "Tuli et al., FlexiBERT, 2022; Serianni & Kalita, ACL 2023"
    tasks: ClassVar[dict[str, Signature]] = {
        name: Signature((128,), 2) for name in ("glue", "glue-intended")
    }
    choices = (
        Choice("hidden", _HIDDEN),
        Choice("layers", _DEPTHS),
        *(
            choice
            for i in range(_DEPTHS[-1])
            for choice in (
                Choice(f"operation{i}", OPERATIONS),
                Choice(f"heads{i}", _HEADS),
                Choice(f"width{i}", _WIDTHS),
                Choice(f"stacked{i}", _STACKS),
            )
        ),
    )
    size = len(_HIDDEN) * sum(
        (len(OPERATIONS) * len(_HEADS) * len(_WIDTHS) * len(_STACKS)) ** depth for depth in _DEPTHS
    )

    def layers(self, values: Values) -> list[tuple[str, int, int, int]]:
        """Return the operation, heads, feed-forward width and number stacked of every active
        layer."""
        return list(zip(*(values[2 + i :: 4] for i in range(4)), strict=True))[: values[1]]

    def active(self, values: Values) -> list[bool]:
        depth: int = values[1]
        return [True] * (2 + 4 * depth) + [False] * 4 * (_DEPTHS[-1] - depth)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        reader.expect("h")
        hidden = reader.integer(_HIDDEN)
        layers: list[Any] = []
        while len(layers) < 4 * _DEPTHS[-1]:
            if len(layers) == 4 * _DEPTHS[0] and not reader.rest:
                break
            reader.expect("-")
            layers.append(reader.one_of(OPERATIONS))
            for mark, options in ((":", _HEADS), (":", _WIDTHS), ("x", _STACKS)):
                reader.expect(mark)
                layers.append(reader.integer(options))
        reader.end()
        depth = len(layers) // 4
        layers += (OPERATIONS[0], _HEADS[0], _WIDTHS[0], _STACKS[0]) * (_DEPTHS[-1] - depth)
        return (hidden, depth, *layers)

    def format(self, values: Values) -> str:
        layers = (f"{name}:{n}:{width}x{times}" for name, n, width, times in self.layers(values))
        return "-".join([f"h{values[0]}", *layers])

    def canonical(self, arch: str) -> str:
        """Drop operations and widths that had no effect in training."""
        values = list(self.values(arch))
        for i in range(values[1]):
            at = 2 + 4 * i
            values[at] = OPERATIONS[0]
            if values[at + 3] == 1:
                values[at + 2] = _WIDTHS[0]
        return self.format(tuple(values))

    def encode(self, arch: str) -> npt.NDArray[np.float32]:
        """Return every choice one-hot, operations included although they are without effect as
        trained; zeros for layers that are not there and widths where one matrix is stacked."""
        code = super().encode(arch)
        per_layer = sum(len(choice.options) for choice in self.choices[2:6])
        for i, (*_, stacked) in enumerate(self.layers(self.values(arch))):
            if stacked == 1:
                at = len(_HIDDEN) + len(_DEPTHS) + i * per_layer + len(OPERATIONS) + len(_HEADS)
                code[at : at + len(_WIDTHS)] = 0
        return code

    def inputs(self, task: str | None = None, arch: str | None = None) -> tuple[Tensor]:
        """Make one sequence of token ids."""
        return (torch.zeros(1, *self.task(task).inputs, dtype=torch.long),)

    def made_up(
        self, n: int, generator: torch.Generator, task: str | None, arch: str | None
    ) -> tuple[Tensor, Tensor]:
        """Make random token ids and classes."""
        facts = self.task(task)
        tokens = torch.randint(VOCABULARY, (n, *facts.inputs), generator=generator)
        return tokens, torch.randint(facts.outputs, (n,), generator=generator)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = self.parse(arch)
        hidden: int = values[0]
        parts: list[nn.Module] = []
        for operation, heads, width, stacked in self.layers(values):
            if name == "glue":
                operation = OPERATIONS[0]
            if operation.startswith("lt"):
                parts.append(Transform(hidden, heads, operation[3:], task.inputs[0]))
            else:
                parts.append(Residual(hidden, heads, operation))
            parts.append(FeedForward(hidden, width, stacked))
        return nn.Sequential(
            OrderedDict(
                embeddings=Embeddings(hidden),
                layers=nn.Sequential(*parts),
                head=Head(hidden, task.outputs),
            )
        )
