"""What makes proxies fail gets a status and a reason: never a crash, never a false number."""

from __future__ import annotations

import io
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import archrank
from archrank.errors import ArchrankError

SHAPE = (3, 8, 8)


def reading(*signals: str) -> set[str]:
    """Return the proxies that read some of these signals and nothing else."""
    return {p.name for p in archrank.proxies.list() if p.needs and set(p.needs) <= set(signals)}


OF_THE_GRAPH = reading("graph")
"""Need no forward."""

FLOW = reading("graph", "flow", "flow_with_norm") - OF_THE_GRAPH
BLOCKS = reading("blocks")
ATTENTION = reading("attention_confidences", "attention_importances")
BY_CLASS = {"epe_nas"}
BY_INPUT_GRADIENT = {"jacob_cov", "epe_nas"}
SAMPLE_BY_SAMPLE = reading("sign_sums", "gradient_entries", "tangent_kernel")
SEVERAL_BATCHES = {"zico", "l_swag"}
BY_LOSS = {p.name for p in archrank.proxies.list() if p.labels} - ATTENTION - BY_CLASS
"""Of networks without attention, whose proxies need a loss as well."""

NEVER = BLOCKS | ATTENTION
"""What the small networks of this file lack: a second block, and attention."""


def body(width: int = 6) -> list[nn.Module]:
    return [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]


def net(*extra: nn.Module, classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body(), *extra, *pool, nn.Linear(6, classes))


def run(model: nn.Module, inputs=SHAPE, targets=None, **options) -> archrank.Scores:
    return archrank.score(model, inputs, targets, batch_size=8, **options)


def failed(scores: archrank.Scores) -> set[str]:
    for result in scores.values():
        assert (result.value is None) == (result.status != "ok") == (result.reason is not None)
        assert result.value is None or math.isfinite(result.value)
    return {name for name, result in scores.items() if result.value is None}


def test_a_sound_network_scores_everywhere() -> None:
    scores = run(net())
    assert failed(scores) == NEVER
    for name in BLOCKS:
        assert scores[name].reason == "blocks in the model's data flow: found 1, at least 2 needed"
    for name in ATTENTION:
        assert scores[name].reason == "the model has no attention"


