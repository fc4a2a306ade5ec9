"""NAS-Bench-Graph: graph networks on nine data sets."""

from __future__ import annotations

from .. import keys
from ..published import PARAMS, DataSet, File, Part, Published, Task, group

_NAMES = "cora citeseer pubmed cs physics photo computers arxiv proteins".split()
_METRIC = dict.fromkeys(_NAMES, "accuracy") | {"proteins": "area under the ROC curve"}
TABLE = Published(
    "NAS-Bench-Graph: graph networks on nine data sets",
    "nasbench_graph",
    {
        name: Part(
            "nas_bench_graph/nas_bench_graph_light",
            ("hash",),
            keys.nasbench_graph,
            (("dataset", "==", name),),
        )
        for name in _NAMES
    },
    index=("cora", "proteins"),
    tasks=(
        *(
            Task(name, f"test {_METRIC[name]}, fraction", column="perf", part=name)
            for name in _NAMES
        ),
        *(
            Task(
                f"{name}-valid",
                f"validation {_METRIC[name]}, fraction",
                column="valid_perf",
                part=name,
            )
            for name in _NAMES
        ),
    ),
    costs=tuple(group(name, "para", f"params/{name}", scale=1e6) for name in _NAMES),
    hardware=tuple(group(name, "latency", f"latency/{name}", "s") for name in _NAMES),
    definitions={f"params/{name}": f"{PARAMS}, to 7 digits" for name in _NAMES},
)


SET = DataSet(
    name="nas_bench_graph",
    title="NAS-Bench-Graph: 26,206 graph networks on eight data sets, 2,021 on proteins",
    licence="Apache-2.0",
    files=(File("nas_bench_graph_light", 211_669, ("hash", "dataset", "perf", "para")),),
    tables={"nasbench_graph": TABLE},
)
