"""Our variants of proxies compared with the values of published code on reproducible networks.

Run from the repository: ``python experiments/parity.py``. It reads ``../shared/parity`` (or
``--values FOLDER``) and writes ``experiments/results/parity.md``. ``tests/proxies/test_parity.py``
compares the same rows.
"""

from __future__ import annotations

import importlib.util
import json
import math
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import torch
from common import RESULTS, made_by, parser, write_page
from torch import nn

import archrank
from archrank.proxies.recording import reference_signals
from archrank.proxies.recording.blocks import views as blocks

RESULT = RESULTS / "parity.md"
VALUES = Path(__file__).resolve().parents[2] / "shared" / "parity"

SOURCES = {
    "SamsungLabs/zero-cost-nas": "foresight",
    "automl/NASLib": "naslib",
    "cmu-catalyst/GradSign": "gradsign",
    "BayesWatch/nas-without-training": "nas-without-training",
    "cvlab-yonsei/AZ-NAS": "az-nas",
    "SLDGroup/ZiCo": "zico",
    "HamsterMimi/MeCo": "meco",
    "pym1024/SWAP": "swap",
}

_SUITE = (
    "measured after others whose input gradients were left to add up; ours depends on no other "
    "measure"
)
_TOKENS = "the reference takes images alone and stops at tokens; ours measures them"
_LEAVES = "the reference stops at a module with parameters of its own and children; ours skips them"
_SCALES = "the reference's initialisation stops at norms without scales, which ours leaves alone"
_SINGLE = (
    "the difference of two entropies, whose eigenvalues ours takes in double precision and the "
    "reference in single; its instability is known for other weights alone (1e-4 relative)"
)
INTENDED = {
    ("az_progressivity@seeded@az-nas", "residual_bn"): _SINGLE,
    ("az_progressivity@seeded@az-nas", "functional_relu"): _SINGLE,
    ("epe_nas@suite@naslib", "residual_bn"): _SUITE,
    ("epe_nas@suite@naslib", "vit_tiny"): _SUITE,
    ("az_expressivity@az-nas", "vit_tiny"): _TOKENS,
    ("az_progressivity@az-nas", "vit_tiny"): _TOKENS,
    ("az_trainability@az-nas", "vit_tiny"): _TOKENS,
    ("swap@seeded@swap", "nb201_a"): _SCALES,
    ("az_nb201_zen@seeded@az-nas", "nb201_a"): _SCALES,
    ("params@naslib", "vit_tiny"): _LEAVES,
    ("flops@naslib", "vit_tiny"): _LEAVES,
}
"""(proxy, network) -> why ours differs, where it does so by intent."""

_SIGNS = ("gradsign", "grad_conflict")


@dataclass(frozen=True)
class Comparison:
    """One value of a published code beside ours; ``why`` the code, ours, or both have none."""

    proxy: str
    network: str
    batch: int | None
    dtype: str | None
    mode: str | None
    ours: float | None
    theirs: float | None
    tolerance: float
    why: str

    @property
    def difference(self) -> float:
        """Relative to theirs; infinite if one alone has a value."""
        if self.ours is None or self.theirs is None:
            return 0.0 if self.ours is self.theirs else math.inf
        if self.ours == self.theirs:
            return 0.0
        return abs(self.ours - self.theirs) / max(abs(self.theirs), 1e-300)

    @property
    def outcome(self) -> str:
        """``equal``, ``no value``, ``only ours``, ``by intent``, ``not compared``, ``DIFFERS``."""
        if self.network == "*":
            return "not compared"
        if self.ours is not None and "is not implemented" in self.why:
            return "only ours"  # torch has no second derivative of what the network calls
        if self.difference > self.tolerance:
            return "by intent" if (self.proxy, self.network) in INTENDED else "DIFFERS"
        return "no value" if self.theirs is None else "equal"


