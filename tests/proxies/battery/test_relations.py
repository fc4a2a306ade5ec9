"""Networks whose rows go together: graphs in all their forms, experts, inputs without samples."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

OF_THE_GRAPH = {
    *("params", "flops", "activations", "az_complexity", "swap_regular"),
    *("nasgraph", "nasgraph_density"),
}
NODES = 8


class Network(nn.Module):
    """A graph network whose edges come as indices, as a matrix, or as a sparse one."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(5, 12), nn.Linear(12, 12), nn.Linear(12, 4)
        self.norm, self.kind = nn.BatchNorm1d(12), kind

    def mixed(self, x: Tensor, edges: Tensor) -> Tensor:
        if self.kind == "indices":
            return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        return edges @ x if self.kind == "matrix" else torch.sparse.mm(edges, x)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.mixed(self.first(x), edges)))
        return self.head(torch.relu(self.mixed(self.second(x), edges)))


def nodes_and_edges(count: int) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(NODES, 5, generator=generator)
    ring = torch.stack([torch.arange(NODES), torch.arange(NODES).roll(1)])
    more = torch.randint(NODES, (2, count - NODES), generator=generator)
    edges = torch.cat([ring, more], 1)
    matrix = torch.zeros(NODES, NODES)
    for source, target in edges.T.tolist():
        matrix[target, source] += 1
    return x, {"indices": edges, "matrix": matrix, "sparse": matrix.to_sparse()}


@pytest.mark.parametrize("kind", ["matrix", "sparse"])
@pytest.mark.parametrize("count", [2 * NODES, NODES], ids=["more edges", "as many edges"])
def test_edges_in_any_form_score_the_same(kind: str, count: int) -> None:
    x, forms = nodes_and_edges(count)
    labels = torch.arange(NODES) % 4
    data = {k: [((x, forms[k]), labels), ((x.flip(1), forms[k]), labels)] for k in forms}
    expected = archrank.score(Network("indices"), data["indices"])
    scores = archrank.score(Network(kind), data[kind])
    assert sum(result.status == "ok" for result in expected.values()) > 35
    for name in set(expected) - OF_THE_GRAPH:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        assert expected[name].status != "error", (name, expected[name].reason)
        if expected[name].value is not None:
            wanted = pytest.approx(expected[name].value, rel=1e-3, abs=1e-4)
            assert scores[name].value == wanted, name


@pytest.mark.parametrize("kind", ["indices", "matrix", "sparse"])
def test_gradients_are_those_of_each_nodes_own_loss(kind: str) -> None:
    x, forms = nodes_and_edges(2 * NODES)
    labels = torch.arange(NODES) % 4
    model = Network(kind)
    value = archrank.score(model, (x, forms[kind]), labels, proxies="gradsign")["gradsign"].value
    weights = [model.first.weight, model.second.weight, model.head.weight]
    sums = [torch.zeros_like(w) for w in weights]
    for i in range(NODES):
        loss = F.cross_entropy(model(x, forms[kind])[i : i + 1], labels[i : i + 1])
        for total, gradient in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.sign()
    expected = sum(float(total.abs().sum()) for total in sums)
    assert value == pytest.approx(expected, rel=0.01)


class Experts(nn.Module):
    """A mixture of experts, each of which gets the tokens that are routed to it."""

    def __init__(self, sparse: bool):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.router, self.head = nn.Linear(3, 8), nn.Linear(8, 3), nn.Linear(8, 4)
        self.experts, self.sparse = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), sparse

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.embed(x)).flatten(0, 1)
        weights = self.router(tokens).softmax(-1)
        choice = weights.argmax(-1)
        made = torch.zeros_like(tokens)
        for i, expert in enumerate(self.experts):
            chosen = choice == i
            if self.sparse:
                made[chosen] = torch.tanh(expert(tokens[chosen])) * weights[chosen, i : i + 1]
            else:
                rows = torch.tanh(expert(tokens)) * weights[:, i : i + 1]
                made = torch.where(chosen[:, None], rows, made)
        return self.head(made.view(*x.shape[:2], -1).mean(1))


OF_GRADIENTS = (
    *("grad_norm", "snip", "plain", "grasp", "gradsign", "gradsign_mean", "ntk_condition"),
    *("zico", "vkdnw", "jacob_cov", "epe_nas", "synflow", "softmax_confidence", "l2_norm"),
)


