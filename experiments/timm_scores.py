"""Score the two smallest models of every implementation of timm with every proxy.

Each status should be "ok" or "not applicable". GradSign in double precision should equal a loop
over samples, which is its definition. Images have the least size of ``SIZES`` that the model takes.
Results are lines of a JSON-lines file; a run that was stopped continues where it was.

    python experiments/timm_scores.py --log FILE --out experiments/results/timm_scores.md
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import Lines, made_by, markdown_table, parser, write_page
from torch import Tensor, nn

import archrank
from archrank.errors import ArchrankError
from archrank.graphs import Graph, trace
from archrank.graphs.operators import WEIGHTED
from archrank.vision import import_vision

timm = import_vision("timm")

PER_MODULE = 2
SAMPLES = 2
SIZES = (64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)
GOOD = {"ok", "not applicable"}


def built(name: str, **options: Any) -> nn.Module:
    """Build a model of timm, by the seed."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timm.create_model(name, pretrained=False, **options)


def smallest(module: str) -> list[tuple[int, str]]:
    """Return the models of an implementation with the fewest parameters, one for each number."""
    sizes: dict[int, str] = {}
    for name in timm.list_models(module=module):
        with torch.device("meta"):
            model = built(name)
        sizes.setdefault(sum(p.numel() for p in model.parameters()), name)
    return sorted(sizes.items())[:PER_MODULE]


def planned(log: Lines) -> list[dict[str, Any]]:
    """Return the models to score, the smallest first; found once."""
    for module in timm.models.list_modules():
        if not log.read(planned=module):
            log.append({"planned": module, "models": smallest(module)})
    sized = [(*model, line["planned"]) for line in log.read() if "planned" in line
             for model in line["models"]]  # fmt: skip
    return [{"module": module, "name": name} for _, name, module in sorted(sized)]


def sized(name: str) -> tuple[dict[str, Any], int, Graph]:
    """Return the options and the size of the smallest images that a model takes, and its graph.

    Raises:
        ArchrankError: it takes none of ``SIZES``.
    """
    for size in SIZES:
        for options in ({"img_size": size}, {}):
            # what a constructor or a forward raises on a size that it cannot have
            with suppress(TypeError, ValueError, AssertionError, RuntimeError, ArchrankError):
                with torch.device("meta"):
                    model = built(name, **options)
                return options, size, trace(model, (3, size, size))
    raise ArchrankError(f"{name} takes images of none of the sizes {SIZES}")


def looped(model: nn.Module, graph: Graph, images: Tensor, targets: Tensor) -> float:
    """Return GradSign by its definition: a forward and a backward of each sample alone."""
    known = dict(model.named_parameters())
    used = {
        name
        for node in graph.nodes
        if node.operator in WEIGHTED - {"embedding"}
        for name in node.parameters
    }
    weights = [p for n, p in known.items() if n in used and p.dim() > 1]
    sums = [torch.zeros_like(weight) for weight in weights]
    for i in range(len(images)):
        output = model(images[i : i + 1])
        logits = output if isinstance(output, Tensor) else output[0]
        loss = F.cross_entropy(logits, targets[i : i + 1])
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        for total, gradient in zip(sums, found, strict=True):
            if gradient is not None:
                total += gradient.sign()
    return float(sum(total.abs().sum() for total in sums))


def by_loop(model: nn.Module, graph: Graph, size: int) -> dict[str, float | None]:
    """Return GradSign in double precision, and what the loop gives."""
    model = model.double().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_prob"):  # of stochastic depth
            module.drop_prob = 0.0
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, 3, size, size, generator=generator, dtype=torch.float64)
    targets = torch.arange(SAMPLES)
    scores = archrank.score(model, images, targets, proxies="gradsign", graph=graph)
    found: dict[str, float | None] = {"batched": scores["gradsign"].value, "looped": None}
    if found["batched"] is not None:
        found["looped"] = looped(model, graph, images, targets)
    return found


