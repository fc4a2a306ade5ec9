"""Make the labels of the embedded benchmark: ``python -m archrank.data.digits.label --jobs 2``.

Each finished training is one line of a file beside the table, so a restarted script continues. When
all trainings are finished, it writes the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...files import written_whole
from ..spaces import space
from ..spaces.digits.families import FAMILIES
from ..spaces.digits.space import Digits
from .protocol import PROTOCOL, train

SEEDS = (0, 1, 2)
PER_FAMILY = 90
SAMPLE_SEED = 20261123
TABLE = Path(__file__).with_name("digits.parquet")
FACTS = Path(__file__).with_name("digits.json")


def architectures(per_family: int = PER_FAMILY, seed: int = SAMPLE_SEED) -> list[str]:
    """Return the networks of the benchmark, equally many of each family, all with different
    graphs."""
    digits = space("digits")
    assert isinstance(digits, Digits)
    seen: set[str] = set()

    def fresh(family: str) -> Iterator[str]:
        rng = random.Random(f"{seed} {family}")
        while True:
            arch = digits.draw_from(family, rng)
            key = digits.graph(digits.canonical(arch)).hash
            if key not in seen:
                seen.add(key)
                yield arch

    return [arch for family in FAMILIES for arch in islice(fresh(family), per_family)]


def label(arch: str, seed: int) -> dict[str, Any]:
    """Build, train and test one network; the result is the same on every run of one machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    network = space("digits").build(arch)
    start = time.process_time()
    accuracy = train(network, seed)
    seconds = time.process_time() - start
    return {"arch": arch, "seed": seed, "accuracy": accuracy, "seconds": round(seconds, 3)}


def finished(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the results that earlier runs wrote, without a last line that was cut off."""
    if not path.exists():
        return {}
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        with written_whole(path) as partial:
            partial.write_text(whole)
    rows = [json.loads(line) for line in whole.splitlines()]
    if rows and rows[0] != _heading():
        raise InputError(
            f"out: {str(path)!r} was made by another protocol or sample; name another file"
        )
    return {(row["arch"], row["seed"]): row for row in rows[1:]}


def _heading() -> dict[str, Any]:
    return {
        "protocol": PROTOCOL.facts(),
        "per_family": PER_FAMILY,
        "sample_seed": SAMPLE_SEED,
        "torch": torch.__version__.partition("+")[0],
    }


def run(
    path: Path, work: list[tuple[str, int]], jobs: int
) -> dict[tuple[str, int], dict[str, Any]]:
    """Train the unfinished networks, ``jobs`` at a time, and write each result at once.

    Args:
        path: the file of results, with one line for each finished training.
        work: (architecture, seed) of all wanted trainings.
        jobs: the number of processes, with one thread each.
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    done = finished(path)
    todo = [job for job in work if job not in done]
    with path.open("a") as file, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        if not path.stat().st_size:
            _write(file, _heading())
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as progress:
            task = progress.add_task("training", total=len(todo) + len(done), completed=len(done))
            for future in as_completed([pool.submit(label, *job) for job in todo]):
                row = future.result()
                done[row["arch"], row["seed"]] = row
                _write(file, row)
                progress.advance(task)
    return done


def _write(file: Any, row: dict[str, Any]) -> None:
    file.write(json.dumps(row) + "\n")
    file.flush()
    os.fsync(file.fileno())


def write_table(rows: dict[tuple[str, int], dict[str, Any]]) -> None:
    """Write the table (parquet) and its facts (JSON), each whole or not at all."""
    import pandas as pd

    digits = space("digits")
    records = []
    for arch in architectures():
        graph = digits.graph(arch)
        own = [rows[arch, seed] for seed in SEEDS]
        records.append(
            {
                "arch": arch,
                "family": arch.partition(":")[0],
                **{f"accuracy_seed{row['seed']}": row["accuracy"] for row in own},
                "params": graph.params,
                "flops": graph.product_flops,
                "activations": graph.activations,
                "train_seconds": round(sum(row["seconds"] for row in own) / len(own), 3),
            }
        )
    facts = {
        **_heading(),
        "seeds": list(SEEDS),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, one core per training, CPU seconds",
        "python": platform.python_version(),
        "command": "python -m archrank.data.digits.label --jobs 2",
    }
    partial = TABLE.with_name(TABLE.name + ".partial")
    pd.DataFrame(records).to_parquet(partial, index=False)
    partial.replace(TABLE)
    FACTS.write_text(json.dumps(facts, indent=2) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "CPU")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("digits_labels.jsonl"))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    work = [(arch, seed) for seed in SEEDS for arch in architectures()]
    rows = run(arguments.out, work, arguments.jobs)
    write_table(rows)
    print(f"{TABLE}: {len(rows)} trainings")


if __name__ == "__main__":
    main()
