"""Published tables of measured costs: their devices, and their networks as predictors read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from torch import nn

import archrank
from archrank.costs.operators.inventory import inventory
from archrank.data import space, table
from archrank.predictors import Sample

SINGLE = {
    "nasbench201": tuple(
        f"{device}_latency/cifar10"
        for device in ("edgegpu", "raspi4", "edgetpu", "pixel3", "eyeriss", "fpga")
    ),
    "hat": tuple(
        f"latency_mean_{part}/{where}"
        for where in (
            *("iwslt14deen_gpu_titanxp", "wmt14ende_cpu_raspberrypi", "wmt14ende_cpu_xeon"),
            *("wmt14ende_gpu_titanxp", "wmt14enfr_cpu_raspberrypi", "wmt14enfr_cpu_xeon"),
            *("wmt14enfr_gpu_titanxp", "wmt19ende_gpu_titanxp"),
        )
        for part in ("total", "decoder", "encoder")
    ),
}
ENERGY = tuple(f"{device}_energy/cifar10" for device in ("edgegpu", "eyeriss", "fpga"))
SOME = 1000  # random networks of a table that is large, or slow to trace
SAMPLED = {"gpt": "gpt", "ec_nas": "nasbench101"}
"""Tables of which some are drawn, and the spaces of their networks."""
SINGLE |= {
    "gpt": tuple(
        f"{cost}_{device}"
        for cost in ("energy", "lat")
        for device in ("a100", "h100", "v100", "rtx3080", "P100")
    ),
    "ec_nas": ("energy@4", "train_time@4"),
}


@dataclass(frozen=True)
class Measured:
    """Networks of one table as predictors read them, and what they cost."""

    samples: np.ndarray
    costs: dict[str, np.ndarray]
    codes: np.ndarray
    sizes: np.ndarray  # log FLOPs and log parameters, as the table says, or ours


@cache
def measured(name: str) -> Measured:
    """Read a table once."""
    if name == "hat":
        return _hat()
    if name in SAMPLED:
        return _sampled(name)
    found = table("help_fbnet" if name == "fbnet" else name)
    prefix = "lat_" if name == "fbnet" else "help_"
    samples = _read(name, found.architectures)
    costs = {
        # -1 stands for a measurement that failed
        str(column).removeprefix(prefix): values.where(values > 0).to_numpy()
        for column, values in found.hardware.items()
    }
    sizes = found.costs[["flops" if name == "fbnet" else "macs", "params"]].to_numpy()
    return Measured(samples, costs, np.array([s.code for s in samples], float), np.log(sizes))


def _read(name: str, architectures: Iterable[str]) -> np.ndarray:
    own, names = space(name), list(architectures)
    samples = np.empty(len(names), dtype=object)
    for i, arch in enumerate(names):
        samples[i] = Sample(own.graph(arch), arch, own.encode(arch))
        inventory(samples[i].graph)
    return samples


def _sampled(name: str) -> Measured:
    """Read some networks of a table, drawn once."""
    found = table(name)
    rows = np.random.default_rng(0).choice(len(found), SOME, replace=False)
    samples = _read(SAMPLED[name], np.asarray(found.architectures)[rows])
    costs = {column: found.hardware[column].to_numpy()[rows] for column in SINGLE[name]}
    sizes = np.log([[s.graph.flops, s.graph.params] for s in samples])
    return Measured(samples, costs, np.array([s.code for s in samples], float), sizes)


def _hat() -> Measured:
    """Read translation transformers: averages over layers, from which no network can be built.

    The code: the ten numbers, and of encoder and decoder sums over layers that follow from them
    (of feed-forward widths, heads, and of both times the width).
    """
    found = table("hat")
    numbers = np.array([list(map(float, name.split(":"))) for name in found.architectures])
    e, el, eff, eh, d, dl, dff, dh, dx, _ = numbers.T
    sums = [el * eff, el * eh, el * e, el * e * eff, el * e * eh]
    sums += [dl * dff, dl * dh, dl * dx, dl * d, dl * d * dff, dl * d * dh, dl * d * dx]
    codes = np.column_stack([numbers, *sums])
    nothing = archrank.trace(nn.Identity(), (1,))
    samples = np.empty(len(codes), dtype=object)
    for i, code in enumerate(codes):
        samples[i] = Sample(nothing, code=code.astype(np.float32))
    costs = {str(column): values.to_numpy() for column, values in found.hardware.items()}
    for decoder in [column for column in costs if column.startswith("latency_mean_decoder/")]:
        encoder, total = (decoder.replace("decoder", part) for part in ("encoder", "total"))
        costs[total] = costs[encoder] + costs[decoder]
    # Parameters and multiply-adds of the layers but for constants.
    flops = el * (4 * e * e + 2 * e * eff) + dl * (8 * d * d + 2 * d * dff)
    return Measured(samples, costs, codes, np.log(np.column_stack([flops, flops])))
