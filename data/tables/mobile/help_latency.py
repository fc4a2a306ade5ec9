"""HELP: latency of FBNet and Once-for-All networks on many devices."""

from __future__ import annotations

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, group

_TABLES = {
    "help_fbnet": Published(
        "HELP: latency of 5,000 FBNet networks",
        "fbnet",
        {"main": Part("help_latency/fbnet_5000", ("arch_str",))},
        costs=(group("main", "zc_params", "params"), group("main", "zc_flops", "flops")),
        hardware=(group("main", "lat_.+", unit="ms"),),
        proxies=(group("main", r"zc_(.+)", r"fbnet/\1"),),
        definitions={"params": PARAMS, "flops": "as a layer-hook counter saw them"},
    ),
    "help_ofa": Published(
        "HELP: latency of 5,000 Once-for-All networks",
        "ofa_mobilenetv3",
        {"main": Part("help_latency/ofa_5000", ("ks", "e", "d", "r"), keys.ofa_mobilenetv3)},
        hardware=(group("main", "lat_.+", unit="ms"),),
    ),
}


SET = DataSet(
    name="help_latency",
    title="HELP: latency of FBNet and Once-for-All networks on many devices",
    licence="MIT",
    files=(
        File("fbnet_5000", 5_000, ("arch_str",)),
        File("ofa_5000", 5_000, ("ks", "e", "d", "r")),
    ),
    tables=_TABLES,
    notes="Latency only: nothing says how accurate the networks are.",
)
