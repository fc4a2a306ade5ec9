"""ONNX files against the networks that were exported, and against the evaluator of onnx."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.errors import InputError, UnsupportedModelError
from archrank.graphs.exchange.network import load_onnx

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

# --- whole networks -------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Hardswish()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x + self.body(x), 2)


class Gate(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.gate = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


class Tokens(nn.Module):
    """Patches, a class token, positions, attention and an MLP."""

    def __init__(self, width: int = 16, heads: int = 2):
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return (x + self.mlp(x))[:, 0]


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(48, 12, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(24, 10, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows, _ = self.lstm(x.transpose(1, 2).flatten(2))
        return self.gru(rows)[0][:, -1]


def _conv() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), Residual(8), Gate(8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5)),
    )


def _convnext() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 7, padding=3, groups=1), nn.GroupNorm(2, 8), nn.GELU()),
        *(nn.Conv2d(8, 16, 2, 2), nn.InstanceNorm2d(16, affine=True), nn.PReLU(16), nn.ReLU6()),
        *(nn.ConvTranspose2d(16, 4, 2, 2), nn.AvgPool2d(2), nn.PixelShuffle(2), nn.Flatten()),
        nn.Linear(256, 5),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": _conv,
    "mixed norms": _convnext,
    "tokens": lambda: nn.Sequential(Tokens(), nn.Linear(16, 5)),
    "recurrent": lambda: nn.Sequential(Rows(), nn.Linear(10, 5), nn.LogSoftmax(-1)),
    "plain": lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 9), nn.Tanh(), nn.Linear(9, 5)),
}


def _trained(name: str) -> nn.Module:
    """Return a network none of whose tensors are equal: a file holds equal ones once."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.1, 0.4)
    return network.eval()


def _export(network: nn.Module, path: Path, **how: Any) -> Path:
    if how.get("dynamo"):
        pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, 3, 16, 16),), path, verbose=False, **how)
    return path


@pytest.mark.parametrize("how", [{"dynamo": False, "opset_version": 17}, {"dynamo": True}], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_is_the_network_that_was_exported(name: str, how: dict, tmp_path: Path) -> None:
    network = _trained(name)
    loaded, inputs = load_onnx(_export(network, tmp_path / "net.onnx", **how))
    assert inputs == (3, 16, 16)
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), network(x), rtol=1e-3, atol=1e-4)
    ours, theirs = archrank.trace(loaded, inputs), archrank.trace(network, (3, 16, 16))
    # Exporters fold each batch norm into the convolution before it, which then has a bias.
    folded = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    gone = Counter(theirs.operators) - Counter(ours.operators)
    assert gone.keys() <= {"batch_norm"}
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
    new = sum(m.out_channels for m in convolutions)
    assert theirs.params - ours.params == sum(2 * m.num_features for m in folded) - new
    assert ours.product_flops == theirs.product_flops
    if not folded:
        assert ours.flops == theirs.flops
        assert Counter(ours.operators) == Counter(theirs.operators)


def test_batch_norms_that_are_kept_are_the_same_too(tmp_path: Path) -> None:
    network = _trained("convolutions")
    kept = torch.onnx.TrainingMode.TRAINING
    path = _export(
        network.train(), tmp_path / "net.onnx", dynamo=False, training=kept, opset_version=17
    )
    ours, theirs = (
        archrank.trace(load_onnx(path)[0], (3, 16, 16)),
        archrank.trace(network.eval(), (3, 16, 16)),
    )
    assert (ours.params, ours.flops) == (theirs.params, theirs.flops)
    assert Counter(ours.operators) == Counter(theirs.operators)


def test_without_the_file_of_its_weights_it_is_traced_all_the_same(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 600), nn.ReLU(), nn.Linear(600, 5))
    path = _export(network.eval(), tmp_path / "net.onnx", dynamo=True, external_data=True)
    with_weights = archrank.trace(load_onnx(path)[0], (3, 16, 16))
    assert with_weights.params == sum(p.numel() for p in network.parameters())
    (tmp_path / "net.onnx.data").unlink()
    assert archrank.trace(load_onnx(path)[0], (3, 16, 16)).hash == with_weights.hash


def test_rank_and_graph_take_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (4, 12):
        network = nn.Sequential(nn.Flatten(), nn.Linear(768, width), nn.ReLU(), nn.Linear(width, 5))
        _export(network, tmp_path / f"width{width}.onnx", dynamo=False)
    monkeypatch.chdir(tmp_path)
    files = ["width4.onnx", "width12.onnx"]
    assert archrank.rank(files, by="flops").table["name"].tolist() == ["width12", "width4"]
    one = archrank.rank(files, torch.randn(1, 3, 16, 16), by="near", batch_size=1)
    assert one.table["near"].notna().all()


