"""The fixed scale of evidence: against the formula by hand, and what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from archrank.errors import InputError
from archrank.predictors import Family, Sample
from archrank.predictors.features.evidence import KINDS, MEASURED
from archrank.predictors.pretrained.reference import Reference, certainty_of


def tables(count: int = 4, networks: int = 30, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        base = rng.normal(10, 3)
        log = base + rng.normal(size=(networks, len(MEASURED))) * rng.uniform(0.3, 2, len(MEASURED))
        found.append(np.expm1(np.abs(log)))
    return found


def by_hand(families: list[np.ndarray], table: np.ndarray) -> np.ndarray:
    """Return the formula of the docstring, written down without any shared code."""
    logs = [np.log1p(t) for t in families]
    x = np.log1p(table)
    d = np.median([t[:, :3].std(axis=0) for t in logs], axis=0)
    size = lambda t: (t[:, :3] / d) @ [0.25, 0.25, 0.5]  # noqa: E731
    residuals = {}
    for place in range(3, len(MEASURED)):
        design = np.concatenate([np.c_[np.ones(len(t)), t[:, :3]] for t in logs])
        weight = np.concatenate([np.full(len(t), len(t) ** -0.5) for t in logs])
        target = np.concatenate([t[:, place] for t in logs])
        line = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
        rest = lambda t, p=place, b=line: t[:, p] - np.c_[np.ones(len(t)), t[:, :3]] @ b  # noqa: E731
        t = np.median([rest(one).std() for one in logs])
        residuals[MEASURED[place]] = lambda one, r=rest, by=t: np.clip(r(one) / by, -8, 3)

    def kinds(one: np.ndarray) -> np.ndarray:
        groups = [[n for n in names if n in residuals] for names in KINDS.values()]
        return np.array(
            [np.mean([residuals[n](one) for n in names], axis=0) for names in groups if names]
        )

    def parts(one: np.ndarray) -> list[np.ndarray]:
        v = kinds(one)
        return [size(one), v.mean(axis=0), stats.norm.logcdf(v).mean(axis=0)]

    ours = [parts(one) for one in logs]
    centre = [np.mean([p[i].mean() for p in ours]) for i in range(3)]
    spread = [np.median([p[i].std() for p in ours]) for i in range(3)]

    def score(one: np.ndarray) -> np.ndarray:
        s, v, log = ((p - c) / d for p, c, d in zip(parts(one), centre, spread, strict=True))
        return s + (v + log) / 2

    return score(x) / np.median([score(one).std() for one in logs])


def test_the_score_is_the_formula() -> None:
    families, (others,) = tables(), tables(1, 12, seed=5)
    assert Reference.of(families).score(others) == pytest.approx(by_hand(families, others))


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_no_candidate_moves_another(order: list[int], count: int) -> None:
    reference, (table,) = Reference.of(tables()), tables(1, 12, seed=7)
    drawn = order[:count]
    assert reference.score(table[drawn]) == pytest.approx(reference.score(table)[drawn])


@settings(max_examples=30, deadline=None)
@given(
    arrays(
        np.float64,
        (5, len(MEASURED) - 3),
        elements=st.floats(-1e6, 1e6, allow_nan=False) | st.just(np.nan),
    )
)
def test_scores_are_finite_whatever_proxies_are_missing(proxies: np.ndarray) -> None:
    table = np.concatenate([np.full((5, 3), 1e4), proxies], axis=1)
    assert np.isfinite(Reference.of(tables()).score(table)).all()


def test_missing_evidence_is_left_out() -> None:
    reference, (table,) = Reference.of(tables()), tables(1, 6, seed=3)
    without = table.copy()
    place = MEASURED.index("near")
    without[0, place] = np.nan
    # The other measurement of its kind speaks for the kind alone.
    both = reference.kinds(table)["spread of activations"]
    alone = reference.kinds(without)["spread of activations"]
    assert np.isfinite(alone[0])
    assert alone[1:] == pytest.approx(both[1:])
    sizes = table.copy()
    sizes[:, 3:] = np.nan
    size = reference.kinds(table)["size"]
    assert reference.score(sizes) == pytest.approx(size / reference.scales[3])


def test_a_proxy_that_nobody_has_says_nothing() -> None:
    families = tables()
    for table in families:
        table[:, MEASURED.index("az_expressivity")] = np.nan
    reference, (others,) = Reference.of(families), tables(1, 5, seed=9)
    assert np.isnan(reference.kinds(others)["expressivity of blocks"]).all()
    assert np.isfinite(reference.score(others)).all()


def test_certainty_is_right_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    families, named = [], {}
    sample = Sample(None)  # type: ignore[arg-type]  # only its label is looked at
    for number, table in enumerate(tables(6, 60, seed=1)):
        size = Reference.of([table]).score(table)
        labels = size + rng.normal(size=60)
        families.append(Family(str(number), [sample] * 60, labels[None]))
        named[str(number)] = table
    reference = Reference.learnt(named, families, {})
    assert 0.3 < reference.slope < 1.0
    right, sure = [], []
    for family in families:
        others = [t for name, t in named.items() if name != family.name]
        score = Reference.of(others).score(named[family.name])
        first, second = np.triu_indices(60, 1)
        chance = stats.norm.cdf(reference.certainty * (score[first] - score[second]))
        told = (chance > 0.5) == (family.labels[0][first] > family.labels[0][second])
        at = (np.maximum(chance, 1 - chance) > 0.85) & (np.maximum(chance, 1 - chance) < 0.95)
        right += told[at].tolist()
        sure += np.maximum(chance, 1 - chance)[at].tolist()
    assert np.mean(right) == pytest.approx(np.mean(sure), abs=0.05)


def test_families_are_needed_and_states_are_checked() -> None:
    with pytest.raises(InputError, match="tables: got none"):
        Reference.of([])
    reference = Reference.of(tables())
    again = Reference.read(reference.state())
    (table,) = tables(1, 4, seed=2)
    assert again.score(table).tolist() == reference.score(table).tolist()
    with pytest.raises(InputError, match="reference: got a"):
        Reference.read({"a": 1})


def test_pairs_that_score_alike_say_nothing() -> None:
    assert certainty_of([(np.zeros(4), np.ones(4))]) > 0
