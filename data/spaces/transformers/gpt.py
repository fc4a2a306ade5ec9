"""HW-GPT-Bench: GPT-2-like language models whose layers differ in heads and hidden width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Choice, MadeUpSpace, Signature, Values
from ..reading import ArchitectureReader
from .layered import LayeredSpace

VOCABULARY = 50_254
CONTEXT = 1024
HEAD_SIZE = 64
"""Of every head, whatever the width of the embedding."""

_ROTATED = HEAD_SIZE // 2  # features of each head that carry its position
_BASE = 10_000.0


def rotary_tables(length: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of every position's angles, each angle twice."""
    frequencies = _BASE ** -(torch.arange(0, _ROTATED, 2) / _ROTATED)
    angles = torch.outer(torch.arange(length), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


class CausalAttention(nn.Module):
    """Heads of 64 features, the first half of each rotated by its position."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, width: int, heads: int, bias: bool, length: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * HEAD_SIZE * heads, bias=bias)
        self.project = nn.Linear(HEAD_SIZE * heads, width, bias=bias)
        cosines, sines = rotary_tables(length)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def rotated(self, x: Tensor) -> Tensor:
        """Turn half of every head's features, and leave the rest."""
        length = x.shape[-2]
        turned, rest = x[..., :_ROTATED], x[..., _ROTATED:]
        left, right = turned.chunk(2, -1)
        across = torch.cat([-right, left], -1)
        turned = turned * self.cosines[:length] + across * self.sines[:length]
        return torch.cat([turned, rest], -1)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, HEAD_SIZE)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        found = F.scaled_dot_product_attention(
            self.rotated(query), self.rotated(key), value, is_causal=True
        )
        return self.project(found.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


class GatedMLP(nn.Module):
    """Two matrices up, one of them a gate, and one down."""

    def __init__(self, width: int, hidden: int, bias: bool):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention and MLP side by side, each behind its own norm, added to the input."""

    def __init__(self, width: int, heads: int, ratio: int, bias: bool, length: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads, bias, length)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = GatedMLP(width, ratio * width, bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.norm1(x)) + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class LanguageModel(nn.Module):
    """A model from token ids to scores of every next token; embedding and head share no weights.

    Args:
        width: the width of the embedding.
        layers: the heads and the MLP ratio of each layer.
        bias: whether the layers' matrices have biases; the norms always have.
        vocabulary: the number of tokens.
        length: the largest number of tokens in a sequence.
    """

    def __init__(
        self, width: int, layers: list[tuple[int, int]], bias: bool, vocabulary: int, length: int
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(
            *(Layer(width, heads, ratio, bias, length) for heads, ratio in layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(self.embedding(tokens))))  # type: ignore[no-any-return]


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean cross-entropy over all tokens."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class HWGPT(MadeUpSpace, LayeredSpace):
    """Width, bias, and the heads and MLP ratio of every layer: ``e192-b1-h12m2,h8m3,...``.

    Networks take token ids of shape (batch, up to 1024). The table's ``macs`` are those of the
    matrices alone at batch 8; a graph's product FLOPs are those of one sequence and hold the
    attention's two products as well, ``128 * 1024**2`` for each head.
    """

    reference = "Sukthanker et al., HW-GPT-Bench, NeurIPS 2024"
    tasks: ClassVar[dict[str, Signature]] = {"openwebtext": Signature((CONTEXT,), VOCABULARY)}
    widths: ClassVar[tuple[int, ...]]
    ratios = (2, 3, 4)
    mark = "m"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.choose(Choice("width", cls.widths), Choice("bias", (0, 1)))

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        reader.expect("e")
        width = reader.integer(self.widths)
        reader.expect("-b")
        bias = reader.integer((0, 1))
        reader.expect("-")
        return (width, bias, *self.read_layers(reader))

    def format(self, values: Values) -> str:
        return f"e{values[0]}-b{values[1]}-{self.format_layers(values)}"

    def params(self, arch: str) -> int:
        """Count the network's parameters, by formula; the table's ``params``."""
        values = self.parse(arch)
        width: int = values[0]
        bias: int = values[1]
        layers: int = sum(
            4 * width
            + self._matrices(width, heads, ratio)
            + bias * (3 * HEAD_SIZE * heads + 2 * ratio * width + 2 * width)
            for heads, ratio in self.layers(values)
        )
        return 2 * VOCABULARY * width + 2 * width + layers

    def macs(self, arch: str, batch: int = 8) -> int:
        """Count multiply-accumulates of all matrices, by formula; the table's ``macs``.

        Attention's own products are not counted.
        """
        values = self.parse(arch)
        width: int = values[0]
        layers = (self._matrices(width, heads, ratio) for heads, ratio in self.layers(values))
        return batch * CONTEXT * (VOCABULARY * width + sum(layers))

    @staticmethod
    def _matrices(width: int, heads: int, ratio: int) -> int:
        return 4 * HEAD_SIZE * width * heads + 3 * ratio * width**2

    def inputs(self, task: str | None = None, arch: str | None = None) -> tuple[Tensor]:
        """Make one sequence of token ids."""
        return (torch.zeros(1, *self.task(task).inputs, dtype=torch.long),)

    def made_up(
        self, n: int, generator: torch.Generator, task: str | None, arch: str | None
    ) -> tuple[Tensor, Tensor]:
        """Make random token ids, and the token that follows each as its target."""
        tokens = torch.randint(VOCABULARY, (n, CONTEXT + 1), generator=generator)
        return tokens[:, :-1], tokens[:, 1:]

    def loss(self, task: str | None = None) -> Callable[[Any, Any], Tensor]:
        """Compute the cross-entropy of the next token."""
        self.task(task)
        return next_token_loss

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = self.parse(arch)
        return LanguageModel(
            values[0], self.layers(values), bool(values[1]), task.outputs, task.inputs[0]
        )


class GPTSmall(HWGPT):
    """The space of the published table: 10 to 12 layers.

    Example:
        >>> from archrank.data import space
        >>> gpt = space("gpt")
        >>> arch = "e192-b1-" + ",".join(["h12m3"] * 10)
        >>> gpt.params(arch), gpt.macs(arch)
        (28560000, 154540179456)
    """

    name = "gpt"
    title = "HW-GPT-Bench, GPT-S"
    widths = (192, 384, 768)
    heads = (4, 8, 12)
    depths = (10, 11, 12)


class GPTMedium(HWGPT):
    """22 to 24 layers. The formulas of params and MACs are not checked against published figures.

    Example:
        >>> from archrank.data import space
        >>> space("gpt_m").size == 6 * (9**22 + 9**23 + 9**24)
        True
    """

    name = "gpt_m"
    title = "HW-GPT-Bench, GPT-M"
    widths = (256, 512, 1024)
    heads = (8, 12, 16)
    depths = (22, 23, 24)


class GPTLarge(HWGPT):
    """34 to 36 layers. The formulas of params and MACs are not checked against published figures.

    Example:
        >>> from archrank.data import space
        >>> space("gpt_l").size == 6 * (9**34 + 9**35 + 9**36)
        True
    """

    name = "gpt_l"
    title = "HW-GPT-Bench, GPT-L"
    widths = (320, 640, 1280)
    heads = (8, 16, 20)
    depths = (34, 35, 36)