class Vision(nn.Module):
    """A stem, two blocks and attention: what every proxy needs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.second = nn.Sequential(*body(8)), nn.Sequential(*body(8)[1:])
        self.down = nn.Conv2d(8, 8, 2, 2)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.second(self.stem(x)))
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.query(tokens), self.key(tokens), self.value(tokens)
        return self.head(F.scaled_dot_product_attention(q, k, v).mean(1))


def test_a_network_that_has_everything_scores_everywhere() -> None:
    assert failed(run(Vision())) == set()


def test_batch_norm_over_single_values() -> None:
    # After global pooling, batch norm of one image has nothing to normalise by.
    model = nn.Sequential(
        *body(), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 4)
    )
    scores = run(model)
    # one all-ones sample in training mode meets the same wall
    walled = SAMPLE_BY_SAMPLE | {"synflow_bn"}
    # Over the batch it takes the mean out of the gradient of the summed outputs: nothing is left.
    assert failed(scores) == NEVER | walled | BY_INPUT_GRADIENT
    for name in walled:
        assert "single value" in scores[name].reason
        assert scores[name].status == "not applicable"


def test_dropout_is_off() -> None:
    with_dropout, without = run(net(nn.Dropout(0.5), nn.Dropout2d(0.5))), run(net())
    assert failed(with_dropout) == failed(without) == NEVER
    for name in set(without) - {"zen"} - NEVER:
        assert with_dropout[name].value == pytest.approx(without[name].value, rel=1e-6), name


class DropsInside(nn.Module):
    """Dropout inside functions: attention, fused attention, recurrent layers, packed or not."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rate, self.embed = rate, nn.Linear(6, 8)
        self.attend = nn.MultiheadAttention(8, 2, dropout=rate, batch_first=True)
        self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=rate, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x))
        x = x + self.attend(x, x, x, need_weights=False)[0] + self.attend(x, x, x)[0]
        x = x + F.scaled_dot_product_attention(x, x, x, dropout_p=self.rate)
        sizes = torch.full((len(x),), x.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(x, sizes, batch_first=True)
        unpacked, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.head((unpacked + self.lstm(x)[0])[:, -1])


def test_dropout_inside_functions_is_off() -> None:
    batches = [torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    scores, expected = (run(DropsInside(rate), batches) for rate in (0.5, 0.0))
    assert failed(scores) == failed(expected) == set()
    for name in expected:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name


@pytest.mark.parametrize("head", ["one class", "image"])
def test_no_default_loss_fits(head: str) -> None:
    model = net(classes=1) if head == "one class" else nn.Sequential(*body(), nn.Conv2d(6, 4, 1))
    scores = run(model)
    no_features = {"zen"} if head == "image" else set()
    assert failed(scores) == NEVER | BY_LOSS | BY_CLASS | no_features
    for name in BY_LOSS | BY_CLASS:
        assert "loss=" in scores[name].reason
    assert scores["naswot"].value is not None


def test_regression_with_the_users_loss() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output[:, 0], target)

    images, targets = torch.randn(8, *SHAPE), torch.randn(8)
    scores = run(net(classes=1), [(images, targets)] * 2, loss=loss)
    assert failed(scores) == NEVER | BY_CLASS | {"zico"}
    assert "equal" in scores["zico"].reason
    assert "one class" in scores["epe_nas"].reason
    assert run(net(classes=1), images, targets, proxies="snip", loss=loss)["snip"].value > 0


@pytest.mark.parametrize("returned", [None, 3.0, torch.ones(2)])
def test_a_loss_that_returns_no_number(returned) -> None:
    scores = run(net(), loss=lambda output, target: returned)
    assert failed(scores) == NEVER | BY_LOSS
    for name in BY_LOSS:
        assert "loss: returned" in scores[name].reason


def test_constant_inputs() -> None:
    scores = run(net(), [(torch.zeros(8, *SHAPE), torch.arange(8) % 4)] * 2)
    assert failed(scores) == NEVER | {"naswot", "zico", "ntk_condition"} | BY_INPUT_GRADIENT
    assert "same code" in scores["naswot"].reason
    assert "singular" in scores["ntk_condition"].reason
    assert scores["linear_regions"].value == 1
    assert scores["in_train"].value >= 0


def test_unused_layers_count_as_zero() -> None:
    model = net()
    alone = run(model, proxies="snip,gradsign,synflow")
    model.unused = nn.Linear(6, 3)
    model.forward = lambda x: nn.Sequential(*[m for m in model if m is not model.unused])(x)
    beside = run(model, proxies="snip,gradsign,synflow")
    for name in alone:
        assert beside[name].value == pytest.approx(alone[name].value)


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).detach()


def test_non_differentiable_output() -> None:
    scores = run(Detached())
    expected = BY_LOSS | FLOW | BY_INPUT_GRADIENT | {"ntk_condition"}
    assert failed(scores) == NEVER | expected
    for name in expected:
        assert "differentiably" in scores[name].reason
        assert scores[name].status == "not applicable"
    assert scores["naswot"].value is not None


def test_a_hard_sigmoid_has_a_second_derivative() -> None:
    class ByHand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu6(x + 3) / 6

    in_place = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Hardsigmoid(inplace=True))
    assert run(net(in_place), proxies="grasp")["grasp"].status == "ok"
    kinds = (nn.Hardsigmoid(), ByHand())
    scores = [run(net(kind), proxies="grasp,snip") for kind in kinds]
    for name in ("grasp", "snip"):
        values = [found[name].value for found in scores]
        assert values == pytest.approx([values[-1]] * 2, rel=1e-5)