def scored(name: str, largest: float, proxies: str = "all") -> dict[str, Any]:
    """Score one model: what every proxy came to, GradSign by the loop, seconds.

    Raises:
        ArchrankError: it has more parameters than ``largest``.
    """
    start = time.process_time()
    options, size, graph = sized(name)
    if graph.params > largest:
        raise ArchrankError(f"{graph.params / 1e6:.0f} million parameters are too many here")
    model = built(name, **options)
    scores = archrank.score(
        model, (3, size, size), proxies=proxies, batch_size=SAMPLES, graph=graph
    )
    return {
        "size": size,
        "params": graph.params,
        "results": {n: [r.value, r.status, r.reason] for n, r in scores.items()},
        **by_loop(model, graph, size),
        "seconds": time.process_time() - start,
    }


def run(log: Lines, largest: float) -> None:
    """Score what the log lacks, model by model."""
    for key in log.missing(planned(log)):
        try:
            log.keep(key, **scored(key["name"], largest))
        except ArchrankError as error:
            log.keep(key, failed=str(error))


def _agrees(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-3 * other


_WHY = [
    "Batch norm over one sample has mean zero. A gate that averages behind it reads zero but for",
    "rounding, which decides whether its units are on (ghostnet, repghostnet, legacy_seresnet). So",
    "does a classifier that averages behind it (convmixer), and weights whose gradient is zero but",
    "for rounding get its sign (cspnext, csatv2, fastvit, mobilevit, pnasnet, vovnet).",
    "Standardised weights (nfnet, nf_regnet) are scored as their folded twins, of which the loop",
    "knows nothing. Before tokens, torch's batch norm misreads the gradient of a single sample in",
    "the loop (efficientformer).",
]


def page(found: list[dict[str, Any]], planned: int) -> list[str]:
    """Return the results as a page.

    Args:
        found: lines of models.
        planned: how many there are in all, of which the smaller ones come first.
    """
    rows = [row for row in found if "results" in row]
    statuses = Counter(status for row in rows for _, status, _ in row["results"].values())
    loops = [(row["batched"], row["looped"]) for row in rows if row["looped"] is not None]
    same = sum(_agrees(one, other) for one, other in loops)
    facts = {
        "implementations (modules of timm)": len({row["module"] for row in found}),
        "models scored, the smallest first": f"{len(rows)} of {planned}",
        "parameters, at most": f"{max(row['params'] for row in rows) / 1e6:.1f} million",
        "proxies": max(len(row["results"]) for row in rows),
        **{f"results that are {status!r}": count for status, count in statuses.most_common()},
        "GradSign within 0.1 % of its loop over samples": f"{same} of {len(loops)}",
        "CPU hours": f"{sum(row['seconds'] for row in rows) / 3600:.1f}",
    }
    command = "timm_scores.py --log FILE"
    lines = [
        "# Scoring models of every implementation of timm",
        "",
        made_by(command, also=f"timm {timm.__version__}, one thread"),
        "",
        *markdown_table(("", ""), facts.items()),
    ]
    left = [row for row in found if "failed" in row]
    if left:
        lines += ["", "## Not scored", "", *(f"- {row['name']}: {row['failed']}" for row in left)]
    bad = Counter(
        (row["name"], f"{status}: {reason}")
        for row in rows
        for _, status, reason in row["results"].values()
        if status not in GOOD
    )
    if bad:
        cells = [(name, reason, count) for (name, reason), count in bad.items()]
        lines += ["", "## Neither", "", *markdown_table(("model", "reason", "proxies"), cells)]
    apart = [row for row in rows if row["looped"] and not _agrees(row["batched"], row["looped"])]
    if apart:
        lines += ["", "## GradSign apart from its loop", "", *_WHY, ""]
        lines += [
            f"- {row['name']}: {row['batched']:.0f}, by the loop {row['looped']:.0f}"
            for row in apart
        ]
    return lines


def main() -> None:
    """Parse the arguments, score, write."""
    options = parser(__doc__)
    options.add_argument("--log", type=Path, required=True, help="results, one JSON line each")
    options.add_argument("--largest", type=float, default=40e6, help="parameters, of a model")
    options.add_argument("--tables", action="store_true", help="write the page, score nothing")
    options.add_argument("--out", type=Path, help="where to write the page")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    log = Lines(arguments.log)
    if not arguments.tables:
        run(log, arguments.largest)
    if arguments.out is not None:
        found = [row for row in log.read() if "name" in row]
        write_page(arguments.out, page(found, len(planned(log))))


if __name__ == "__main__":
    main()
