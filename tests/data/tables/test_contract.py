"""Tables against facts that are known about their benchmarks."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archrank.data.tables import Table, Task, sets_of, table, tables
from archrank.errors import InputError

# rows, first task, rows with a label of it, best label
FACTS = {
    "digits": (900, "digits", 900, 82.472),
    "nasbench201": (15_625, "cifar10", 15_625, 94.373),
    "nasbench201_extra": (199, "svhn", 199, 96.750),
    "nats_sss": (32_768, "cifar10@90", 32_768, 93.65),
    "nasbench101": (500, "cifar10", 500, 94.712),
    "nasbench101_10k": (10_000, "cifar10", 10_000, 0.94882),
    "ec_nas": (2_532, "cifar10@4", 2_532, 0.7632),
    "nasbench301": (924, "cifar10", 725, 94.489),
    "transnas101_micro": (4_096, "class_scene", 4_096, 54.936),
    "transnas101_micro_extra": (192, "svhn", 192, 96.466),
    "transnas101_macro": (3_256, "class_scene", 3_256, 57.414),
    "nas_bench_macro": (6_561, "cifar10", 6_561, 93.127),
    "accel_nasbench": (5_125, "imagenet", 5_125, 67.052),
    "ofa_mobilenetv3": (2_162, "imagenet", 2_162, 77.466),
    "enas": (20_015, "cifar10", 20_015, 0.750),
    "gpt": (10_000, "perplexity", 10_000, 41.919),
    "flexibert": (491, "glue", 490, 75.13),
    "nasbench_graph": (26_206, "cora", 26_206, 0.8313),
    "graphgym": (96, "cora", 96, 0.8846),
    "graphgym_random": (3_306, "cora", 107, 0.8858),
    "help_fbnet": (5_000, None, 0, None),
    "help_ofa": (5_000, None, 0, None),
    "hat": (15_945, None, 0, None),
    "imagenet_zoo": (1_182, "imagenet", 1_182, 89.41),
    "nnmeter_nb201": (2_000, None, 0, None),
    "imagenet_zoo_speed": (1_247, None, 0, None),
}


def test_every_table_is_tested() -> None:
    assert set(FACTS) == set(tables())


@pytest.mark.parametrize("name", FACTS)
def test_facts(name: str, published: Path) -> None:
    rows, task, known, best = FACTS[name]
    found = table(name)
    assert len(found) == rows
    assert found.architectures.is_unique
    assert found.licence
    assert all(isinstance(architecture, str) for architecture in found.architectures)
    if task is None:
        assert not found.tasks
        assert found.hardware.notna().any().all()
    else:
        assert next(iter(found.tasks)) == task
        assert int(found.labels().notna().sum()) == known
        assert found.labels().max() == pytest.approx(best, abs=1e-3)
    for one in found.tasks:
        labels = found.labels(one)
        assert labels.notna().any()
        assert np.isfinite(labels.dropna()).all()
    for frame in (found.costs, found.hardware, found.proxies):
        assert frame.index.equals(found.architectures)
        values = frame.to_numpy(dtype=float)
        assert not np.isinf(values).any()
        assert not (values == -1e8).any()
        assert frame.notna().any().all()
    assert set(found.definitions) == set(found.costs)
    assert set(found.units) == set(found.hardware)


def test_nasbench201_seeds_and_ceiling(published: Path) -> None:
    found = table("nasbench201")
    assert found.seeds("cifar10").shape == (15_625, 3)
    ceiling = found.noise_ceiling("cifar10")
    assert ceiling is not None
    assert (ceiling.seeds, ceiling.architectures) == (3, 7_961)
    assert ceiling.between == pytest.approx(0.909, abs=5e-4)
    assert ceiling.to_mean == pytest.approx(0.948, abs=1e-3)
    assert found.seeds("cifar100").shape == (15_625, 1)
    assert found.noise_ceiling("cifar100") is None


def test_nas_bench_macro_ceiling(published: Path) -> None:
    found = table("nas_bench_macro")
    ceiling = found.noise_ceiling()
    assert ceiling is not None
    assert ceiling.between == pytest.approx(0.88, abs=5e-3)
    np.testing.assert_allclose(found.labels(), found.seeds().mean(axis=1))


def test_second_measurements_and_contexts(published: Path) -> None:
    zoo = table("imagenet_zoo")
    agreement = zoo.agreement()
    assert agreement == pytest.approx({"imagenet-real": 0.892, "imagenet-v2": 0.913}, abs=5e-4)
    once = zoo.context.drop_duplicates(["model", "tag"]).index  # one size of each checkpoint
    both = pd.DataFrame({name: zoo.labels(name)[once] for name in ("imagenet", "imagenet-v2")})
    assert len(once) == 943
    assert both.corr("kendall").iloc[0, 1] == pytest.approx(0.942, abs=5e-4)
    row = zoo["resnet50.a1_in1k@224"]
    assert (row["model"], row["tag"], row["img_size"]) == ("resnet50", "a1_in1k", 224)
    assert row["family"] == "resnetish"
    assert row["imagenet"] == zoo.lookup("resnet50.a1_in1k@224")
    assert table("nasbench101_10k").agreement() == pytest.approx({"cifar10@36": 0.694}, abs=5e-4)
    assert table("nasbench201").agreement() == {}
    assert table("nasbench201").context.shape == (15_625, 0)


def test_published_costs(published: Path) -> None:
    """Figures that were rebuilt independently."""
    row = table("nasbench201")[
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    ]
    assert row["params"] == 129_306
    assert row["macs"] == pytest.approx(15_647_360, rel=1e-7)
    assert row["cifar10"] == pytest.approx(85.8633, abs=1e-3)
    assert row["edgegpu_latency/cifar10"] == pytest.approx(5.807, abs=1e-3)
    assert row["cifar10/synflow"] == pytest.approx(46.361, abs=1e-3)
    assert table("nasbench101").costs["params"].iloc[:4].tolist() == [
        4_095_778,
        1_749_031,
        4_518_282,
        882_570,
    ]
    assert table("nas_bench_macro")["02012100"]["macs"] == 47_327_744
    assert table("transnas101_micro")["64-41414-1_00_210"]["params/class_scene"] == 910_687
    assert table("transnas101_macro")["64-1242-basic"]["params/class_scene"] == 11_218_783
    graph = table("nasbench_graph").costs["params/cora"]
    assert graph["0,1,2,3:gcn,gcn,gcn,gcn"] == 634_119
    assert graph["0,1,2,3:skip,skip,skip,fc"] == 436_743
    energy = table("ec_nas").costs["params"]
    assert energy["01/00:"] == 882_570
    assert energy["0100/0010/0001/0000:conv1x1,conv3x3"] == 11_215_242
    assert table("gpt").costs["params"].iloc[:2].tolist() == [28_029_696, 27_795_072]
    assert table("ofa_mobilenetv3").costs["macs"].iloc[0] == 255_502_624


def test_the_codes_of_two_sets_meet(published: Path) -> None:
    """The tuple of the zero-cost study and the official string name the same networks."""
    main, extra = table("nasbench201"), table("nasbench201_extra")
    assert set(extra.architectures) <= set(main.architectures)
    both = main.costs["params"].reindex(extra.architectures)
    assert (both == extra.costs["params/svhn"]).all()


def test_phones_agree_on_cells(published: Path) -> None:
    """The index of nn-Meter's set is the official one: its latencies follow multiply-adds."""
    latency = table("nnmeter_nb201").hardware
    macs = table("nasbench201").costs["macs"][latency.index]
    assert len(latency) == 2_000
    assert latency.corrwith(macs, method="spearman").min() > 0.8


