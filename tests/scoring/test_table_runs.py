"""Benchmarks: resumed, shared, refused; what dies, what cannot be built, what is left to do."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import stillborn
from forge import Forge
from mortal import Mortal

from archrank import benchmark
from archrank.data import space
from archrank.errors import InputError
from archrank.proxies import Result
from archrank.scoring import processes
from archrank.scoring.processes import in_processes
from archrank.scoring.store import Store
from archrank.scoring.table_runs import Settings, sample_of, settings_for, work_on
from archrank.scoring.work import Scored, Work, gave_up, score_work

PROXIES = "params,flops,snip"
RUN = ["benchmark", "--space", "digits", "--proxies", PROXIES, "--batch", 4]
RUN += ["--sample", 12, "--seeds", 2]
NOBODY = 65534


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with Forge(tmp_path_factory.mktemp("commands")) as one:
        yield one


@pytest.fixture(scope="module")
def whole(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return the scores of a run that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run.sqlite"
    code, done = forge.run(*RUN, "--store", path)
    assert code == 0, done.stderr
    assert done.stdout == (
        f"scored: 24 (architecture, seed) pairs; 0 were there already\n"
        f"next: archrank report {path}\n"
    )
    assert "24/24" in done.stderr
    frame = scores(path)
    assert len(frame) == 24 * 3
    return frame


def scores(path: Path) -> pd.DataFrame:
    """Everything that the only run of a store holds."""
    with Store(path, writable=False) as store:
        ((run, settings),) = store.runs().items()
        return store.scores(run, Settings(**settings).condition)


def same(first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Return the same rows in the same order; how long they took may differ."""
    costs = ["seconds", "peak_memory"]
    pd.testing.assert_frame_equal(first.drop(columns=costs), second.drop(columns=costs))


