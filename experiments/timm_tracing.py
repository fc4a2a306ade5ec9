"""Trace every model of timm and write what came of it.

Models are made on the meta device, so no weight is allocated. Each result is a line of a file of
JSON lines; a run that was cut goes on where it was.

    python experiments/timm_tracing.py --log timm.jsonl --out experiments/results/timm_tracing.md
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from archrank.errors import ArchrankError
from archrank.files import written_whole
from archrank.graphs import trace


def traced(name: str) -> dict[str, Any]:
    """Trace one model: seconds, sizes, what is unknown, or why it failed."""
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    shape = model.default_cfg.get("input_size", (3, 224, 224))
    start = time.process_time()
    try:
        graph = trace(model, shape)
    except ArchrankError as error:
        return {"name": name, "failed": str(error)}
    return {
        "name": name,
        "module": type(model).__module__.rpartition(".")[2],
        "seconds": time.process_time() - start,
        "nodes": len(graph),
        "params": graph.params,
        "right": graph.params == sum(p.numel() for p in model.parameters()),
        "flops": graph.product_flops,
        "exact": graph.exact,
        "unknown": graph.unknown_operators,
    }


def run(log: Path) -> None:
    """Trace what the log lacks, model by model."""
    done = {row["name"] for row in rows(log)}
    with log.open("a") as file:
        for name in timm.list_models():
            if name not in done:
                file.write(json.dumps(traced(name)) + "\n")
                file.flush()


def rows(log: Path) -> list[dict[str, Any]]:
    """Read the log, whose last line may have been cut."""
    if not log.exists():
        return []
    text = log.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def page(found: list[dict[str, Any]]) -> str:
    """Return the results as a page."""
    good = [row for row in found if "failed" not in row]
    seconds = np.array([row["seconds"] for row in good])
    slowest = max(good, key=lambda row: row["seconds"])
    unknown = sorted({operator for row in good for operator in row["unknown"]})
    facts = {
        "models": len(found),
        "traced": len(good),
        "parameters equal to the model's own": sum(row["right"] for row in good),
        "by shapes alone (`graph.exact`)": sum(row["exact"] for row in good),
        "models with unknown operators": sum(bool(row["unknown"]) for row in good),
        "unknown operators": ", ".join(unknown) or "none",
        "implementations (modules of timm)": len({row["module"] for row in good}),
        "median of CPU seconds": f"{np.median(seconds):.2f}",
        "95 % are below": f"{np.quantile(seconds, 0.95):.2f}",
        "slowest": f"{slowest['name']}, {slowest['seconds']:.1f}",
        "largest graph": f"{max(row['nodes'] for row in good):,} nodes",
    }
    lines = [
        "# Tracing all models of timm",
        "",
        f"timm {timm.__version__}, torch {torch.__version__}, one thread.",
        "Written by `experiments/timm_tracing.py`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
    ]
    failed = [row for row in found if "failed" in row]
    if failed:
        lines += ["", "## Not traced", "", *(f"- {r['name']}: {r['failed']}" for r in failed)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the arguments, trace, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="Results, one JSON line each.")
    parser.add_argument("--out", type=Path, help="Where to write the page.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    run(options.log)
    if options.out is not None:
        with written_whole(options.out) as partial:
            partial.write_text(page(rows(options.log)))


if __name__ == "__main__":
    main()
