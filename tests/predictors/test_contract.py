"""Every predictor keeps the contract; what the contract's parts do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import archrank
from archrank.costs import CostPredictor, DeviceSpeed, OperatorTable, SpeedPredictor
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import (
    GENNAPE,
    KGNN,
    MLP,
    AdditiveProcess,
    ArchRank,
    GaussianProcess,
    GraphEnsemble,
    GraphPredictor,
    HeadSettings,
    HeteroscedasticNetwork,
    ParZC,
    Predictor,
    Pretraining,
    RandomForest,
    Ridge,
    Surrogate,
    TransferRank,
    Vote,
    XGBoost,
    check_predictor,
    samples,
    with_context,
)
from archrank.predictors.checks import small_graphs

SMALL_MIXER = {"length": 16, "segment": 8, "width": 8, "depth": 1}
QUICK: dict[str, Predictor] = {
    "ridge": Ridge(),
    "graph ensemble": GraphEnsemble(trees=10),
    "surrogate": Surrogate(),
    "vote": Vote(("statistics",)),
    "forest": RandomForest(trees=20),
    "extra trees": RandomForest(trees=20, extra=True),
    "boosting": XGBoost(trees=20, members=2),
    "rbf": GaussianProcess(),
    "matern": GaussianProcess(kernel="matern"),
    "wl": GaussianProcess(kernel="wl"),
    "additive": AdditiveProcess(("statistics", "edges", "scores")),
    "cost": CostPredictor(),
    "operator table": OperatorTable(),
    "speed": SpeedPredictor(members=1, epochs=3, folds=2),
    "device speed": DeviceSpeed(),
    "mlp": MLP(hidden=(16,), members=2),
    "heteroscedastic": HeteroscedasticNetwork(hidden=(8,), members=2, steps=10),
    "graph": GraphPredictor(
        "gin", {"width": 16, "layers": 1}, (8,), "pairwise_hinge", epochs=3, members=2
    ),
    "kgnn": KGNN(epochs=3),
    "gennape": GENNAPE(
        epochs=1,
        clusters=2,
        pretrained=Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1),
        heads=HeadSettings(hidden=4, references=4),
        kgnn=KGNN(epochs=1),
    ),
    "parzc": ParZC(mixer=SMALL_MIXER, epochs=2, draws=3, proxies=("flops",)),
    "parzc with an encoder": ParZC(
        "gin", SMALL_MIXER, "log", "module", epochs=1, draws=3, proxies=("flops",)
    ),
    "archrank": ArchRank(members={"a": Ridge(), "b": RandomForest(trees=10)}),
    "transfer": TransferRank(members={"a": Ridge(), "b": RandomForest(trees=10)}),
}


@pytest.mark.parametrize("name", QUICK)
def test_the_contract(name: str) -> None:
    graphs = small_graphs()
    given = [replace(s, node_scores={"flops": s.graph.node_flops * 1.0}) for s in samples(graphs)]
    check_predictor(QUICK[name], given, [float(np.log(graph.params)) for graph in graphs])


def test_every_public_predictor_is_checked() -> None:
    from archrank import costs, predictors

    public = {
        value
        for room in (predictors, costs)
        for name in room.__all__
        if isinstance(value := getattr(room, name), type)
        and issubclass(value, Predictor)
        and value is not Predictor
    }
    assert public == {type(predictor) for predictor in QUICK.values()}


class Careless(Ridge):
    """Breaks one rule of the contract."""

    def __init__(self, broken: str = "", **options: object):
        super().__init__()
        self.broken = broken

    def fit(self, X, y):
        if self.broken == "labels":
            y = np.nan_to_num(y)
        super().fit(X, y)
        return None if self.broken == "self" else self

    def predict(self, X, return_std=False):
        predicted = super().predict(X, return_std)
        return predicted[::-1].copy() if self.broken == "order" else predicted


@pytest.mark.parametrize(
    ("broken", "said"), [("self", "self"), ("labels", "label nan"), ("order", "others")]
)
def test_the_battery_finds_what_is_broken(broken: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_predictor(Careless(broken))


class TestReading:
    def test_architectures_models_and_graphs_are_one(self) -> None:
        cells = space("nasbench201")
        archs = cells.sample(12, seed=0)
        y = np.arange(12.0)
        parts = ("statistics",)
        by_name = Ridge(parts, space="nasbench201").fit(archs, y).predict(archs)
        by_space = Ridge(parts, space=cells).fit(archs, y).predict(archs)
        graphs = [cells.graph(cells.canonical(a)) for a in archs]
        by_graph = Ridge(parts).fit(graphs, y).predict(graphs)
        by_model = Ridge(inputs=(3, 32, 32)).fit([cells.build(a) for a in archs[:3]], y[:3])
        assert np.allclose(by_name, by_space)
        assert np.allclose(by_name, by_graph)
        assert by_model.n_samples_ == 3

    def test_equal_networks_are_read_once(self) -> None:
        straight = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"
        dead = "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|none~1|none~2|"
        first, _, third = samples([straight, dead, straight], space="nasbench201")
        assert first.graph is third.graph
        assert first.arch == third.arch == straight

    def test_proxies_are_columns(self) -> None:
        archs = space("nasbench201").sample(3, seed=1)
        read = samples(archs, space="nasbench201", proxies=("naswot", "params"), batch_size=4)
        assert [set(sample.scores) >= {"params"} for sample in read] == [True] * 3
        assert read[0].scores["params"] == read[0].graph.params
        assert set(read[0].node_scores) == {"params"}
        assert np.nansum(read[0].node_scores["params"]) == read[0].graph.params

    @pytest.mark.parametrize(
        ("given", "options", "said"),
        [
            (["|none~0|"], {}, "space"),
            ([torch.nn.ReLU()], {}, "inputs"),
            ([3], {}, "item 0 is a int"),
            ("abc", {}, "sequence"),
            (7, {}, "sequence"),
            ([torch.nn.ReLU()], {"space": "nasbench201"}, "inputs"),
        ],
    )
    def test_what_cannot_be_read_is_told(self, given, options, said) -> None:
        with pytest.raises(InputError, match=said):
            Ridge(**options).fit(given, [1.0])

    def test_graphs_have_no_proxies(self) -> None:
        graphs = small_graphs()[:2]
        with pytest.raises(InputError, match="proxies"):
            Ridge(proxies=("snip",)).fit(graphs, [1.0, 2.0])

    def test_context_is_learnt_from(self) -> None:
        graphs = small_graphs()
        both = samples([*graphs, *graphs])
        given = with_context(both, np.repeat([[0.0], [1.0]], len(graphs), axis=0))
        y = np.array([s.context[0] for s in given])
        predicted = Ridge(parts=("statistics", "context")).fit(given, y).predict(given)
        assert np.allclose(predicted, y, atol=0.2)
        with pytest.raises(InputError, match="context"):
            with_context(both, [[np.nan]] * len(both))


class TestSaving:
    def test_another_class_is_told(self, tmp_path: Path) -> None:
        graphs = small_graphs()
        Ridge().fit(graphs, np.arange(16.0)).save(tmp_path / "model")
        with pytest.raises(InputError, match="expected MLP"):
            MLP.load(tmp_path / "model")

    def test_no_folder_of_others_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("data")
        with pytest.raises(InputError, match="holds no predictor"):
            Ridge().fit(small_graphs(), np.arange(16.0)).save(tmp_path)
        assert (tmp_path / "precious").read_text() == "data"

    def test_a_file_names_no_class_of_elsewhere(self, tmp_path: Path) -> None:
        path = tmp_path / "model"
        Ridge().fit(small_graphs(), np.arange(16.0)).save(path)
        facts = path / "predictor.json"
        facts.write_text(facts.read_text().replace('"Features"', '"import_module"'))
        with pytest.raises(InputError, match="import_module"):
            Ridge.load(path)

    def test_spaces_come_back_by_name(self, tmp_path: Path) -> None:
        cells = space("nasbench201")
        archs = cells.sample(6, seed=0)
        fitted = Ridge(space=cells).fit(archs, np.arange(6.0))
        fitted.save(tmp_path / "model")
        loaded = Ridge.load(tmp_path / "model")
        assert loaded.space == "nasbench201"
        assert np.allclose(loaded.predict(archs), fitted.predict(archs))


class TestScikitLearn:
    def test_cross_validation_and_search(self) -> None:
        from sklearn.model_selection import GridSearchCV, cross_val_score

        graphs = small_graphs()
        y = [float(np.log(g.flops)) for g in graphs]
        assert cross_val_score(Ridge(), graphs, y, cv=4).mean() > 0.8
        search = GridSearchCV(Ridge(), {"parts": [("statistics",), ("paths",)]}, cv=4)
        assert search.fit(graphs, y).best_params_ == {"parts": ("statistics",)}

    def test_clones_are_not_fitted(self) -> None:
        fitted = Ridge(alphas=(5.0,)).fit(small_graphs(), np.arange(16.0))
        copy = clone(fitted)
        assert copy.get_params() == fitted.get_params()
        assert not hasattr(copy, "weights_")


def test_trees_as_arrays_are_scikit_learn_s() -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(0)
    matrix, labels = rng.normal(size=(60, 5)), rng.normal(size=60)
    ours = RandomForest(trees=30, columns=1.0, extra=True)
    ours.fit_matrix(matrix, labels)
    theirs = ExtraTreesRegressor(30, max_features=1.0, random_state=0).fit(matrix, labels)
    new = rng.normal(size=(40, 5))
    mean, std = ours.predict_matrix(new)
    assert np.allclose(mean, theirs.predict(new))
    assert np.allclose(std, np.std([tree.predict(new) for tree in theirs.estimators_], axis=0))


def test_ridge_deviation_is_the_textbook_s() -> None:
    rng = np.random.default_rng(0)
    matrix, labels = rng.normal(size=(20, 4)), rng.normal(size=20)
    ridge = Ridge(alphas=(2.0,))
    ridge.fit_matrix(matrix, labels)
    new = rng.normal(size=(5, 4))
    inverse = np.linalg.inv(matrix.T @ matrix + 2.0 * np.eye(4))
    expected = ridge.error_ * np.sqrt(1 + np.einsum("ij,jk,ik->i", new, inverse, new))
    assert np.allclose(ridge.predict_matrix(new)[1], expected)


def test_archrank_says_what_it_chose() -> None:
    graphs = small_graphs()
    y = np.array([float(np.log(g.params)) for g in graphs])
    noise = {"good": Ridge(("statistics",)), "blind": Ridge(("spectrum",))}
    fitted = ArchRank(members=noise).fit(graphs, y)
    assert sum(fitted.weights_.values()) == pytest.approx(1.0)
    assert fitted.report_["tau"]["good"] > fitted.report_["tau"]["blind"]
    assert fitted.weights_["good"] > fitted.weights_.get("blind", 0.0)  # next to none is none


def test_archrank_keeps_the_scale_of_labels() -> None:
    graphs = small_graphs()
    y = np.array([float(g.params) for g in graphs])
    forest = RandomForest(trees=50, extra=True)
    fitted = ArchRank(members={"only": forest}).fit(graphs, y)
    mean, std = fitted.predict(graphs, return_std=True)
    assert archrank.metrics.kendall(mean, y) > 0.9
    assert y.min() * 0.9 <= mean.min() < mean.max() <= y.max() * 1.1
    assert (std > 0).all()
