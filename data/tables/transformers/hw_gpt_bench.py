"""HW-GPT-Bench, small: GPT-2-like language models with latency and energy."""

from __future__ import annotations

from .. import keys
from ..published import DataSet, File, Part, Published, Task, group

_GPU, _CPU = r"(?!cpu_|helix_cpu)", "(cpu_(?!p100$).+|helix_cpu)"
TABLE = Published(
    "HW-GPT-Bench, small: GPT-2-like language models",
    "gpt",
    {"main": Part("hw_gpt_bench/gpt_s", ("embed_dim", "n_head", "mlp_ratio", "bias"), keys.gpt)},
    tasks=(
        Task("perplexity", "perplexity", -1, "weight-shared", column="perplexity"),
        Task("accuracy", "next-token accuracy, fraction", 1, "weight-shared", column="accuracy"),
    ),
    costs=(group("main", "params|macs|flops"),),
    hardware=(
        group("main", f"lat_{_GPU}.+", unit="ms"),
        group("main", "lat_(cpu_.+|helix_cpu)", unit="s, as the values suggest"),
        group("main", f"energy_({_GPU}.+|{_CPU})", unit="kWh"),  # the CPU of p100 is all zero
        group("main", "mem_.+", unit="MB, as the values suggest"),
    ),
    definitions={
        "params": "embedding and output head counted apart, three-matrix gated MLP",
        "macs": "multiply-adds of all linear layers, batch of 8, 1,024 tokens; attention "
        "products are not counted",
        "flops": "about twice macs: norms and activations are added; batch of 8, 1,024 tokens",
    },
)


SET = DataSet(
    name="hw_gpt_bench",
    title="HW-GPT-Bench, small: 10,000 GPT-2-like language models with latency and energy",
    licence="Apache-2.0",
    files=(File("gpt_s", 10_000, ("embed_dim", "n_head", "mlp_ratio", "bias", "perplexity")),),
    tables={"gpt": TABLE},
    notes=(
        "Perplexity with weights shared in a supernet, not trained alone. A few CPU latencies "
        "(lat_cpu_meta) are hundreds of times the others."
    ),
)
