"""What can be traced, and that equal models give equal graphs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from traced_networks import Lambda, Net

from archrank.errors import InputError, UnsupportedModelError
from archrank.graphs import trace

# --- one architecture, one graph ------------------------------------------------------------------


def test_nodes_of_a_small_network():
    graph = trace(Net(), (3, 8, 8))
    assert graph.operators == [
        *("input", "conv2d", "conv2d", "batch_norm", "relu", "add", "global_avg_pool"),
        *("linear", "output"),
    ]
    conv = graph.nodes[1]
    assert (conv.module, conv.in_shape, conv.out_shape) == ("first", (1, 3, 8, 8), (1, 8, 8, 8))
    assert conv.parameters == ("first.weight", "first.bias")
    assert graph.parameter_node["head.bias"] == 7


def test_names_and_weights_do_not_matter():
    a, b = trace(Net(), (3, 8, 8)), trace(Net(("x", "y")), (3, 8, 8))
    assert a == b
    assert hash(a) == hash(b)
    assert a.hash == b.hash


def test_train_and_eval_give_one_graph():
    assert trace(Net().train(), (3, 8, 8)) == trace(Net().eval(), (3, 8, 8))
    encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    assert trace(encoder.train(), (5, 16)) == trace(encoder.eval(), (5, 16))


def test_functional_and_module_calls_give_one_graph():
    functional = Lambda(lambda self, x: F.relu(self.conv(x)), conv=nn.Conv2d(3, 8, 3))
    assert trace(functional, (3, 8, 8)) == trace(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 8, 8)
    )


def test_in_place_gives_the_same_data_flow():
    def inside(self, x):
        y = self.conv(x)
        z = y * 2
        z.add_(y)
        return z.relu_()

    def outside(self, x):
        y = self.conv(x)
        return (y * 2 + y).relu()

    conv = nn.Conv2d(3, 8, 3)
    a, b = trace(Lambda(inside, conv=conv), (3, 8, 8)), trace(Lambda(outside, conv=conv), (3, 8, 8))
    assert a == b
    assert a.edges.tolist() == b.edges.tolist()


def test_writing_through_a_view_is_seen():
    def write(self, x):
        y = x * 2
        y[:, 0] = self.conv(x)[:, 0]
        return y.relu()

    graph = trace(Lambda(write, conv=nn.Conv2d(3, 3, 1)), (3, 4, 4))
    assert graph.operators == ["input", "mul", "conv2d", "scatter", "relu", "output"]
    assert [2, 3] in graph.edges.tolist()
    assert [3, 4] in graph.edges.tolist()


def test_views_are_folded_away():
    def views(self, x):
        y = x.flatten(1).unsqueeze(0).transpose(1, 2).squeeze(0).t().detach()
        return self.fc(y.view(1, -1).contiguous().clone())

    graph = trace(Lambda(views, fc=nn.Linear(48, 4)), (3, 4, 4))
    assert graph.operators == ["input", "linear", "output"]


def test_shared_parameters_count_once():
    fc = nn.Linear(8, 8)
    twice, two = nn.Sequential(fc, fc), nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    assert trace(twice, (8,)).params == 72
    assert trace(two, (8,)).params == 144
    assert trace(twice, (8,)) != trace(two, (8,))
    tied = Lambda(
        lambda self, ids: F.linear(self.embed(ids), self.embed.weight), embed=nn.Embedding(11, 4)
    )
    graph = trace(tied, (torch.zeros(1, 5, dtype=torch.long),))
    assert graph.params == 44
    assert graph.operators == ["input", "embedding", "linear", "output"]


def test_unused_parameters_count():
    net = Lambda(lambda self, x: self.a(x), a=nn.Linear(4, 4), b=nn.Linear(4, 7))
    assert trace(net, (4,)).params == 20 + 35
    assert "b.weight" not in trace(net, (4,)).parameter_node


# --- inputs and outputs ---------------------------------------------------------------------------


def test_shape_tensor_tuple_and_dict_agree():
    net, x = Net(), torch.randn(5, 3, 8, 8)
    graphs = [trace(net, i) for i in ((3, 8, 8), [3, 8, 8], x, (x[:1],), {"x": x[:1]})]
    assert len(set(graphs)) == 1


def test_several_inputs_and_nested_outputs():
    net = Lambda(lambda self, a, b: {"sum": a + b, "rest": [a * b, (a.relu(), None)]})
    graph = trace(net, (torch.ones(2, 3), torch.ones(2, 3)))
    assert graph.operators.count("input") == 2
    assert graph.operators.count("output") == 3


@pytest.mark.parametrize("inputs", [None, 3, "3,32,32", (), (0, 3), torch.tensor(1.0)])
def test_wrong_inputs(inputs):
    with pytest.raises(InputError, match="inputs"):
        trace(nn.ReLU(), inputs)


def test_not_a_module():
    with pytest.raises(InputError, match="model: got function"):
        trace(lambda x: x, (3,))


# --- control flow ---------------------------------------------------------------------------------


def branch(self, x):
    return self.a(x) if x.sum() > 1e9 else self.b(x).relu()


def loop(self, x):
    steps = 2 + int(torch.sigmoid(x.mean()).item() < 2)
    for _ in range(steps):
        x = self.a(x)
    return x


@pytest.mark.parametrize(("function", "linears"), [(branch, 1), (loop, 3)])
def test_control_flow_on_values(function, linears):
    net = Lambda(function, a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    assert trace(net, (4,)).operators.count("linear") == linears
    outer = nn.Sequential(nn.Linear(4, 4), net).to("meta")
    with pytest.raises(UnsupportedModelError, match=r"module '1'.*aten\.\w+.*values"):
        trace(outer, (4,))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (Net(), (3, 8, 8)),
        (nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True), (7, 4)),
        (nn.TransformerEncoderLayer(8, 2, 16), (5, 8)),
        (nn.Sequential(nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.RMSNorm(6)), (4, 6, 6)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fall_back_gives_the_same_graph(body, shape, training):
    def function(self, x):
        total = x.sum()
        if self.reads:
            total.item()
        return self.body(x)

    net = Lambda(function, body=body.train(training))
    net.reads = False
    by_shapes = trace(net, shape)
    net.reads = True
    assert trace(net, shape) == by_shapes


def test_control_flow_on_shapes_and_constants():
    def function(self, x):
        mask = torch.arange(x.shape[-1]) % 2 == 0
        if mask.sum().item() == 2 and x.shape[-1] == 4:
            return self.a(x[:, mask])
        return x

    graph = trace(Lambda(function, a=nn.Linear(2, 3)), (4,))
    assert "linear" in graph.operators


# --- wrappers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant):
    def function(self, x):
        return self.b(checkpoint(self.a, x, use_reentrant=reentrant))

    parts = {"a": nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "b": nn.Linear(4, 2)}
    plain = Lambda(lambda self, x: self.b(self.a(x)), **parts)
    assert trace(Lambda(function, **parts), (4,)) == trace(plain, (4,))


def test_compiled_and_data_parallel():
    net = Net()
    expected = trace(net, (3, 8, 8))
    assert trace(torch.compile(net), (3, 8, 8)) == expected
    assert trace(nn.DataParallel(net), (3, 8, 8)) == expected
    inner = Net()
    inner.norm.compile()
    assert trace(inner, (3, 8, 8)) == expected
    assert trace(nn.Sequential(torch.compile(net)), (3, 8, 8)) == expected


def test_scripted_module():
    graph = trace(torch.jit.trace(nn.Linear(4, 2), torch.ones(1, 4)), (4,))
    assert graph.params == 10


# --- kinds of networks ----------------------------------------------------------------------------


def test_recurrent_networks():
    lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True)
    graph = trace(lstm, (5, 6))
    assert graph.operators.count("lstm") == 1
    assert graph.params == sum(p.numel() for p in lstm.parameters())
    assert graph.nodes[1].out_shape == (1, 5, 16)
    assert trace(nn.GRU(6, 8), (torch.zeros(5, 2, 6),)).operators.count("gru") == 1
    assert trace(nn.RNN(6, 8), (torch.zeros(5, 2, 6),)).operators.count("rnn") == 1
    projected = nn.LSTM(6, 8, proj_size=3, batch_first=True)
    assert trace(projected, (5, 6)).nodes[1].out_shape == (1, 5, 3)


def test_packed_sequences():
    def function(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        out, (hidden, _) = self.lstm(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        return self.fc(hidden[-1]), padded

    net = Lambda(function, lstm=nn.LSTM(6, 8, batch_first=True), fc=nn.Linear(8, 3))
    graph = trace(net, (torch.randn(3, 7, 6), torch.tensor([7, 2, 5])))
    assert graph.operators.count("lstm") == 1
    assert graph.operators.count("linear") == 1


def test_cells():
    def function(self, x):
        h, c = self.lstm(x[:, 0])
        for t in range(1, 3):
            h, c = self.lstm(x[:, t], (h, c))
        return self.gru(h), self.rnn(h)

    net = Lambda(function, lstm=nn.LSTMCell(4, 5), gru=nn.GRUCell(5, 5), rnn=nn.RNNCell(5, 2))
    graph = trace(net, (3, 4))
    assert [graph.operators.count(name) for name in ("lstm", "gru", "rnn")] == [3, 1, 1]
    assert graph.flops >= 3 * 20 * 9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_do_not_matter(dtype):
    assert trace(Net().to(dtype), (3, 8, 8)) == trace(Net(), (3, 8, 8))


def test_meta_model():
    with torch.device("meta"):
        net = Net()
    assert trace(net, (3, 8, 8)) == trace(Net(), (3, 8, 8))
    assert all(p.is_meta for p in net.parameters())


def test_lazy_module_says_what_to_do():
    with pytest.raises(UnsupportedModelError, match=r"'0.weight'.*run one forward"):
        trace(nn.Sequential(nn.LazyLinear(4)), (4,))


@pytest.mark.slow
def test_large_model_takes_no_memory():
    code = """