def test_repeated_rows(published: Path) -> None:
    accel = table("accel_nasbench").seeds("imagenet")
    assert accel.shape == (5_125, 2)
    assert int(np.isfinite(accel).all(axis=1).sum()) == 13
    assert table("ofa_mobilenetv3").seeds().shape == (2_162, 1)
    energy = table("ec_nas")
    assert energy.seeds("cifar10@108").shape == (2_532, 3)
    assert int(energy.labels("cifar10@108").notna().sum()) == 91
    bert = table("flexibert")
    assert (bert.seeds("rte") != 0).all()


def test_directions_and_kinds_of_labels(published: Path) -> None:
    gpt = table("gpt")
    assert (gpt.tasks["perplexity"].direction, gpt.tasks["accuracy"].direction) == (-1, 1)
    assert "energy_cpu_p100" not in gpt.hardware  # all zero: never measured
    kinds = {name: {task.label for task in table(name).tasks.values()} for name in tables()}
    assert kinds["gpt"] == kinds["enas"] == kinds["ofa_mobilenetv3"] == {"weight-shared"}
    assert kinds["nasbench301"] == {"surrogate", "trained"}
    assert kinds["nasbench201"] == {"trained"}


def test_errors_name_near_matches(published: Path) -> None:
    found = table("nats_sss")
    with pytest.raises(InputError, match="did you mean 'cifar10@90'"):
        found.labels("cifar10")
    with pytest.raises(InputError, match="'64:64:56:64:24'"):
        found.lookup("64:64:56:64:25")
    with pytest.raises(InputError, match="did you mean 'nasbench201"):
        table("nasbench-201")
    with pytest.raises(InputError, match="no labels, only hardware"):
        table("hat").labels()
    assert "64:64:56:64:24" in found
    assert found.lookup("64:64:56:64:24") == pytest.approx(found["64:64:56:64:24"]["cifar10@90"])


