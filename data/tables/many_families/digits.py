"""The embedded benchmark: 900 small networks of ten families on digits, three seeds."""

from __future__ import annotations

from ..published import MACS, PARAMS, DataSet, File, Part, Published, Task, group

TABLE = Published(
    "Embedded: 900 small networks of ten families on digits, three seeds",
    "digits",
    {"main": Part("digits/digits", ("arch",))},
    tasks=(
        Task(
            "digits",
            "test accuracy, %",
            epochs=20,
            runs=("accuracy_seed0", "accuracy_seed1", "accuracy_seed2"),
        ),
    ),
    costs=(
        group("main", "params|activations|train_seconds"),
        group("main", "flops", "macs"),
    ),
    definitions={
        "params": PARAMS,
        "macs": f"{MACS}, at 8 x 8",
        "activations": "outputs of convolutions and products",
        "train_seconds": "CPU seconds of one training on one core, mean of the seeds",
    },
)


SET = DataSet(
    name="digits",
    title="900 small networks of ten families on distorted digits, three seeds",
    licence="Apache-2.0 (our own labels)",
    files=(File("digits", 900, ("arch", "accuracy_seed0", "accuracy_seed1", "accuracy_seed2")),),
    tables={"digits": TABLE},
    notes=(
        "Comes with the package. Trained by archrank.data.digits.label on one CPU core each; "
        "digits.json beside the table holds protocol and machine."
    ),
    embedded=True,
)
