"""The embedded benchmark: what its labels mean, that they can be made again, what they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from archrank.data import space, table
from archrank.data.digits import protocol
from archrank.data.digits.label import FACTS, TABLE, architectures, finished, label, run
from archrank.data.spaces.digits.families import FAMILIES
from archrank.errors import InputError

QUICK = "plain:width=4,grow=1,depth1=1,depth2=1,kernel=1,norm=off,act=relu"


class TestProtocol:
    def test_the_split_is_balanced_and_fixed(self) -> None:
        train, test = protocol.split()
        assert len(train) == 500
        assert len(test) == 1_297
        assert not set(train.tolist()) & set(test.tolist())
        _, targets = protocol._digits()
        assert torch.bincount(targets[train]).tolist() == [50] * 10

    def test_distortions(self) -> None:
        images, _ = protocol._digits()
        moved = protocol.distorted(images[:50], torch.Generator().manual_seed(0))
        assert moved.shape == (50, 1, 8, 8)
        still = protocol.Protocol(rotation=0, scale=0, shear=0, shift=0, noise=0)
        same = protocol.distorted(images[:50], torch.Generator().manual_seed(0), still)
        torch.testing.assert_close(same, images[:50])

    def test_training_teaches(self) -> None:
        torch.manual_seed(0)
        network = space("digits").build(
            "plain:width=16,grow=2,depth1=2,depth2=1,kernel=3,norm=bn,act=relu"
        )
        assert protocol.train(network, 0) > 60


def labelled(*seeds: int) -> list[float]:
    threads = torch.get_num_threads()
    try:
        return [label(QUICK, seed)["accuracy"] for seed in seeds]
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


def test_a_label_can_be_made_again_to_the_digit() -> None:
    first, second = labelled(1, 1)
    assert first == second


SCRIPT = f"""
from pathlib import Path
from archrank.data.digits.label import run
if __name__ == "__main__":
    run(Path("labels.jsonl"), [({QUICK!r}, seed) for seed in range(3)], jobs=2)
"""


def accuracies(path: Path) -> dict[tuple[str, int], float]:
    return {key: row["accuracy"] for key, row in finished(path).items()}


@pytest.mark.slow
def test_killed_and_started_again(tmp_path: Path) -> None:
    """Kill -9 after the second result: nothing is lost, nothing is done twice."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    out = tmp_path / "labels.jsonl"
    process = subprocess.Popen(
        command, cwd=out.parent, stdout=subprocess.DEVNULL, start_new_session=True
    )
    while not out.exists() or out.read_text().count("\n") < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = out.read_text()
    out.write_text(before + '{"arch": "cut o')  # as a kill in the middle of a line leaves it
    run(out, [(QUICK, seed) for seed in range(3)], jobs=1)
    assert out.read_text().startswith(before)
    assert out.read_text().count("\n") == 4
    assert [accuracies(out)[QUICK, seed] for seed in range(3)] == labelled(0, 1, 2)


def test_another_protocol_s_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"protocol": {}}) + "\n")
    with pytest.raises(InputError, match="another protocol"):
        finished(path)


class TestTable:
    def test_size_and_families(self) -> None:
        frame = pd.read_parquet(TABLE)
        assert TABLE.stat().st_size < 1_000_000
        assert len(frame) == frame.arch.nunique() >= 800
        assert set(frame.family) == set(FAMILIES)
        assert frame.family.value_counts().min() >= 80
        assert frame.notna().all().all()
        facts = json.loads(FACTS.read_text())
        assert facts["protocol"] == protocol.PROTOCOL.facts()
        assert facts["machine"]
        assert facts["command"]

    def test_the_networks_are_those_of_the_script(self) -> None:
        assert architectures(per_family=3)[:3] == pd.read_parquet(TABLE).arch[:3].tolist()

    def test_figures_are_the_graphs_own(self) -> None:
        digits = space("digits")
        frame = pd.read_parquet(TABLE)
        for row in frame.iloc[::60].itertuples():
            graph = digits.graph(str(row.arch))
            assert (graph.params, graph.product_flops) == (row.params, row.flops)

    def test_noise_ceiling(self) -> None:
        ceiling = table("digits").noise_ceiling()
        assert ceiling is not None
        assert ceiling.between >= 0.6
        assert ceiling.seeds == 3

    def test_one_label_once_more(self) -> None:
        """Other processors round otherwise, so a few points of accuracy may differ."""
        frame = pd.read_parquet(TABLE).sort_values("train_seconds")
        row = frame.iloc[0]
        threads = torch.get_num_threads()
        try:
            again = label(row.arch, 0)["accuracy"]
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(False)
        assert again == pytest.approx(row.accuracy_seed0, abs=6)