import resource, torch
from torch import nn
from archrank.graphs import trace
with torch.device("meta"):
    layer = lambda: nn.TransformerEncoderLayer(2560, 20, 10240, batch_first=True, norm_first=True)
    net = nn.Sequential(nn.Embedding(50257, 2560), *[layer() for _ in range(24)],
                        nn.Linear(2560, 50257, bias=False))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
graph = trace(net, (torch.zeros(1, 1024, dtype=torch.long),))
print(graph.params, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    params, kilobytes = map(int, run.stdout.split())
    assert params > 2e9
    assert kilobytes * (1 if sys.platform != "darwin" else 1e-3) < 1e6


def test_graph_network():
    geometric = pytest.importorskip("torch_geometric.nn")
    net = Lambda(
        lambda self, x, edges: self.fc(self.conv(x, edges).relu().mean(0, keepdim=True)),
        conv=geometric.GCNConv(5, 8),
        fc=nn.Linear(8, 2),
    )
    graph = trace(net, (torch.randn(6, 5), torch.randint(0, 6, (2, 12))))
    assert graph.operators.count("linear") == 2
    assert graph.params == sum(p.numel() for p in net.parameters())
    attention = geometric.GATv2Conv(5, 4, heads=2)
    assert len(trace(attention, (torch.randn(6, 5), torch.randint(0, 6, (2, 12))))) > 5


def _hugging_face(kind):
    transformers = pytest.importorskip("transformers")
    ids = torch.randint(0, 90, (1, 7))
    sizes = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2}
    if kind == "bert":
        config = transformers.BertConfig(vocab_size=100, intermediate_size=32, **sizes)
        return transformers.BertModel(config), {"input_ids": ids}
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=100, n_embd=16, n_layer=2, n_head=2)
        return transformers.GPT2LMHeadModel(config), {"input_ids": ids}
    if kind == "llama":
        config = transformers.LlamaConfig(vocab_size=100, intermediate_size=32, **sizes)
        return transformers.LlamaForCausalLM(config), {"input_ids": ids}
    config = transformers.ViTConfig(image_size=16, patch_size=8, intermediate_size=32, **sizes)
    return transformers.ViTModel(config), {"pixel_values": torch.randn(1, 3, 16, 16)}


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "vit"])
def test_hugging_face(kind):
    net, inputs = _hugging_face(kind)
    graph = trace(net, inputs)
    assert graph.operators.count("attention") == 2
    assert graph.params == sum(p.numel() for p in net.parameters())
    assert trace(net.eval(), inputs) == graph


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large"]
)
def test_segmentation(name):
    models = pytest.importorskip("torchvision.models")
    net = models.get_model(name, weights=None, weights_backbone=None, num_classes=5)
    graph = trace(net, (3, 64, 64))
    assert "interpolate" in graph.operators
    assert not graph.unknown_operators


