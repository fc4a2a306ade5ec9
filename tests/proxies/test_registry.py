"""The registry: facts, names, additions."""

from __future__ import annotations

import pytest
import torch

import archrank
from archrank.errors import InputError
from archrank.proxies import Measure, register, unregister
from archrank.proxies.planner import batches_needed
from archrank.proxies.recording.signals import SIGNALS


@pytest.mark.parametrize("proxy", archrank.proxies.list(), ids=lambda p: p.name)
def test_facts_are_complete(proxy) -> None:
    assert proxy.summary.endswith(".")
    assert proxy.formula
    assert proxy.reference
    assert proxy.cost
    assert proxy.function.__doc__
    assert proxy.mode in ("train", "as given", "any")
    assert proxy.dtype in ("model", "float64")
    assert set(proxy.needs) <= set(SIGNALS)
    by_loss = {
        *("gradients", "hessian_gradients", "saliencies", "gradient_statistics", "sign_sums"),
        *("gradient_entries", "attention_importances", "twins", "targets"),
    }
    assert proxy.labels == bool(by_loss & set(proxy.needs))


def test_the_set_that_was_promised() -> None:
    promised = (
        "params flops activations grad_norm snip plain l2_norm fisher grasp synflow synflow_log "
        "jacob_cov naswot zen zico gradsign gradsign_mean gradsign_excess gradsign_z "
        "synflow_bn logsynflow epe_nas meco meco_opt swap swap_regular az_expressivity "
        "az_progressivity az_trainability az_complexity ntk_condition linear_regions near vkdnw "
        "croze l_swag in_train epsinas nasgraph parzc_dagger dss attention_confidence "
        "attention_importance softmax_confidence"
    )
    assert set(promised.split()) <= {proxy.name for proxy in archrank.proxies.list()}


def test_unknown_names_get_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'gradsign'"):
        archrank.proxies.get("grad_sign")


def test_own_proxies() -> None:
    @register("largest", summary="Largest gradient.", formula="max |g|", reference="ours", cost="1")
    def largest(gradients):
        return Measure(max(float(g.abs().max()) for g in gradients.values()))

    try:
        net = torch.nn.Sequential(torch.nn.Linear(4, 3))
        scores = archrank.score(net, (4,), proxies="largest,grad_norm")
        assert 0 < scores["largest"].value <= scores["grad_norm"].value
        ranking = archrank.rank([net], (4,), by="largest")
        assert ranking.table["largest"][0] == pytest.approx(scores["largest"].value)
        with pytest.raises(InputError, match="registered already"):
            register("largest", summary="", formula="", reference="")(largest)
    finally:
        unregister("largest")
    with pytest.raises(InputError, match="largest"):
        archrank.proxies.get("largest")


def test_unknown_signals_are_refused() -> None:
    with pytest.raises(InputError, match="gradient_of_everything"):

        @register("wrong", summary="", formula="", reference="")
        def wrong(gradient_of_everything):
            return Measure(0.0)


