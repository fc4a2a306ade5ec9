"""HAT: latency of translation transformers, 2,000 networks per task and device."""

from __future__ import annotations

import pandas as pd

from ..published import DataSet, File, Part, Published, group
from ..raw import Raw

_KEY = tuple(
    (
        "encoder_embed_dim encoder_layer_num encoder_ffn_embed_dim_avg "
        "encoder_self_attention_heads_avg decoder_embed_dim decoder_layer_num "
        "decoder_ffn_embed_dim_avg decoder_self_attention_heads_avg "
        "decoder_ende_attention_heads_avg decoder_arbitrary_ende_attn_avg"
    ).split()
)
_DEVICES = (
    "iwslt14deen_gpu_titanxp wmt14ende_cpu_raspberrypi wmt14ende_cpu_xeon wmt14ende_gpu_titanxp "
    "wmt14enfr_cpu_raspberrypi wmt14enfr_cpu_xeon wmt14enfr_gpu_titanxp wmt19ende_gpu_titanxp"
).split()


def _spell(*numbers: float) -> str:
    return ":".join(f"{number:.6g}" for number in numbers)


TABLE = Published(
    "HAT: latency of translation transformers",
    None,
    {
        name: Part("hat_latency/hat_latency", _KEY, _spell, (("source", "==", name),))
        for name in _DEVICES
    },
    index=tuple(_DEVICES),
    hardware=tuple(
        group(name, r"latency_(mean|std)_(encoder|decoder)", rf"\g<0>/{name}", "ms")
        for name in _DEVICES
    ),
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the latency of each task and device that is there."""
    parts = [
        raw.csv(f"{source}_all.csv").assign(source=source)
        for source in _DEVICES
        if raw.has(f"{source}_all.csv")
    ]
    if not parts:
        raw.read(f"{_DEVICES[0]}_all.csv")  # says what is missing
    found = pd.concat(parts, ignore_index=True)
    floats = found.select_dtypes("float64").columns
    return {"hat_latency": found.astype(dict.fromkeys(floats, "float32"))}


SET = DataSet(
    name="hat_latency",
    title="HAT: latency of translation transformers",
    licence="MIT",
    files=(File("hat_latency", 16_000, ("encoder_embed_dim", "source")),),
    tables={"hat": TABLE},
    read=read,
    notes="Latency only, for averages over layers, from which no network can be rebuilt.",
)