def test_without_data(tmp_path: Path) -> None:
    for name in set(tables()) - {"digits"}:  # comes with the package
        with pytest.raises(InputError, match=f"archrank data fetch {name}"):
            table(name, tmp_path)
    assert len(table("digits", tmp_path)) == 900
    with pytest.raises(InputError, match="expected one of"):
        sets_of("nosuch")


def test_tables_travel_to_worker_processes(published: Path) -> None:
    found = table("nasbench201_extra")
    again = pickle.loads(pickle.dumps(found))
    assert again.labels("svhn").equals(found.labels("svhn"))


def test_own_tables() -> None:
    frame = pd.DataFrame(
        {"a": [1.0, np.nan, -np.inf], "b": [3.0, 2.0, -1e8], "p": [1, 2, 3]}, index=list("xyz")
    )
    mine = Table.from_frame("mine", frame, [Task("acc", "%", runs=("a", "b"))], costs=["p"])
    labels = mine.labels("acc")
    assert labels.iloc[:2].tolist() == [2.0, 2.0]
    assert np.isnan(labels["z"])
    assert mine["x"] == {"architecture": "x", "acc": 2.0, "p": 1.0}
    assert mine.noise_ceiling() is None
    with pytest.raises(InputError, match="'x' repeats"):
        Table.from_frame("mine", frame.loc[["x", "x"]], [])
    with pytest.raises(InputError, match="no column 'acc'"):
        Table.from_frame("mine", frame, [Task("acc", "%")])


def test_nasbench201_loads_in_a_second_and_300_mb(published: Path) -> None:
    code = (
        "import time, resource; start = time.perf_counter()\n"
        "from archrank.data.tables import table\n"
        "import archrank.data.tables.catalogue, pyarrow.parquet\n"  # imports are not loading
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "start = time.perf_counter()\n"
        "found = table('nasbench201')\n"
        "[found.labels(task) for task in found.tasks], found.seeds(), found.costs\n"
        "found.hardware, found.proxies\n"
        "print(time.perf_counter() - start)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    best = np.inf
    for _ in range(3):  # other work may share the machine
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seconds, memory = map(float, done.stdout.split())
        best = min(best, seconds)
        if best < 1:
            break
    unit = 1 if sys.platform == "darwin" else 1024
    assert best < 1
    assert memory * unit < 300e6