@pytest.mark.parametrize("training", [False, True])
def test_detection(training):
    models = pytest.importorskip("torchvision.models.detection")
    net = models.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64
    ).train(training)
    images = [torch.rand(3, 64, 64)]
    boxes = {"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1])}
    graph = trace(net, (images, [boxes]) if training else (images,))
    assert graph.operators.count("conv2d") > 50
    assert "output" in graph.operators


# --- what is refused ------------------------------------------------------------------------------


def test_failure_names_module_and_operator():
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 4)))
    with pytest.raises(UnsupportedModelError, match=r"module '1\.1'.*operator aten\."):
        trace(net, (4,))


def test_operators_that_do_nothing_are_folded() -> None:
    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([sum([x.relu(), x.sigmoid()]) * 1.0])

    operators = trace(Sums(), (4,)).operators
    assert operators == ["input", "relu", "sigmoid", "add", "output"]
    assert trace(Scaled(0.5), (4,)).operators == ["input", "mul", "output"]


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Mismatched(nn.Module):
    """Calls its layer on an input that does not fit it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.LSTMCell):
            return self.layer(x[:, 0], (x[:, 0, :4], x[:, 0, :4]))[0]
        return self.layer(x)


class Attends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x[..., :3], x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(5, 4),
        nn.Conv1d(5, 4, 1),
        nn.BatchNorm1d(5),
        nn.InstanceNorm1d(5, affine=True),
        nn.LayerNorm(5),
        nn.RMSNorm(5),
        nn.LSTM(5, 4, batch_first=True),
        nn.LSTMCell(5, 4),
        Attends(),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_does_not_fit_is_refused(layer: nn.Module, device: str) -> None:
    with pytest.raises(UnsupportedModelError, match="module 'layer'"):
        trace(Mismatched(layer).to(device), (7, 6))


@pytest.mark.parametrize("dims", [2, 3])
def test_pools_of_fractional_steps(dims: int) -> None:
    torch.manual_seed(0)
    convolution = (nn.Conv2d, nn.Conv3d)[dims - 2](3, 4, 3)
    pool = (nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)[dims - 2](2, output_ratio=0.5)
    shape = (3, *[8] * dims)
    before = torch.get_rng_state()
    graph = trace(nn.Sequential(convolution, nn.ReLU(), pool), shape)
    assert torch.equal(torch.get_rng_state(), before)
    (node,) = (node for node in graph.nodes if node.operator == "max_pool")
    assert node.out_shape == (1, 4, *[3] * dims)
    assert graph.product_flops == 4 * 6**dims * 3 * 3**dims
    assert not graph.unknown_operators