def test_no_second_derivative() -> None:
    class Distances(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(2)
            return torch.cdist(flat, flat + 1, p=3.0)[..., None]

    scores = run(net(Distances()))
    assert failed(scores) >= {"grasp"}
    assert scores["grasp"].status == "unsupported"
    assert "torch cannot differentiate" in scores["grasp"].reason
    assert "cdist" in scores["grasp"].reason


def test_attention_has_a_second_derivative() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            q = F.gelu(self.embed(x))
            return self.head(F.scaled_dot_product_attention(q, q, q).mean(1))

    assert failed(run(Attention(), (5, 6))) == BLOCKS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_promoted(dtype: torch.dtype) -> None:
    model = net().to(dtype)
    scores, expected = run(model), run(net().to(dtype).float())
    assert failed(scores) == failed(expected) == NEVER
    for name in set(scores) - NEVER:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name
    assert next(model.parameters()).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_that_casts_its_input_to_half_is_promoted(dtype: torch.dtype) -> None:
    class Cast(nn.Module):
        def __init__(self, body: nn.Module, wanted: torch.dtype):
            super().__init__()
            self.body, self.wanted = body, wanted

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.to(self.wanted)).float()

    scores = run(Cast(net().to(dtype), dtype))
    expected = run(Cast(net().to(dtype).float(), torch.float32))
    assert failed(scores) == failed(expected) == NEVER
    for name in set(scores) - NEVER:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name


def test_nan_weights_are_named() -> None:
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = float("nan")
    scores = run(model)
    own_weights = {"zen", "epsinas"}
    assert failed(scores) == set(scores) - OF_THE_GRAPH - own_weights
    for name in failed(scores) - NEVER:
        assert scores[name].status == "non-finite", name
        assert "'0.weight' of the model holds values that are not finite" in scores[name].reason


def test_nan_in_blocks_and_attention_is_named() -> None:
    model = Vision()
    with torch.no_grad():
        model.query.weight[0, 0] = float("nan")
        model.stem[1].running_mean[0] = float("nan")  # neither is set by az-nas's initialisation
    for result in run(model, proxies=[*ATTENTION]).values():
        assert result.status == "non-finite"
        assert "'query.weight'" in result.reason


def test_outputs_that_overflow() -> None:
    class Explodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.exp(100 * F.relu(x)))

    scores = run(Explodes(), (6,))
    for name in ("near", "snip", "softmax_confidence"):
        assert scores[name].status == "non-finite", name
    assert "overflowed" in scores["near"].reason


class Fails(nn.Module):
    """Raises in the call whose number is given."""

    def __init__(self, error: Exception, call: int):
        super().__init__()
        self.inner, self.error, self.call = net(), error, call
        self.calls = io.BytesIO()  # a number would come back as it was after every pass

    def forward(self, x: Tensor) -> Tensor:
        self.calls.write(b"" if x.is_meta else b".")
        if not x.is_meta and self.calls.tell() == self.call:
            raise self.error
        return self.inner(x)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("half-way"), "error"),
        (torch.OutOfMemoryError("no memory left"), "out of memory"),
        (MemoryError("no memory left"), "out of memory"),
    ],
)
def test_one_failing_pass_leaves_the_others(error: Exception, status: str) -> None:
    scores = run(Fails(error, call=1))
    of_the_first = {
        *("gradients", "hessian_gradients", "gradient_statistics", "saliencies", "input_jacobian"),
        *("code_kernel", "activation_patterns", "layer_features", "first_features"),
        "output_confidence",
    }
    of_the_batch = {p.name for p in archrank.proxies.list() if of_the_first & set(p.needs)}
    assert failed(scores) == NEVER | of_the_batch
    for name in of_the_batch:
        assert scores[name].status == status
        assert str(error) in scores[name].reason


def test_a_model_that_cannot_be_traced() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("never works")

    with pytest.raises(ArchrankError, match="never works"):
        run(Broken())


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(11, 8), nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(tokens))[0][:, -1])


def test_integer_inputs() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(11, (8, 5), generator=generator) for _ in range(2)]
    scores = run(Tokens(), batches)
    perturbed = BY_INPUT_GRADIENT | {"zen", "croze"}
    no_positions = {"meco", "meco_opt"}  # linear layers of single vectors
    assert failed(scores) == ATTENTION | perturbed | no_positions
    for name in perturbed:
        assert "integer" in scores[name].reason
    for name in no_positions:
        assert "more than one position" in scores[name].reason


def test_meta_models_have_sizes_only() -> None:
    scores = run(net().to("meta"))
    assert set(scores) - failed(scores) == OF_THE_GRAPH
    for name in failed(scores):
        assert "no weights" in scores[name].reason