@cache
def networks(folder: Path) -> Any:
    """Load the module that builds the networks and batches."""
    spec = importlib.util.spec_from_file_location("parity_networks", folder / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def graph_of(made: Any, network: str) -> archrank.Graph:
    """Trace a network, whose graph no weights or modes change."""
    return archrank.trace(made.build(network), made.shape_of(network))


def name_of(row: dict[str, Any]) -> str:
    """Name the row's proxy and source, NAME@SOURCE."""
    return f"{row['proxy']}@{SOURCES[row['source'].partition('@')[0]]}"


def variant_of(row: dict[str, Any]) -> str:
    """Name our proxy of it: rows ``@suite`` and ``@seeded`` are other circumstances of the same."""
    return name_of(row).replace("@suite", "").replace("@seeded", "")


def tolerance_of(row: dict[str, Any]) -> float:
    """Allow ten times the instability of the reference's own value, at least 1e-5.

    GradSign's is exact in double precision; in single, signs of gradients near zero flip.
    """
    stability = ("repeat_rel_diff", "other_backend_rel_diff", "float64_rel_diff")
    stated = max(1e-5, *(10 * (row.get(field) or 0.0) for field in stability))
    if any(name in row["proxy"] for name in _SIGNS):
        return 1e-6 if row["dtype"] == "float64" else max(1e-4, stated)
    return stated


@contextmanager
def drawing(**draws: Callable[..., torch.Tensor]) -> Iterator[None]:
    """Put other numbers in the place of our random draws, by the names of their functions."""
    with ExitStack() as stack:
        for name, function in draws.items():
            module = blocks if name == "rademacher" else reference_signals
            stack.enter_context(mock.patch.object(module, name, function))
        yield


def _feature(index: int, shape: tuple[int, ...]) -> int:
    """Return the reference's number of our block: of a transformer it leaves out the first."""
    return index - (len(shape) == 3)


def substitutes(made: Any) -> dict[str, Callable[..., torch.Tensor]]:
    """Return what replaced the references' random draws when their values were taken."""

    def second_draw(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return made.batch(len(tensor), tuple(tensor.shape[1:]), stream=1, dtype=tensor.dtype)[0]

    def square_image(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return made.batch(1, (like.shape[1], 64, 64), dtype=like.dtype)[0]

    def rademacher(shape: tuple[int, ...], index: int, generator: Any) -> torch.Tensor:
        return made.signs(shape, stream=1000 + _feature(index, shape))

    return {
        "second_draw": second_draw,
        "square_image": square_image,
        "rademacher": rademacher,
    }


def compare(folder: Path, rows: Iterable[dict[str, Any]]) -> list[Comparison]:
    """Compare rows, those of one network, batch, type and mode in one call of ``score``."""
    made = networks(folder)
    together: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    found = []
    for row in rows:
        if row["network"] == "*":
            found.append(_comparison(row, None, row.get("error")))
        elif row["rng"] == "seed":
            found.append(_seeded(made, row))
        else:
            key = (row["network"], row["batch"], row["dtype"], row["mode"])
            together[(*key, len(row.get("batches", ())))].append(row)
    with drawing(**substitutes(made)):
        for group in together.values():
            found += _compared(made, group)
    return found


def _compared(made: Any, group: list[dict[str, Any]]) -> Iterator[Comparison]:
    first = group[0]
    dtype, count = getattr(torch, first["dtype"]), len(first.get("batches", ()))
    shape = made.shape_of(first["network"])
    model = made.build(first["network"], dtype).train(first["mode"] == "train")
    if count:
        data, labels = made.halves(first["batch"], count, shape, dtype=dtype), None
    else:
        data, labels = made.batch(first["batch"], shape, dtype=dtype)
    scores = archrank.score(
        model,
        data,
        labels,
        [variant_of(row) for row in group],
        batches=max(2, count),
        graph=graph_of(made, first["network"]),
    )
    for row in group:
        result = scores[variant_of(row)]
        yield _comparison(row, result.value, row.get("error") or result.reason)


def _comparison(row: dict[str, Any], ours: float | None, why: str | None) -> Comparison:
    return Comparison(
        name_of(row), row["network"], row["batch"], row["dtype"], row["mode"],
        ours, _number(row["value"]), tolerance_of(row), why or "",
    )  # fmt: skip


# --- the references' own initialisations and random draws -----------------------------------------


def gaussian(model: nn.Module) -> None:
    """Draw standard normal weights of convolutions and linear layers in module order, biases 0."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def kaiming(model: nn.Module) -> None:
    """Draw the same, normal with variance 2 / fan-in."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def gaussian_of_every_part(model: nn.Module) -> None:
    """Draw every layer once for itself and once for each module around it."""
    model.apply(gaussian)


INITIALISATIONS = {
    "zen": gaussian,
    "swap": gaussian_of_every_part,
    **dict.fromkeys(("az_expressivity", "az_progressivity", "az_trainability"), kaiming),
    **dict.fromkeys(
        (f"az_nb201_{name}" for name in ("snip", "grasp", "synflow", "gradnorm", "naswot")), kaiming
    ),
    "az_nb201_zen": gaussian,
}
_NORMAL_INPUTS = ("zen", "az_nb201_zen", "az_nb201_gradnorm", "az_nb201_naswot")


def _seeded(made: Any, row: dict[str, Any]) -> Comparison:
    """Compare a row whose reference drew its own weights, inputs and probes after seed 0."""
    name, network = row["proxy"].removesuffix("@seeded"), row["network"]
    shape = made.shape_of(network)
    images, labels = made.batch(row["batch"], shape)
    sizes = [feature.shape for feature in made.build(network).features(images)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = made.build(network).train(row["mode"] == "train")
        image = torch.randn(1, 3, 64, 64)  # MeCo's, which was seeded before the network was built
        torch.manual_seed(0)
        INITIALISATIONS.get(name, lambda model: None)(model)
        probes = {}
        if name.endswith("trainability"):
            for i in reversed(range(1, len(sizes))):
                probes[i] = 2 * torch.bernoulli(torch.full(sizes[i], 0.5)) - 1
        if name in _NORMAL_INPUTS:
            images = torch.randn(images.shape)
        if name == "az_nb201_gradnorm":
            labels = torch.randint(0, 10, (len(images),))
        moved = torch.randn(images.shape)
    with drawing(
        second_draw=lambda tensor, generator: moved,
        square_image=lambda like, generator: image,
        rademacher=lambda shape, index, generator: probes.get(
            _feature(index, shape), torch.ones(shape)
        ),
    ):
        scores = archrank.score(
            model, images, labels, variant_of(row), graph=graph_of(made, network)
        )
        result = scores[variant_of(row)]
    return _comparison(row, result.value, row.get("error") or result.reason)


def _number(value: Any) -> float | None:
    """Return None for what is not a number, which is written as a string."""
    return float(value) if isinstance(value, (int, float)) else None


def page(found: list[Comparison], seconds: float) -> list[str]:
    """Write how many agree, each proxy on each network at its worst, what is not compared."""
    outcomes = Counter(c.outcome for c in found)
    compared = [c for c in found if c.outcome != "not compared"]
    software = f"numpy {numpy.__version__}, Python {platform.python_version()}"
    return [
        "# Parity with published codes",
        "",
        f"{made_by('parity.py', also=f'1 thread, {software}')} {seconds:.0f} seconds.",
        "",
        f"Of {len(found):,} published values {outcomes['equal']:,} are reproduced, "
        f"{outcomes['no value']} cannot be computed by either and {outcomes['only ours']} by "
        f"theirs, {outcomes['by intent']} differ "
        f"by intent, {outcomes['DIFFERS']} differ otherwise and {outcomes['not compared']} are "
        "not compared.",
        "",
        'Ours is the proxy of that name, `archrank.proxies.get("NAME@SOURCE")`, asked for in '
        "`archrank.score` on the same weights and inputs, in batches of 8 and 32, single and "
        "double precision, training and evaluation mode, as far as each reference was run. A "
        "row shows the largest of these differences against its tolerance: ten times the "
        "instability of the reference's own value, at least 1e-5 (GradSign's signs: 1e-4 in "
        "single, 1e-6 in double precision). The references' random inputs and probes are "
        "replaced by the same fixed ones on both sides; of those marked `@seeded`, their own "
        "initialisation and draws after seed 0 are repeated. `@suite` is a measure of NASLib "
        "after others.",
        "",
        "## Every proxy on every network",
        "",
        "| proxy | network | values | batch, type, mode of the worst | ours | theirs | "
        "relative difference | tolerance | result | why |",
        "|---|---|---:|---|---:|---:|---:|---:|---|---|",
        *_worst_rows(compared),
        "",
        "## Not compared",
        "",
        "| proxy | values | why |",
        "|---|---:|---|",
        *_uncompared_rows([c for c in found if c.outcome == "not compared"]),
    ]


def _worst_rows(compared: list[Comparison]) -> Iterator[str]:
    together: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for one in compared:
        together[one.proxy, one.network].append(one)
    proxies = {proxy: None for proxy, _ in together}
    for proxy, network in sorted(together, key=lambda pair: [*proxies].index(pair[0])):
        several = together[proxy, network]
        worst = max(several, key=lambda c: (c.difference / c.tolerance, c.ours is not None))
        outcome = " / ".join(sorted({c.outcome for c in several}))
        why = INTENDED.get((proxy, network)) or _shortened(worst.why)
        yield (
            f"| `{proxy}` | {network} | {len(several)} | {worst.batch}, {worst.dtype}, "
            f"{worst.mode} | {_shown(worst.ours)} | {_shown(worst.theirs)} | "
            f"{_shown(worst.difference, 1)} | {worst.tolerance:.0e} | {outcome} | {why} |"
        )


def _uncompared_rows(found: list[Comparison]) -> Iterator[str]:
    for (proxy, why), count in Counter((c.proxy, c.why) for c in found).items():
        yield f"| `{proxy}` | {count} | {_shortened(why)} |"


def _shown(value: float | None, digits: int = 8) -> str:
    if value is None:
        return "none"
    return "none" if math.isinf(value) else f"{value:.{digits}g}"


def _shortened(text: str) -> str:
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= 140 else text[:137] + "..."


def main() -> None:
    """Compare all rows and write the page."""
    options = parser(__doc__)
    options.add_argument("--values", type=Path, default=VALUES, help="folder of parity.json")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    found = compare(arguments.values, json.loads((arguments.values / "parity.json").read_text()))
    write_page(RESULT, page(found, time.perf_counter() - start))
    for one in found:
        if one.outcome == "DIFFERS":
            print(one)
    print(Counter(c.outcome for c in found))


if __name__ == "__main__":
    main()