def test_experts_that_get_some_rows_are_those_that_get_all() -> None:
    generator = torch.Generator().manual_seed(2)
    data = [(torch.randn(8, 5, 3, generator=generator), torch.arange(8) % 4) for _ in range(2)]
    scores, expected = (
        archrank.score(Experts(sparse), data, proxies=OF_GRADIENTS) for sparse in (True, False)
    )
    for name in OF_GRADIENTS:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-3), name
    everything = archrank.score(Experts(True), data)
    assert {r.status for r in everything.values()} <= {"ok", "not applicable", "unsupported"}


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "weight norm"])
def test_experts_that_the_first_sample_does_not_reach_are_not_left_out(normed: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = [4 * torch.randn(12, 1, 3, generator=generator) for _ in range(2)]
    data = [(x, torch.arange(12) % 4) for x in inputs]
    sparse, dense = Experts(True), Experts(False)
    for model in (sparse, dense):
        if normed:
            for expert in model.experts:
                nn.utils.parametrizations.weight_norm(expert)
    reached = sparse.router(torch.tanh(sparse.embed(data[0][0]))).argmax(-1)
    assert set(reached.flatten().tolist()) == {0, 1, 2}
    scores, expected = (
        archrank.score(model, data, proxies=OF_GRADIENTS) for model in (sparse, dense)
    )
    for name in OF_GRADIENTS:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-3), name


class Grouped(Experts):
    """The same experts, their weights in one tensor, by a product of groups."""

    def __init__(self) -> None:
        super().__init__(True)
        self.weights = nn.Parameter(torch.stack([expert.weight.T for expert in self.experts]))
        del self.experts

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.tanh(self.embed(x)).flatten(0, 1)
        shares, choice = self.router(tokens).softmax(-1).max(-1)
        order = choice.argsort()
        ends = torch.bincount(choice, minlength=3).cumsum(0).int()
        made = torch.tanh(F.grouped_mm(tokens[order], self.weights, offs=ends))
        made = (made * shares[order, None])[order.argsort()]
        return self.head(made.view(*x.shape[:2], -1).mean(1))


def test_experts_in_one_tensor_are_not_left_out() -> None:
    generator = torch.Generator().manual_seed(2)
    data = [(torch.randn(8, 5, 3, generator=generator), torch.arange(8) % 4) for _ in range(2)]
    twin, model = Experts(True), Grouped()
    for expert in twin.experts:
        nn.init.zeros_(expert.bias)
    torch.testing.assert_close(model(data[0][0]), twin(data[0][0]))
    # whole sums over weights, which do not see how they are parted
    names = ["snip", "plain", "grasp", "gradsign", "synflow", "jacob_cov"]
    scores, expected = (archrank.score(one, data, proxies=names) for one in (model, twin))
    for name in names:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-3), name
    assert archrank.trace(model, data[0][0]).product_flops == 5 * (3 * 8 + 8 * 3 + 8 * 8) + 8 * 4


def test_a_weight_beside_a_sparse_matrix_is_one() -> None:
    """A graph network without features: its first layer is looked up by the edges."""

    class Featureless(nn.Module):
        def __init__(self, sparse: bool):
            super().__init__()
            torch.manual_seed(0)
            self.weight, self.head = nn.Parameter(torch.randn(NODES, 6)), nn.Linear(6, 4)
            self.sparse = sparse

        def forward(self, edges: Tensor) -> Tensor:
            mixed = torch.sparse.mm(edges, self.weight) if self.sparse else edges @ self.weight
            return self.head(torch.relu(mixed))

    forms = nodes_and_edges(2 * NODES)[1]
    names = ["snip", "grad_norm", "plain", "l2_norm"]
    scores = archrank.score(
        Featureless(True), {"edges": forms["sparse"]}, torch.arange(NODES) % 4, proxies=names
    )
    expected = archrank.score(
        Featureless(False), {"edges": forms["matrix"]}, torch.arange(NODES) % 4, proxies=names
    )
    for name in names:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name
    graph = archrank.trace(Featureless(True), {"edges": forms["sparse"]})
    assert graph.product_flops == forms["sparse"]._nnz() * 6 + NODES * 6 * 4


