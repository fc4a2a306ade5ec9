"""Models that take sequences first score as their twins that take samples first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, Model, N, compared
from torch import Tensor, nn

import archrank

OUT = OF_THE_GRAPH | {"meco_opt"}  # which reads shapes in the graph of the whole input
STEPS = pytest.mark.parametrize(
    "steps", [1, 5, N], ids=["one step", "fewer steps", "as many steps as samples"]
)


def pair(kind: str, prepare: Callable[..., Any]) -> tuple[Model, Model]:
    """Return the same network with sequences first and with samples first."""

    def made(batch_first: bool) -> Model:
        torch.manual_seed(0)
        body = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=batch_first)
        if kind == "recurrent":
            body = nn.GRU(8, 8, batch_first=batch_first)

        def run(m: Model, *args: Tensor, **kwargs: Tensor) -> Tensor:
            inputs, options = prepare(*args, **kwargs)
            x = m.body(m.embed(inputs), **options)
            return m.head(F.relu(m.out(x[0] if kind == "recurrent" else x)).mean(int(batch_first)))

        layers = {"embed": nn.Linear(3, 8), "body": body, "out": nn.Linear(8, 8)}
        return Model(run, **layers, head=nn.Linear(8, 4)).double()

    return made(False), made(True)


def batches(steps: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(N, steps, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(x, torch.arange(N) % 4) for x in given]


@STEPS
@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_one_input(kind: str, steps: int) -> None:
    model, twin = pair(kind, lambda x: (x, {}))
    data = batches(steps)
    given = [(x.transpose(0, 1), targets) for x, targets in data]
    compared(archrank.score(model, given), archrank.score(twin, data), OUT)
    compared(archrank.score(model, (steps, 3)), archrank.score(twin, (steps, 3)), OUT)
    assert archrank.trace(model, given[0][0]).flops == archrank.trace(twin, data[0][0]).flops


@STEPS
@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
def test_two_inputs(kind: str, steps: int) -> None:
    model, twin = pair(kind, lambda x, more: (x + more, {}))
    data = batches(steps)
    given = [((x.mT.permute(2, 0, 1), x.flip(0).transpose(0, 1)), y) for x, y in data]
    expected = archrank.score(twin, [((x, x.flip(0)), y) for x, y in data])
    compared(archrank.score(model, given), expected, OUT)


@STEPS
def test_padding_holds_samples_first_and_a_mask_none(steps: int) -> None:
    def prepare(x: Tensor, padding: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return x, {"src_key_padding_mask": padding, "src_mask": mask}

    model, twin = pair("transformer", prepare)
    padding = torch.rand(N, steps, generator=torch.Generator().manual_seed(0)) > 0.6
    padding[:, 0] = False
    mask = torch.ones(steps, steps).triu(1).bool()
    data = batches(steps)
    given = [((x.transpose(0, 1), padding, mask), y) for x, y in data]
    expected = archrank.score(twin, [((x, padding, mask), y) for x, y in data])
    compared(archrank.score(model, given), expected, OUT)


def test_lengths_of_packed_sequences() -> None:
    class Packed(nn.Module):
        def __init__(self, batch_first: bool):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head = nn.GRU(3, 8, batch_first=batch_first), nn.Linear(8, 4)
            self.batch_first = batch_first

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            pack = nn.utils.rnn.pack_padded_sequence
            packed = pack(x, lengths.cpu(), self.batch_first, enforce_sorted=False)
            return self.head(F.relu(self.body(packed)[1][0]))

    lengths, data = torch.tensor([5, 3, 4, 5, 2, 1]), batches(5)
    model, twin = (Packed(batch_first).double() for batch_first in (False, True))
    scores = archrank.score(model, [((x.transpose(0, 1), lengths), y) for x, y in data])
    expected = archrank.score(twin, [((x, lengths), y) for x, y in data])
    assert expected["gradsign"].status == "ok"
    compared(scores, expected, OUT)


class Language(nn.Module):
    """Gives each token of a sequence classes of its own, apart or one after the other."""

    def __init__(self, kind: str, batch_first: bool, flat: bool):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out, self.head = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 11)
        self.body: nn.Module = nn.TransformerEncoderLayer(8, 2, 16, 0, batch_first=batch_first)
        if kind == "recurrent":
            self.body = nn.GRU(8, 8, batch_first=batch_first)
        self.flat = flat

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.body(self.embed(tokens))
        x = self.head(F.relu(self.out(x[0] if isinstance(x, tuple) else x)))
        return x.flatten(0, 1) if self.flat else x


def of_tokens(output: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, -2), targets.flatten())


@pytest.mark.parametrize("flat", [False, True], ids=["apart", "flat"])
@pytest.mark.parametrize("kind", ["recurrent", "transformer"])
@pytest.mark.parametrize("steps", [5, N])
def test_outputs_of_each_token(kind: str, flat: bool, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(11, (4, N, steps), generator=generator)
    data = [(drawn[0], drawn[1]), (drawn[2], drawn[3])]
    model, twin = (Language(kind, batch_first, flat).double() for batch_first in (False, True))
    given = [(x.T.contiguous(), y.T.contiguous()) for x, y in data]
    scores = archrank.score(model, given, loss=of_tokens)
    expected = archrank.score(twin, data, loss=of_tokens)
    assert expected["gradsign"].status == expected["synflow"].status == "ok"
    compared(scores, expected, OUT)
    assert scores["flops"].value == expected["flops"].value


def test_a_sample_of_several_outputs_needs_a_loss() -> None:
    scores = archrank.score(Language("recurrent", True, True), torch.randint(11, (N, 5)))
    assert "pass loss=" in scores["gradsign"].reason
    assert scores["gradsign"].status == "unsupported"


@pytest.mark.parametrize("by_token", [False, True], ids=["one output", "outputs of tokens"])
@pytest.mark.parametrize("steps", [(5, 4), (N, 4), (5, N)])
def test_from_sequence_to_sequence(by_token: bool, steps: tuple[int, int]) -> None:
    class Pair(nn.Module):
        def __init__(self, batch_first: bool):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Linear(3, 8), nn.Linear(8, 4)
            self.body = nn.Transformer(8, 2, 1, 1, 16, 0, batch_first=batch_first)
            self.steps = int(batch_first)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            x = self.body(self.embed(source), self.embed(target))
            return self.head(x if by_token else x.mean(self.steps))

    data = [(x[0], y[0]) for x, y in zip(*(batches(size) for size in steps), strict=True)]
    classes = torch.arange(N * steps[1]).view(N, steps[1]) % 4 if by_token else torch.arange(N) % 4
    given = [((x.transpose(0, 1), y.transpose(0, 1)), classes.T) for x, y in data]
    model, twin = Pair(False).double(), Pair(True).double()
    loss = of_tokens if by_token else None
    scores = archrank.score(model, given, loss=loss)
    expected = archrank.score(twin, [(pair, classes) for pair in data], loss=loss)
    assert expected["gradsign"].status == "ok"
    compared(scores, expected, OUT)


def tokens_last(m: Model, x: Tensor) -> Tensor:
    return tokens_first(m, x.permute(2, 0, 1))


def tokens_first(m: Model, x: Tensor) -> Tensor:
    return m.head(F.relu(m.out(F.relu(m.embed(x)))).mean(1))


def vectors_last(m: Model, x: Tensor) -> Tensor:
    return vectors_first(m, x.T)


def vectors_first(m: Model, x: Tensor) -> Tensor:
    return m.head(F.relu(m.out(F.relu(m.embed(x)))))


@pytest.mark.parametrize("steps", [None, 3, 5, N])
def test_samples_in_the_last_dimension(steps: int | None) -> None:
    """Tokens (T, C, N) and vectors (C, N), also where there are as many of several things."""
    ways = (vectors_last, vectors_first) if steps is None else (tokens_last, tokens_first)
    models = []
    for way in ways:
        torch.manual_seed(0)
        layers = {"embed": nn.Linear(3, 8), "out": nn.Linear(8, 8), "head": nn.Linear(8, 4)}
        models.append(Model(way, **layers).double())
    for size in (N, 3):
        data = [(x[:size, : steps or 1], y[:size]) for x, y in batches(steps or 1)]
        data = [(x[:, 0] if steps is None else x, y) for x, y in data]
        turned = [(x.movedim(0, -1).contiguous(), y) for x, y in data]
        graphs = [archrank.trace(m, d[0][0]) for m, d in zip(models, (turned, data), strict=True)]
        assert graphs[0].flops == graphs[1].flops
        scores, expected = (
            archrank.score(m, d) for m, d in zip(models, (turned, data), strict=True)
        )
        compared(scores, expected, OUT)


@pytest.mark.parametrize("mask", [False, True], ids=["both last", "weights of samples first"])
def test_samples_in_the_last_dimension_of_two_inputs(mask: bool) -> None:
    def last(m: Model, x: Tensor, more: Tensor) -> Tensor:
        x = x.permute(2, 0, 1)
        return tokens_first(m, x * more[:, None, None] if mask else x + more.permute(2, 0, 1))

    def first(m: Model, x: Tensor, more: Tensor) -> Tensor:
        return tokens_first(m, x * more[:, None, None] if mask else x + more)

    models = []
    for way in (last, first):
        torch.manual_seed(0)
        layers = {"embed": nn.Linear(3, 8), "out": nn.Linear(8, 8), "head": nn.Linear(8, 4)}
        models.append(Model(way, **layers).double())
    data, turned = [], []
    for x, targets in batches(5):
        more = x[:, 0, 0] if mask else x.sin()
        data.append(((x, more), targets))
        moved = [t if t.dim() == 1 else t.movedim(0, -1).contiguous() for t in (x, more)]
        turned.append(((*moved,), targets))
    scores, expected = (archrank.score(m, d) for m, d in zip(models, (turned, data), strict=True))
    compared(scores, expected, OUT)