def kept(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Every row is as it was, its seconds too: it was not scored again."""
    both = before.merge(after, how="left", indicator=True)
    assert (both["_merge"] == "both").all()


class TestKilled:
    @pytest.mark.slow
    def test_at_any_moment(self, forge: Forge, whole: pd.DataFrame, tmp_path: Path) -> None:
        path = tmp_path / "run.sqlite"
        before, kills = pd.DataFrame(), 0
        while True:
            started = forge.start(*RUN, "--store", path)
            # Each life is a little longer than the one before, so the end is reached.
            time.sleep(0.05 + 0.06 * kills)
            started.kill()
            if forge.wait(started) == 0:
                break
            kills += 1
            if path.exists() and path.stat().st_size:
                now = scores_if_any(path)
                if len(before):
                    kept(before, now)
                before = now
        assert kills >= 3
        code, done = forge.run(*RUN, "--store", path)
        assert code == 0
        assert "scored: 0 (architecture, seed) pairs; 24 were there already" in done.stdout
        after = scores(path)
        kept(before, after)
        same(after, whole)

    @pytest.mark.slow
    def test_with_processes(self, forge: Forge, whole: pd.DataFrame, tmp_path: Path) -> None:
        path = tmp_path / "run.sqlite"
        started = forge.start(*RUN, "--store", path, "--jobs", 2)
        while "\n" not in started.stderr:
            time.sleep(0.02)
        workers = psutil.Process(started.pid).children(recursive=True)
        assert len(workers) >= 2
        started.kill()
        assert forge.wait(started) == -signal.SIGKILL
        before = scores(path)
        assert 0 < len(before) < len(whole)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive
        code, done = forge.run(*RUN, "--store", path)
        assert code == 0, done.stderr
        kept(before, scores(path))
        same(scores(path), whole)

    @pytest.mark.slow
    def test_by_an_interrupt(self, forge: Forge, whole: pd.DataFrame, tmp_path: Path) -> None:
        path = tmp_path / "run.sqlite"
        started = forge.start(*RUN, "--store", path)
        while "\n" not in started.stderr:
            time.sleep(0.005)
        started.kill(signal.SIGINT)
        assert forge.wait(started) == 130
        assert f"interrupted: what was finished is in {path}; run the same" in started.stderr
        assert "Traceback" not in started.stderr
        before = scores(path)
        assert 0 < len(before) < len(whole)
        assert forge.run(*RUN, "--store", path)[0] == 0
        kept(before, scores(path))
        same(scores(path), whole)


def scores_if_any(path: Path) -> pd.DataFrame:
    """Return the scores of a store that may have been killed before its run began."""
    with Store(path) as store:
        return scores(path) if store.runs() else pd.DataFrame()


class TestOneFile:
    def test_of_two_processes(self, forge: Forge, whole: pd.DataFrame, tmp_path: Path) -> None:
        path = tmp_path / "run.sqlite"
        both = [forge.start(*RUN, "--store", path) for _ in range(2)]
        for one in both:
            assert forge.wait(one) == 0, one.stderr
        same(scores(path), whole)

    @pytest.mark.slow
    def test_on_a_full_disk(self, forge: Forge, whole: pd.DataFrame, tmp_path: Path) -> None:
        path = tmp_path / "run.sqlite"
        code, done = forge.run(*RUN, "--store", path, limit=100_000)
        assert code == 1
        error = done.stderr.splitlines()[-1]
        assert error.startswith(f"error: store: {str(path)!r} cannot be written (")
        assert "Everything finished before is kept" in error
        assert "Traceback" not in done.stderr
        before = scores(path)
        assert 0 < len(before) < len(whole)
        assert forge.run(*RUN, "--store", path)[0] == 0
        kept(before, scores(path))
        same(scores(path), whole)

    def test_that_is_read_only(self, forge: Forge) -> None:
        user = NOBODY if os.geteuid() == 0 else None  # root may write anywhere
        folder = Path(tempfile.mkdtemp())
        try:
            path = folder / "run.sqlite"
            assert forge.run(*RUN, "--sample", 2, "--store", path)[0] == 0
            before = scores(path)
            path.chmod(0o444)
            folder.chmod(0o555)
            code, done = forge.run(*RUN, "--store", path, user=user)
            assert code == 2
            assert done.stderr.startswith(f"error: --store: {str(path)!r} cannot be written")
            pd.testing.assert_frame_equal(scores(path), before)
        finally:
            folder.chmod(0o755)
            shutil.rmtree(folder)

    def test_that_is_no_store(self, forge: Forge, tmp_path: Path) -> None:
        code, done = forge.run(*RUN, "--store", tmp_path)
        assert code == 2
        assert done.stderr.startswith("error: --store: ")


def rows_of(work: Work, scored: Scored) -> list[Result]:
    """Return what every proxy says under the only seed."""
    ((_, rows),) = scored.of_every_proxy(work)
    return rows


def scored_alone(arch: str, seed: int, names: tuple[str, ...]) -> list[Result]:
    work = work_on(settings_for("digits", sample=1, batch_size=2), arch, seed, names)
    return rows_of(work, score_work(work))


def works(count: int) -> list[Work]:
    settings = settings_for("digits", sample=count, batch_size=2)
    return [work_on(settings, arch, 0, ("params", "flops")) for arch in sample_of(settings)]


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    first, second, *rest = works(6)
    frail = Mortal.of(first, tmp_path / "frail", deaths=1)
    deadly = Mortal.of(second, tmp_path / "deadly", deaths=99)
    given = [frail, deadly, *rest]
    found = {
        work.candidate.build.arch: rows_of(work, scored)
        for work, scored in in_processes(score_work, given, 2, gave_up)
    }
    assert set(found) == {work.candidate.build.arch for work in (frail, deadly, *rest)}
    for row in found.pop(second.candidate.build.arch):
        assert row.status == "error"
        assert row.value is None
        assert "its process died 2 times" in str(row.reason)
    assert all(row.status == "ok" for rows in found.values() for row in rows)
    assert len(list((tmp_path / "deadly").iterdir())) == 2


@pytest.mark.slow
def test_processes_that_cannot_even_start_are_no_scores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "_serve", stillborn.serve)
    path = tmp_path / "run.sqlite"
    with pytest.raises(InputError, match='if __name__ == "__main__":'):
        benchmark.run(path, "digits", proxies="params", sample=2, jobs=2)
    assert scores(path).empty


class TestWork:
    def test_a_network_that_cannot_be_built(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("no such layer")

        monkeypatch.setattr(space("digits"), "build", broken)
        (work,) = works(1)
        for row in rows_of(work, score_work(work)):
            assert (row.value, row.status) == (None, "error")
            assert row.reason == "RuntimeError: no such layer"

    def test_an_architecture_that_is_none(self) -> None:
        rows = scored_alone("plain:nonsense", 0, ("params", "flops"))
        assert [row.status for row in rows] == ["unsupported"] * 2
        assert "nonsense" in str(rows[0].reason)

    def test_images_that_are_not_here_end_the_run(self, tmp_path: Path) -> None:
        """Or a data folder that was forgotten would be the score of every network."""
        path = tmp_path / "run.sqlite"
        with pytest.raises(InputError, match="nowhere"):
            benchmark.run(path, "digits", proxies="snip", sample=2, data="nowhere")
        assert scores(path).empty

    def test_seeds_and_proxies_asked_for_apart(self) -> None:
        arch = works(1)[0].candidate.name
        names = ("params", "snip", "zico")
        together = scored_alone(arch, 1, names)
        apart = [scored_alone(arch, 1, (name,))[0] for name in names]
        assert [row.value for row in together] == [row.value for row in apart]
        (other,) = scored_alone(arch, 2, ("snip",))
        assert other.value != together[1].value


class TestRun:
    def test_more_adds_only_what_is_missing(self, tmp_path: Path) -> None:
        path, seen = tmp_path / "run.sqlite", []

        def run(**arguments: object) -> benchmark.Outcome:
            seen.clear()
            return benchmark.run(
                path,
                "digits",
                batch_size=2,
                progress=lambda done, total, arch: seen.append(arch),
                **arguments,
            )

        assert run(proxies="params", sample=3).scored == 3
        first = [*seen]
        assert run(proxies="params", sample=5).scored == 2
        assert not {*first} & {*seen}
        assert run(proxies="params,flops", sample=5).scored == 5
        assert run(proxies="flops,params", sample=5, seeds=2).scored == 5
        last = run(proxies="flops", sample=5, seeds=2)
        assert (last.scored, last.total, last.failures) == (0, 10, [])
        with Store(path, writable=False) as store:
            (small, large) = store.runs()
            assert store.sample(large)[:3] == store.sample(small) == first
            condition = Settings(**store.runs()[large]).condition
            assert len(store.scores(large, condition)) == 5 * 2 * 2

    def test_failures_are_counted(self, tmp_path: Path) -> None:
        names = "params,attention_confidence"
        outcome = benchmark.run(tmp_path / "run.sqlite", "digits", proxies=names, sample=12)
        (failure,) = outcome.failures
        assert failure.proxy == "attention_confidence"
        assert 0 < failure.count < 12
        assert failure.reason == "the model has no attention"

    def test_samples_are_seeded(self) -> None:
        def drawn(seed: int) -> list[str]:
            return sample_of(settings_for("digits", sample=20, sample_seed=seed))

        assert drawn(0) == drawn(0) != drawn(1)
        assert len({*drawn(0)}) == 20

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"space": "digit"}, "digit"),
            ({"task": "mnist"}, "task: got 'mnist'"),
            ({"table": "nasbench201"}, "table: got 'nasbench201'"),
            ({"proxies": "snipp"}, "snip"),
            ({"sample": 0}, "sample: got 0"),
            ({"sample": 901}, "has 900 labels"),
            ({"sample_seed": -1}, "sample_seed: got -1"),
            ({"seeds": 0}, "seeds: got 0"),
            ({"jobs": 0}, "jobs: got 0"),
            ({"device": "warp"}, "device"),
            ({"engine": "slurm"}, "engine: got 'slurm'"),
            ({"engine": "ray", "device": "cuda"}, "device: got 'cuda'"),
            ({"address": "here:1"}, "address: got 'here:1'"),
        ],
    )
    def test_errors(self, arguments: dict[str, object], said: str, tmp_path: Path) -> None:
        path = tmp_path / "run.sqlite"
        with pytest.raises(InputError, match=said):
            benchmark.run(**{"store": path, "space": "digits", "sample": 1, **arguments})
        assert not path.exists()
