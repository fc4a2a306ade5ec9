"""What single precision does to each proxy, and what of it is the network's own doing.

A few networks are scored by every proxy in single and in double precision, and in double once more
with weights and inputs that are moved by about as much as single precision rounds them. If the
second difference is about as large as the first, the network amplifies rounding, and no other
arithmetic of the proxy would help. The page lists the proxies of which a difference is beyond
1e-4. A run that was stopped continues where it was.

    python experiments/precision.py
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write
from torch import Tensor, nn

from archrank import data, proxies
from archrank.proxies import score
from archrank.vision import import_vision

MODELS = (
    *("resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224", "convnext_atto"),
    *("nasbench201/0", "nasbench201/1", "nasbench301/0", "transnas101_macro/0"),
)
WAYS = ("single", "double", "moved")
SIZES = {"nasbench201": 32, "nasbench301": 32}
SIZE, SAMPLES, BATCHES = 64, 8, 2
ROUNDING = 6e-8  # half the distance between numbers of single precision
SHOWN = 1e-4
LOG = Lines(STORES / "precision.jsonl")
PAGE = RESULTS / "precision.md"


def network(name: str) -> tuple[nn.Module, int]:
    """Return a network in its first weights, and the size of its images."""
    torch.manual_seed(0)
    space, _, index = name.partition("/")
    if index:
        opened = data.space(space)
        return opened.build(opened.sample(2, 0)[int(index)]), SIZES.get(space, SIZE)
    sized = {"img_size": SIZE} if name.startswith("vit") else {}
    model: nn.Module = import_vision("timm").create_model(name, num_classes=10, **sized)
    return model, SIZE


def measure() -> None:
    """Score what no line holds."""
    for key in LOG.missing([{"model": model, "way": way} for model in MODELS for way in WAYS]):
        model, size = network(str(key["model"]))
        generator = torch.Generator().manual_seed(0)
        shape = (SAMPLES, 3, size, size)
        images = [torch.randn(shape, generator=generator) for _ in range(BATCHES)]
        with torch.no_grad():
            classes = copy.deepcopy(model).eval()(images[0][:1]).shape[1]
        if key["way"] != "single":
            model, images = model.double(), [x.double() for x in images]
        if key["way"] == "moved":
            images = [moved(x, generator) for x in images]
            for parameter in model.parameters():
                parameter.data = moved(parameter.data, generator)
        targets = torch.arange(SAMPLES) % classes
        found = score(model.train(), [(x, targets) for x in images], proxies="all")
        LOG.keep(key, scores={name: [r.value, r.status] for name, r in found.items()})


def moved(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return numbers that differ by about what single precision rounds off."""
    return tensor * (1 + ROUNDING * torch.randn(tensor.shape, generator=generator).to(tensor))


def tables() -> Sequence[str]:
    """Return the lines of the page."""
    scores = {(line["model"], line["way"]): line["scores"] for line in LOG.read()}
    rows, alike = [], []
    for name in (proxy.name for proxy in proxies.list()):
        found = []
        for model in MODELS:
            one, other, third = (scores[model, way].get(name, [None, ""]) for way in WAYS)
            if other[0] is not None:
                found.append((difference(one, other), difference(third, other), model))
        if found and max(single for single, _, _ in found) > SHOWN:
            largest = max(found)
            within = sum(single <= SHOWN for single, _, _ in found)
            rows.append(
                (
                    f"`{name}`",
                    f"{within} of {len(found)}",
                    f"{largest[0]:.1e}",
                    largest[2],
                    f"{largest[1]:.1e}",
                    f"{max(other for _, other, _ in found):.1e}",
                )
            )
        elif found:
            alike.append(f"`{name}`")
    return [*_introduction(alike), *markdown_table(_HEADINGS, rows)]


def difference(one: list[Any], other: list[Any]) -> float:
    """Return the relative difference of two scores; infinite if one has none."""
    if one[0] is None:
        return float("inf")
    return float(abs(one[0] - other[0]) / max(abs(other[0]), 1e-300))


_HEADINGS = (
    *("proxy", f"within {SHOWN:g}", "largest difference", "of", "moved there", "largest moved"),
)


def _introduction(alike: list[str]) -> list[str]:
    return [
        "# Single and double precision",
        "",
        made_by("precision.py"),
        "",
        f"{len(MODELS)} networks in their first weights ({', '.join(MODELS)}), {BATCHES} batches",
        f"of {SAMPLES} random images, were scored by every proxy. *Largest difference* is that of",
        "the score in single precision from the one in double, relative to it. *Moved* is that of",
        "a score in double precision whose weights and inputs differ by what single precision",
        "rounds off: it is the network that makes so much of it, and no arithmetic of a proxy can",
        "undo it. Rounding inside the network adds to it in single precision. (`zen` draws weights",
        "and inputs of its own, which are not moved.)",
        "",
        f"Within {SHOWN:g} on all networks: {', '.join(alike)}.",
        "",
    ]


def main() -> None:
    """Score what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, measure, tables)


if __name__ == "__main__":
    main()
