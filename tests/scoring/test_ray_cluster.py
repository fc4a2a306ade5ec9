"""The same run on a Ray cluster of two nodes on this machine, which come and go."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mortal import Mortal

from archrank import benchmark
from archrank.errors import InputError, MissingExtraError
from archrank.scoring import ray_cluster
from archrank.scoring.ray_cluster import on_cluster
from archrank.scoring.store import Store
from archrank.scoring.table_runs import Settings, sample_of, settings_for, work_on

RUN: dict[str, Any] = {"proxies": "params,flops,snip", "batch_size": 2, "sample": 12}
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers find `mortal`
        one = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            yield one
        finally:
            ray.shutdown()
            one.shutdown()


def scores(path: Path) -> pd.DataFrame:
    with Store(path, writable=False) as store:
        ((run, settings),) = store.runs().items()
        frame = store.scores(run, Settings(**settings).condition)
    return frame.drop(columns=["seconds", "peak_memory"])


@pytest.mark.slow
def test_a_node_goes_and_another_comes(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(**NODE)
    calls = []

    def progress(done: int, total: int, arch: str) -> None:
        calls.append(arch)
        if done == 2:
            cluster.remove_node(node)
        if done == 5:
            cluster.add_node(**NODE)

    path = tmp_path / "ray.sqlite"
    address = cluster.address
    outcome = benchmark.run(path, "digits", engine="ray", address=address, progress=progress, **RUN)
    assert (outcome.scored, outcome.total, outcome.failures) == (12, 12, [])
    assert len({*calls}) == len(calls) == 12
    benchmark.run(tmp_path / "local.sqlite", "digits", **RUN)
    pd.testing.assert_frame_equal(scores(path), scores(tmp_path / "local.sqlite"))
    import ray

    assert not ray.is_initialized()  # it left the cluster that it joined
    again = benchmark.run(path, "digits", engine="ray", address=address, **RUN)
    assert again.scored == 0


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "RETRIES", 1)  # each death costs the start of a worker
    settings = settings_for("digits", sample=4, batch_size=2)
    first, second, *rest = (
        work_on(settings, arch, 0, ("params", "flops")) for arch in sample_of(settings)
    )
    frail = Mortal.of(first, tmp_path / "frail", deaths=1)
    deadly = Mortal.of(second, tmp_path / "deadly", deaths=99)
    done = list(on_cluster([frail, deadly, *rest], cluster.address))
    found = {work.candidate.build.arch: scored.of_every_proxy(work)[0][1] for work, scored in done}
    assert len(done) == len(found) == 4
    for row in found.pop(second.candidate.build.arch):
        assert row.status == "error"
        assert "its process died 2 times" in str(row.reason)
    assert all(row.status == "ok" for rows in found.values() for row in rows)
    assert len(list((tmp_path / "deadly").iterdir())) == 2


@pytest.mark.slow
def test_what_ends_a_run_in_a_worker_ends_it_here(cluster: Any) -> None:
    settings = settings_for("digits", sample=1, data="nowhere")
    work = work_on(settings, sample_of(settings)[0], 0, ("snip",))
    with pytest.raises(InputError, match="nowhere"):
        list(on_cluster([work], cluster.address))


@pytest.mark.slow
def test_no_cluster_there() -> None:
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="address: no Ray cluster answers at 'nonsense'"):
        next(on_cluster([], "nonsense"), None)


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'archrank\[ray\]'"):
        benchmark.run(tmp_path / "run.sqlite", "digits", engine="ray", **RUN)