# --- single operators -----------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(6, 2, 3, 3)).astype(np.float32)
FOUR = np.linspace(0.5, 1.5, 4, dtype=np.float32)
OPERATORS: list[tuple[str, dict[str, Any], list[np.ndarray]]] = [
    ("Conv", {"group": 2, "strides": [2, 2], "pads": [1, 0, 2, 1]}, [X, W]),
    ("Conv", {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]}, [X, W]),
    ("Conv", {"group": 2, "auto_pad": "SAME_LOWER", "dilations": [2, 2]}, [X, W]),
    ("ConvTranspose", {"strides": [2, 2], "pads": [1, 1, 1, 1]}, [X, W[:4]]),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [X]),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, [X]),
    ("AveragePool", {"kernel_shape": [2, 2], "count_include_pad": 1}, [X]),
    ("GlobalMaxPool", {}, [X]),
    ("Gemm", {"transA": 1, "transB": 1, "alpha": 0.5}, [X[0, 0], X[0, 1], X[0, 2]]),
    ("BatchNormalization", {"epsilon": 0.1}, [X, FOUR, FOUR, FOUR, FOUR]),
    ("Softmax", {"axis": 1}, [X]),
    ("Clip", {}, [X, np.float32(-0.5), np.float32(0.5)]),
    ("HardSigmoid", {}, [X]),
    ("LeakyRelu", {"alpha": 0.3}, [X]),
    ("ReduceMean", {"keepdims": 0}, [X, np.array([2, 3])]),
    ("ReduceL2", {}, [X, np.array([1])]),
    ("Reshape", {}, [X, np.array([0, -1, 3])]),
    ("Flatten", {"axis": 2}, [X]),
    ("Transpose", {"perm": [0, 2, 3, 1]}, [X]),
    ("Squeeze", {}, [X[:1], np.array([0])]),
    ("Unsqueeze", {}, [X, np.array([0, -1])]),
    ("Slice", {}, [X, np.array([1, -1]), np.array([3, -5]), np.array([1, 3]), np.array([1, -2])]),
    ("Gather", {"axis": 1}, [X, np.array([[0, -1], [2, 1]])]),
    ("Pad", {}, [X, np.array([0, 0, 1, 2, 0, 0, 0, 1]), np.float32(2)]),
    ("Pad", {"mode": "reflect"}, [X, np.array([0, 0, 1, 2, 0, 0, 0, 1])]),
    ("DepthToSpace", {"blocksize": 2}, [X]),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [X]),
    ("SpaceToDepth", {"blocksize": 2}, [X]),
    ("Expand", {}, [X[:, :1], np.array([2, 4, 1, 6])]),
    ("Tile", {}, [X, np.array([1, 2, 1, 1])]),
    ("Resize", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor"},
     [X, np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)]),
    ("Max", {}, [X, 0 * X, X[:, :1]]),
    ("Trilu", {"upper": 0}, [X]),
    ("CumSum", {}, [X, np.array(1)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "attributes", "inputs"), OPERATORS, ids=lambda v: str(v)[:24])
def test_operators_against_the_evaluator_of_onnx(
    name: str, attributes: dict[str, Any], inputs: list[np.ndarray], tmp_path: Path
) -> None:
    old = tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 19)
    if old and (name == "Resize" or "auto_pad" in attributes):
        pytest.skip("the evaluator of this version of onnx differs from later ones")
    reference = pytest.importorskip("onnx.reference")
    path = _file(tmp_path, name, attributes, inputs, 18)
    expected = reference.ReferenceEvaluator(str(path)).run(None, {"x0": inputs[0]})[0]
    network, _ = load_onnx(path)
    with torch.no_grad():
        found = network(torch.from_numpy(inputs[0])).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _file(
    folder: Path, name: str, attributes: dict[str, Any], inputs: list[np.ndarray], version: int
) -> Path:
    """Write a network of one operator, whose inputs but the first are in the file."""
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(name, names, ["y"], **attributes)
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x0", kind, inputs[0].shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.asarray(v), n)
            for n, v in zip(names[1:], inputs[1:], strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    path = folder / "one.onnx"
    onnx.save(model, path)
    return path


# --- what cannot be read --------------------------------------------------------------------------


def test_what_is_no_network_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_onnx(tmp_path / "none.onnx")
    for content in (b"", b"some text that is no network", bytes(range(256))):
        (tmp_path / "text.onnx").write_bytes(content)
        with pytest.raises(InputError, match="candidates: "):
            load_onnx(tmp_path / "text.onnx")


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, "Det", {}, [X], 18)
    with pytest.raises(UnsupportedModelError, match="the ONNX operator Det"):
        load_onnx(path)


def test_another_size_of_batch_than_that_of_the_export_says_so(tmp_path: Path) -> None:
    path = _file(tmp_path, "Reshape", {}, [X[:1], np.array([1, -1])], 18)
    network, _ = load_onnx(path)
    assert network(torch.zeros(1, 4, 6, 6)).shape == (1, 144)
    path = _file(tmp_path, "Reshape", {}, [X[:1], np.array([1, 144])], 18)
    with pytest.raises(UnsupportedModelError, match="one size of batch"):
        load_onnx(path)[0](torch.zeros(2, 4, 6, 6))
