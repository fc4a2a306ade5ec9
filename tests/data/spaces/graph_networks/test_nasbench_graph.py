"""NAS-Bench-Graph against its published table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from archrank.data.spaces.graph_networks.nasbench_graph import (
    OPERATORS,
    SETTINGS,
    NASBenchGraph,
    count,
)
from archrank.data.tables.keys import nasbench_graph
from archrank.errors import InputError

SPACE = NASBenchGraph()


@pytest.fixture
def table(shared_data: Path) -> pd.DataFrame:
    return pd.read_parquet(
        shared_data / "nas_bench_graph" / "nas_bench_graph_light.parquet",
        columns=["hash", "dataset", "para"],
    )


@pytest.fixture(scope="module")
def canonical() -> dict[str, str]:
    return {arch: SPACE.canonical(arch) for arch in SPACE}


@pytest.mark.parametrize(
    ("code", "params"),
    [
        (81111, 634_119),
        (1111, 1_734_663),
        (80000, 636_167),
        (84444, 1_197_575),
        (85555, 1_459_719),
        (88887, 436_743),
    ],
)
def test_published_figures(code: int, params: int) -> None:
    arch = nasbench_graph(code)
    assert SPACE.graph(arch).params == params
    assert sum(p.numel() for p in SPACE.build(arch).parameters()) == params


@pytest.mark.parametrize("task", SPACE.tasks)
def test_the_formula_is_the_count_of_the_networks(task: str) -> None:
    for name in OPERATORS:
        for arch in (f"0,0,1,2:{name},fc,{name},gcn", f"0,0,0,1:fc,{name},{name},{name}"):
            network = SPACE.build(arch, task)
            assert sum(p.numel() for p in network.parameters()) == SPACE.params(arch, task)


@pytest.mark.slow
def test_every_row_of_the_table(table: pd.DataFrame) -> None:
    parsed = {code: SPACE.parse(nasbench_graph(code)) for code in set(table.hash)}
    differing = {}
    for task, rows in table.groupby("dataset", observed=True):
        setting = SETTINGS[str(task)]
        values = (parsed[code] for code in rows.hash)
        ours = np.array([count(links, tuple(names), setting) for links, *names in values])
        differs = np.abs(ours - 1e6 * rows.para.to_numpy(float)) > 1
        if differs.any():
            differing[task] = rows[differs]
    assert {task: len(rows) for task, rows in differing.items()} == {"physics": 1_567}
    # Means of three runs, one of which was another network.
    regular = SETTINGS["physics"]
    other = replace(regular, width=128, before=False)
    explained = 0
    for code, published in zip(differing["physics"].hash, differing["physics"].para, strict=True):
        links, *operators = parsed[code]
        counts = [count(links, tuple(operators), setting) for setting in (regular, other)]
        explained += abs((2 * counts[0] + counts[1]) / 3 - 1e6 * published) < 1
    assert explained == 1_478


@pytest.mark.slow
def test_canonical_forms_are_those_of_the_table(
    table: pd.DataFrame, canonical: dict[str, str]
) -> None:
    listed = {nasbench_graph(code) for code in table.hash[table.dataset == "cora"]}
    assert len(listed) == 26_206
    assert all(canonical[arch] == arch for arch in listed)
    assert len(list(SPACE)) == len(canonical) == len(SPACE) == 59_049
    forms = set(canonical.values())
    assert len(forms) == 27_938
    for arch in forms - listed:  # all of them hand the input straight to the output
        links, *operators = SPACE.parse(arch)
        straight = {0}  # nodes whose value is the input
        for node, (source, name) in enumerate(zip(links, operators, strict=True), 1):
            if name == "skip" and source in straight:
                straight.add(node)
        assert any(node not in links for node in straight)


@pytest.mark.slow
def test_equal_canonical_forms_are_equal_functions(canonical: dict[str, str]) -> None:
    """With weights that depend on the operator and its depth only, equal forms agree."""
    for form in (
        "0,1,1,1:skip,gcn,fc,gcn",
        "0,1,2,2:skip,sage,fc,skip",
        "0,1,2,3:skip,skip,gin,fc",
    ):
        outputs = []
        for arch in (arch for arch in canonical if canonical[arch] == canonical[form]):
            network = SPACE.build(arch, "arxiv").double().eval()
            links, *operators = SPACE.parse(arch)
            depths = {0: 0}
            for node, (source, name) in enumerate(zip(links, operators, strict=True), 1):
                depths[node] = depths[source] + (name != "skip")
                torch.manual_seed(OPERATORS.index(name) + 100 * depths[node])
                with torch.no_grad():
                    for parameter in network.nodes[node - 1].parameters():
                        parameter.copy_(torch.randn(parameter.shape) / 10)
            x, edges = SPACE.inputs("arxiv")
            with torch.no_grad():
                values = [x.double()]
                for source, node in zip(network.links, network.nodes, strict=True):
                    values.append(node(values[source], edges))
            found = torch.stack([values[leaf].sum() for leaf in network.leaves])
            outputs.append(found.sort().values)
        assert len(outputs) > 2
        for other in outputs[1:]:
            torch.testing.assert_close(other, outputs[0])


def test_the_made_up_graph() -> None:
    x, edges = SPACE.inputs("citeseer")
    assert x.shape == (64, 3703)
    pairs = {tuple(pair) for pair in edges.T.tolist()}
    assert len(pairs) == edges.shape[1] > 128
    assert all(a != b and (b, a) in pairs for a, b in pairs)
    assert {node for pair in pairs for node in pair} == set(range(64))
    with torch.device("meta"):
        again = SPACE.inputs("citeseer")
    assert torch.equal(again[0], x)
    assert torch.equal(again[1], edges)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("0,2,1,2:gcn,gat,skip,fc", "position 2 .*got '2', expected one of the digits 0, 1"),
        ("0,0,1,4:gcn,gat,skip,fc", "position 6 .*expected one of the digits 1, 2, 3"),
        ("0,0,1,2:gcn,gatt,skip,fc", "position 12 .*got 'gatt', expected one of gat, gcn"),
        ("0,0,1,2:gcn,gat,skip", "got the end, expected ','"),
        ("0,0,1,2:gcn,gat,skip,fc,fc", "position 23 .*expected the end"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPACE.build(arch)
