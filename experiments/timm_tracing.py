"""Trace every model of timm and write the results.

Models are made on the meta device, so no weights are allocated. Results are lines of a JSON-lines
file; a run that was stopped continues where it was.

    python experiments/timm_tracing.py --log timm.jsonl --out experiments/results/timm_tracing.md
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from common import Lines, made_by, markdown_table, parser, write_page

from archrank.errors import ArchrankError
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


def run(log: Lines) -> None:
    """Trace what the log lacks, model by model."""
    for one in log.missing([{"name": name} for name in timm.list_models()]):
        log.append(traced(one["name"]))


def page(found: list[dict[str, Any]]) -> list[str]:
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
        made_by("timm_tracing.py --log FILE", also=f"timm {timm.__version__}, one thread"),
        "",
        *markdown_table(("", ""), facts.items()),
    ]
    failed = [row for row in found if "failed" in row]
    if failed:
        lines += ["", "## Not traced", "", *(f"- {r['name']}: {r['failed']}" for r in failed)]
    return lines


def main() -> None:
    """Parse the arguments, trace, write."""
    options = parser(__doc__)
    options.add_argument("--log", type=Path, required=True, help="results, one JSON line each")
    options.add_argument("--out", type=Path, help="where to write the page")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    log = Lines(arguments.log)
    run(log)
    if arguments.out is not None:
        write_page(arguments.out, page(log.read()))


if __name__ == "__main__":
    main()
