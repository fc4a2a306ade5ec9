"""NAS-Bench-BERT: 500 FlexiBERT-like encoders with GLUE scores."""

from __future__ import annotations

import json

import pandas as pd

from .. import keys
from ..published import DataSet, File, Part, Published, Task, group
from ..raw import Raw

_FILE, _KEY = "flexibert/flexibert", ("nas_config",)
_SCORES = "glue cola mnli mrpc qnli qqp rte sst sts".split()
TABLE = Published(
    "NAS-Bench-BERT: 500 FlexiBERT-like encoders",
    "flexibert",
    {
        "main": Part(_FILE, _KEY, keys.flexibert, repeats_are_seeds=True),
        # an RTE of zero is an evaluation that failed, and it spoilt the GLUE mean
        "whole": Part(_FILE, _KEY, keys.flexibert, (("rte", "!=", 0.0),), repeats_are_seeds=True),
    },
    tasks=tuple(
        Task(
            name,
            "mean GLUE score" if name == "glue" else "GLUE score of this task",
            column=name,
            part="whole" if name in ("glue", "rte") else "main",
        )
        for name in _SCORES
    ),
    hardware=(group("main", "time_to_train", unit="s"),),
)


def read(raw: Raw) -> dict[str, pd.DataFrame]:
    """Read the encoders and their GLUE scores."""
    rows = []
    for record in raw.json("BERT_benchmark.json"):
        rows.append(
            {
                "id": record["id"],
                "time_to_train": record["time_to_train"],
                **record["scores"],
                "nas_config": json.dumps(record["hparams"]["model_hparam_overrides"]),
            }
        )
    found = pd.DataFrame(rows)
    floats = found.columns.drop(["id", "nas_config"])
    return {"flexibert": found.astype(dict.fromkeys(floats, "float32"))}


SET = DataSet(
    name="flexibert",
    title="NAS-Bench-BERT: 500 FlexiBERT-like encoders with GLUE scores",
    licence="CC-BY-4.0",
    files=(File("flexibert", 500, ("nas_config", "glue")),),
    tables={"flexibert": TABLE},
    read=read,
    notes=(
        "In the code that made the labels the operation types had no effect: every network "
        "used plain attention. One RTE score of zero is a failed evaluation, and its GLUE "
        "mean with it: both are missing here. Nine configurations repeat: seeds."
    ),
)