@pytest.mark.parametrize(
    ("name", "canonical", "options"),
    [
        ("swap_regular[mu=900]", "swap_regular[mu=900]", {"mu": 900.0, "sigma": 40.0}),
        ("swap_regular[sigma=2, mu=1.5]", "swap_regular[mu=1.5,sigma=2]", {"mu": 1.5, "sigma": 2}),
        ("swap_regular[mu=30,sigma=40]", "swap_regular", {"mu": 30.0, "sigma": 40.0}),
        ("swap_regular[mu=1234567]", "swap_regular[mu=1234567]", {"mu": 1234567.0}),
        (
            "swap_regular[mu=1234567.5]",
            "swap_regular[mu=1234567.5]",
            {"mu": 1234567.5, "sigma": 40},
        ),
        ("parzc_dagger[base=snip]", "parzc_dagger[base=snip]", {"base": "snip"}),
        ("parzc_dagger[base=synflow]", "parzc_dagger", {"base": "synflow"}),
    ],
)
def test_options_in_brackets(name: str, canonical: str, options: dict[str, float | str]) -> None:
    proxy = archrank.proxies.get(name)
    assert proxy.name == canonical
    assert proxy.options.items() >= options.items()
    assert proxy.needs == archrank.proxies.get(name.partition("[")[0]).needs
    assert archrank.proxies.get(canonical).options == proxy.options


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swap_regular[nu=1]", "no option 'nu'; it has mu=30.0, sigma=40.0"),
        ("swap_regular[mu]", "'mu' .* got '', expected a number"),
        ("swap_regular[mu=large]", "'mu' .* got 'large', expected a number"),
        ("swap_regular[mu=nan]", "'mu' .* got 'nan', expected a number"),
        ("swap_regular[mu=inf]", "'mu' .* got 'inf', expected a number"),
        ("swap_regular[]", "no option ''"),
        ("swap[mu=1]", "no option 'mu'; it has none"),
        ("parzc_dagger[base=grasp]", "got 'grasp', expected one of synflow, snip, grad_norm"),
        ("swap_regular[mu=1", "no proxy is called"),
        ("swop_regular[mu=1]", "no proxy is called"),
    ],
)
def test_wrong_options_are_explained(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        archrank.proxies.get(name)


def test_lists_of_names_with_options() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    text = "params, swap_regular[mu=1,sigma=20] ,swap_regular[mu=2],swap_regular[mu=30]"
    scores = archrank.score(net, (4,), proxies=text)
    assert [*scores] == [
        "params", "swap_regular[mu=1,sigma=20]", "swap_regular[mu=2]", "swap_regular",
    ]  # fmt: skip
    assert len({result.value for result in scores.values()}) == 4


def test_a_set_of_options_is_forgotten_with_its_proxy() -> None:
    @register("scaled", summary="", formula="", reference="", mode="any")
    def scaled(graph, *, by=1.0):
        return Measure(by * graph.params)

    net = torch.nn.Linear(4, 3)
    found = archrank.score(net, (4,), proxies="scaled[by=2],params")
    assert found["scaled[by=2]"].value == 2 * found["params"].value
    unregister("scaled[by=2]")
    with pytest.raises(InputError, match="no proxy is called 'scaled'"):
        archrank.proxies.get("scaled")


class Switch(torch.nn.Module):
    """Batch norm whose running statistics tell whether they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)
        self.norm.running_mean.fill_(-1e6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.linear(x)))


@pytest.mark.parametrize("given", ["train", "eval"])
def test_the_mode_as_given_is_respected(given: str) -> None:
    """In evaluation mode, running statistics switch every unit on; the other proxy, asked for at
    the same time, still sees the batch's."""

    @register("as_given", summary="", formula="", reference="", mode="as given")
    def as_given(activation_patterns):
        return Measure(float(activation_patterns.total))

    try:
        net = Switch()
        net.train(given == "train")
        scores = archrank.score(net, (4,), proxies="as_given,swap")
        assert scores["swap"].value == 3
        assert scores["as_given"].value == (3 if given == "train" else 1)
        assert net.norm.training == (given == "train")
        assert float(net.norm.running_mean[0]) == -1e6
    finally:
        unregister("as_given")


@pytest.mark.parametrize(
    ("names", "batches"),
    [
        ([], 1),
        (["params"], 1),
        (["snip", "zico"], 2),
        (["l_swag"], 2),
        (["meco_repo_zico@meco"], 2),
        (["meco_repo_zico@gpu@meco"], 2),
    ],
)
def test_batches_needed(names: list[str], batches: int) -> None:
    assert batches_needed(names) == batches
    assert batches_needed([archrank.proxies.get(name) for name in names]) == batches


def test_proxies_that_need_several_batches_fail_with_one_alone() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    for proxy in archrank.proxies.list(variants=True):
        result = archrank.score(net, torch.randn(8, 4), proxies=proxy.name)[proxy.name]
        if batches_needed([proxy]) > 1:
            assert "needs at least two batches" in result.reason
        else:
            assert "two batches" not in (result.reason or "")


def test_each_pass_is_reported() -> None:
    told: list[tuple[int, int, str]] = []
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 8), torch.nn.ReLU())
    wanted = "params,snip,naswot,gradsign,zen"
    scores = archrank.score(
        net, (3, 4, 4), proxies=wanted, progress=lambda *report: told.append(report)
    )
    done, totals, names = zip(*told, strict=True)
    assert list(done) == list(range(1, totals[0] + 1))
    assert set(totals) == {len(told)}
    assert any("gradsign" in name for name in names)
    silent = archrank.score(net, (3, 4, 4), proxies=wanted)
    assert [one.value for one in scores.values()] == [one.value for one in silent.values()]