class Masked(nn.Module):
    """Causal attention whose mask is its own, or an input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.body(self.embed(x), mask=mask)[:, -1])


@pytest.mark.parametrize("tokens", [8, 5], ids=["as many tokens", "fewer tokens"])
def test_a_mask_of_tokens_is_none_of_samples(tokens: int) -> None:
    x, labels = torch.randn(8, tokens, 6), torch.arange(8) % 4
    mask = nn.Transformer.generate_square_subsequent_mask(tokens)
    scores = archrank.score(Masked(), (x, mask), labels)
    expected = archrank.score(Masked(), x, labels)
    for name in set(expected) - OF_THE_GRAPH:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        if expected[name].value is not None:
            wanted = pytest.approx(expected[name].value, rel=1e-3)
            assert scores[name].value == wanted, name


class Prepares(nn.Module):
    """Asks for gradients of its input, as speech models do."""

    def __init__(self, asks: bool):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        self.asks = asks

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        if self.asks and self.training and not x.is_meta:
            x.requires_grad = True
        return self.body(x)


def test_a_forward_may_ask_for_gradients_of_its_input() -> None:
    scores, expected = (
        archrank.score(Prepares(asks).train(), (6,), batch_size=4) for asks in (True, False)
    )
    for name in expected:
        assert scores[name].value == expected[name].value, (name, scores[name].reason)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.head(self.body(x if scale is None else x * scale))


def test_an_input_of_no_dimension_belongs_to_all_samples() -> None:
    x, labels = torch.randn(8, 6), torch.arange(8) % 4
    scores = archrank.score(Scaled(), (x, torch.tensor(1.0)), labels)
    expected = archrank.score(Scaled(), x, labels)
    drawn = {"nasgraph", "nasgraph_density", "flops", "az_complexity", "activations"}
    for name in set(expected) - drawn:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        if expected[name].value is not None:
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name


class Bags(nn.Module):
    """Classifies bags of tokens, given as rows or, one after the other, by where they begin."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bag, self.mid = nn.EmbeddingBag(11, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor, starts: Tensor | None = None) -> Tensor:
        return self.head(F.relu(self.mid(self.bag(tokens, starts))))


def test_bags_are_samples_however_they_are_given() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(11, (6, 5), generator=generator) for _ in range(2)]
    labels = torch.arange(6) % 4
    starts = torch.arange(0, 30, 5)
    expected = archrank.score(Bags(), [(x, labels) for x in rows])
    scores = archrank.score(Bags(), [((x.flatten(), starts), labels) for x in rows])
    # of samples that go together the flow is that of all of them
    flow = {n for n in expected if "synflow" in n or n.startswith("parzc") or n == "dss"}
    for name in set(expected) - OF_THE_GRAPH - flow:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        if expected[name].value is not None:
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-3), name


def test_whole_graphs_are_samples() -> None:
    class Graphs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            x = self.second(torch.zeros_like(x).index_add(0, edges[1], x[edges[0]]))
            pooled = x.new_zeros(int(graph.max()) + 1, 8).index_add(0, graph, torch.relu(x))
            return self.head(pooled)

    x, forms = nodes_and_edges(2 * NODES)
    graph, labels = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2]), torch.arange(3)
    model = Graphs()
    scores = archrank.score(model, (x, forms["indices"], graph), labels)
    assert {r.status for n, r in scores.items() if n not in ("zico", "l_swag")} <= {
        "ok",
        "not applicable",
    }
    weights = [model.first.weight, model.second.weight, model.head.weight]
    total = [torch.zeros_like(w) for w in weights]
    for i in range(3):
        loss = F.cross_entropy(model(x, forms["indices"], graph)[i : i + 1], labels[i : i + 1])
        for t, g in zip(total, torch.autograd.grad(loss, weights), strict=True):
            t += g.sign()
    want = sum(float(t.abs().sum()) for t in total)
    assert scores["gradsign"].value == pytest.approx(want, abs=2)
    assert "3 outputs" in scores["jacob_cov"].reason


def test_a_number_beside_the_logits_is_not_taken_for_them() -> None:
    class Both(nn.Module):
        def __init__(self, both: bool):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.both = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), both

        def forward(self, x: Tensor):
            logits = self.body(x)
            return [logits, logits.logsumexp(1).mean()] if self.both else logits

    scores, expected = (archrank.score(Both(both), (6,), batch_size=8) for both in (True, False))
    for name in set(expected) - OF_THE_GRAPH:
        assert scores[name].status == expected[name].status, (name, scores[name].reason)
        if expected[name].value is not None:
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-4), name


@pytest.mark.parametrize("rows", [6, 7], ids=["as many rows", "more rows"])
def test_a_table_belongs_to_all_samples(rows: int) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.mid, self.head = nn.Linear(3, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            return self.head(F.relu(self.mid(x) + table.mean(0)))

    x, table, labels = torch.randn(6, 3), torch.randn(rows, 8), torch.arange(6) % 4
    model = Looks()
    names = "gradsign,ntk_condition,snip"
    scores = archrank.score(model, (x, table), labels, proxies=names)
    weights = [model.mid.weight, model.head.weight]
    signs = [torch.zeros_like(weight) for weight in weights]
    for i in range(6):
        loss = F.cross_entropy(model(x[i : i + 1], table), labels[i : i + 1])
        for sign, gradient in zip(signs, torch.autograd.grad(loss, weights), strict=True):
            sign += gradient.sign()
    assert scores["gradsign"].value == sum(float(sign.abs().sum()) for sign in signs)