def test_no_weights_at_all() -> None:
    scores = run(nn.Sequential(nn.ReLU(), nn.Flatten()), (3, 2, 2))
    weighted = BY_LOSS | FLOW | {"l2_norm", "ntk_condition"}
    assert failed(scores) == NEVER | weighted | {"zen"}
    for name in weighted:
        assert "no weight" in scores[name].reason
    assert scores["params"].value == 0


class Several(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.inner, self.aux, self.kind = net(), nn.Linear(6, 4), kind

    def forward(self, x: Tensor):
        features = self.inner[:-1](x)
        logits, auxiliary = (
            self.inner[-1](features),
            self.aux(self.inner[3:5](x.repeat(1, 2, 1, 1))),
        )
        if self.kind == "features first":
            return features, logits
        if self.kind == "auxiliary last":
            return logits, auxiliary
        return {"auxiliary": auxiliary, "logits": logits}


@pytest.mark.parametrize("kind", ["features first", "auxiliary last", "dict"])
def test_the_logits_are_found(kind: str) -> None:
    model = Several(kind)
    expected = run(model.inner, proxies="grad_norm,gradsign,jacob_cov")
    scores = run(model, proxies="grad_norm,gradsign,jacob_cov")
    for name in scores:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-5), name


def test_all_forms_of_data_agree() -> None:
    model, images, labels = net(), torch.randn(16, *SHAPE), torch.arange(16) % 4
    names = "snip,gradsign,naswot"
    loader = DataLoader(TensorDataset(images, labels), batch_size=8)
    forms = [
        run(model, images[:8], labels[:8], proxies=names),
        run(model, (images[:8],), labels[:8], proxies=names),
        run(model, [(images[:8], labels[:8])], proxies=names),
        run(model, loader, proxies=names),
    ]
    for scores in forms[1:]:
        for name in scores:
            assert scores[name].value == forms[0][name].value
    assert run(model, loader, proxies="zico")["zico"].value is not None
    assert "at least two batches" in run(model, images, labels, proxies="zico")["zico"].reason


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, *, images: Tensor, scale: Tensor) -> Tensor:
        return self.inner(images * scale)


def test_keyword_inputs() -> None:
    inputs = {"images": torch.randn(8, *SHAPE), "scale": torch.ones(8, 1, 1, 1)}
    scores = run(Named(), inputs, torch.arange(8) % 4)
    assert failed(scores) == NEVER | SEVERAL_BATCHES
    for name in SEVERAL_BATCHES:
        assert "at least two batches" in scores[name].reason


def test_a_batch_is_never_split() -> None:
    for proxy in archrank.proxies.list():
        sizes: Counter[int] = Counter()
        model = Vision()
        model.register_forward_pre_hook(
            lambda m, args, sizes=sizes: sizes.update([] if args[0].is_meta else [len(args[0])])
        )
        run(model, proxies=proxy.name)
        # One sample alone is synflow's input and gradsign's check that samples are independent;
        # two are enough to see where blocks end; CRoZe attacks its twin in between.
        assert set(sizes) <= ({8, 2} if proxy.name in BLOCKS else {8, 1}), proxy.name
        assert sizes[8] <= (3 if proxy.name == "croze" else 2), proxy.name
        assert sum(sizes.values()) <= 3, proxy.name


@pytest.mark.parametrize("targets", [torch.arange(8), torch.zeros(5, dtype=torch.long), "cat"])
def test_wrong_targets_are_a_reason(targets) -> None:
    scores = run(net(), torch.randn(8, *SHAPE), targets)
    assert failed(scores) == NEVER | BY_LOSS | BY_CLASS
    for name in (BY_LOSS | BY_CLASS) - SEVERAL_BATCHES:
        assert "targets" in scores[name].reason
    assert scores["naswot"].value is not None


def test_same_seed_same_value() -> None:
    first, second, other = (run(Vision(), seed=seed) for seed in (3, 3, 4))
    for name in first:
        assert first[name].value == pytest.approx(second[name].value, rel=1e-6)
    assert first["snip"].value != other["snip"].value
