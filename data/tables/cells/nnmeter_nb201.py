"""nn-Meter: measured latency of 2,000 NAS-Bench-201 cells on a phone's CPU and two GPUs."""

from __future__ import annotations

from ..published import DataSet, File, Part, Published, group

TABLE = Published(
    "nn-Meter: latency of 2,000 NAS-Bench-201 cells on three mobile devices",
    "nasbench201",
    {"main": Part("nnmeter_nb201/nb201_3devices", ("index",), named_by="nasbench201/nb201_main")},
    hardware=(group("main", "(.+)_tflite21_ms", r"\1_latency", "ms"),),
)

SET = DataSet(
    name="nnmeter_nb201",
    title="nn-Meter: latency of 2,000 NAS-Bench-201 cells on three mobile devices",
    licence="MIT",
    files=(File("nb201_3devices", 2_000, ("index", "cortexA76_tflite21_ms")),),
    tables={"nnmeter_nb201": TABLE},
    notes="TensorFlow Lite 2.1. Cells are named by the table of NAS-Bench-201, which must be here.",
)
