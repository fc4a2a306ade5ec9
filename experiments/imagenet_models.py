"""The time that ``archrank rank`` takes for ImageNet models of timm and torchvision, by part.

Run from the repository, on a machine that does nothing else: ``python
experiments/imagenet_models.py``. The script may be killed at any moment; started again, it
continues where it was. Measurements are lines of
``experiments/results/stores/imagenet_models.jsonl``. At the end the script writes
``experiments/results/imagenet_models.md``. To measure again, delete the lines.

The models have random weights and read random images; no weights are fetched. None of the proxies
needs a backward pass.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write

import archrank
from archrank.errors import InputError
from archrank.metrics import bootstrap, kendall
from archrank.scoring.candidates import by_name

LINES, PAGE = Lines(STORES / "imagenet_models.jsonl"), RESULTS / "imagenet_models.md"
MODELS = {
    "torchvision": (
        *("alexnet", "vgg16_bn", "squeezenet1_1", "googlenet", "densenet121", "mobilenet_v2"),
        *("mobilenet_v3_small", "mnasnet1_0", "shufflenet_v2_x1_0", "resnet18", "resnet50"),
        *("resnet101", "wide_resnet50_2", "resnext50_32x4d", "regnet_x_800mf", "regnet_y_1_6gf"),
        *("efficientnet_b0", "efficientnet_v2_s", "convnext_tiny", "vit_b_16", "swin_v2_t"),
        "maxvit_t",
    ),
    "timm": (
        *("resnet26d", "seresnet50", "resnest26d", "res2net50_26w_4s", "dpn68", "hrnet_w18"),
        *("inception_v4", "repvgg_b0", "ghostnet_100", "fbnetc_100", "rexnet_100", "mixnet_s"),
        *("lcnet_100", "mobilenetv3_large_100", "mobilenetv4_conv_medium", "efficientnet_b2"),
        *("regnety_032", "convnext_small", "convnextv2_nano", "poolformer_s12", "edgenext_small"),
        *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch32_224"),
        *("deit_base_patch16_224", "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224"),
        *("beit_base_patch16_224", "xcit_tiny_12_p16_224", "swin_tiny_patch4_window7_224"),
        *("pit_s_224", "twins_svt_small", "coat_lite_small", "levit_256", "mvitv2_tiny"),
        *("mobilevit_s", "efficientformer_l1", "pvt_v2_b1", "mixer_s16_224", "mixer_b16_224"),
        *("resmlp_24_224", "gmlp_s16_224"),
    ),
}
NAMES = [f"{zoo}:{name}" for zoo, names in MODELS.items() for name in names]
SIZES = ("params", "flops", "activations")
PROXIES = ("near", "meco_opt", "naswot", "swap", *SIZES)
SETTINGS = ((224, 2), (224, 4), (224, 8), (128, 8))  # pixels, samples
LIMIT, LIMIT_ZERO_SHOT = 90.0, 0.1  # seconds, of all models and of one
JOBS = 2
SHAPE = (3, 224, 224)
PARTS = ("building", "tracing", "scoring")


def cpu_of_children() -> float:
    """Read CPU seconds of the processes that ended so far, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rank(pixels: int, batch: int) -> dict:
    """Call the command ``archrank rank``, start of its processes included."""
    command = [str(Path(sys.executable).with_name("archrank")), "rank", *NAMES, "--json"]
    command += ["--input", f"3,{pixels},{pixels}", "--batch", str(batch), "--jobs", str(JOBS)]
    load, cpu, start = os.getloadavg()[0], cpu_of_children(), time.perf_counter()
    done = subprocess.run(
        [*command, "--by", ",".join(PROXIES)], stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = {"wall": time.perf_counter() - start, "cpu": cpu_of_children() - cpu}
    if done.returncode not in (0, 1):  # 1: a model could not be ranked
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
    found = json.loads(done.stdout)
    values = {row["name"]: [row[p] for p in PROXIES] for row in found["table"] if row["rank"]}
    failures = {row["name"]: row["reason"] for row in found["failures"]}
    return {**seconds, "load": load, "values": values, "failures": failures}


@contextmanager
def clocked(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Note wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[part] = time.perf_counter() - wall
    seconds[f"{part}, CPU"] = time.process_time() - cpu


def split(name: str, pixels: int, batch: int) -> dict:
    """Measure the parts of one model's time, in this process."""
    seconds: dict[str, float] = {}
    torch.manual_seed(0)
    with clocked(seconds, "building"):
        model = by_name(name)[0].build()
    shape = (3, pixels, pixels)
    with clocked(seconds, "tracing"):
        graph = archrank.trace(model, shape)
    with clocked(seconds, "scoring"):
        archrank.score(model, shape, proxies=PROXIES, batch_size=batch, graph=graph)
    return {**seconds, "nodes": len(graph), "params": graph.params, "flops": graph.flops}


def zero_shot() -> dict | None:
    """Time the predictor that comes with archrank, for all models together and each alone.

    A graph keeps what was read of it once, so those that are predicted alone are traced anew.
    """
    seconds: dict[str, float] = {}
    try:
        with clocked(seconds, "loading"):
            predictor = archrank.load_predictor()
    except InputError as error:
        print(f"zero-shot prediction left out: {error}")
        return None
    together, alone = [], []
    for name in NAMES:
        model = by_name(name)[0].build()
        together.append(archrank.trace(model, SHAPE))
        alone.append(archrank.trace(model, SHAPE))
    with clocked(seconds, "together"):
        values = predictor.predict(together)
    for name, graph in zip(NAMES, alone, strict=True):
        with clocked(seconds, name):
            predictor.predict([graph])
    return {"seconds": seconds, "values": dict(zip(NAMES, values.tolist(), strict=True))}


def run() -> None:
    """Do everything that is not in the file yet."""
    torch.set_num_threads(1)
    keys = [{"what": "rank", "pixels": pixels, "batch": batch} for pixels, batch in SETTINGS]
    for key in LINES.missing(keys):
        found = rank(key["pixels"], key["batch"])
        LINES.append({**key, **found})
        print(*key.values(), f"{found['wall']:.0f} s, CPU {found['cpu']:.0f} s", flush=True)
    pixels, batch = SETTINGS[0]
    split("torchvision:mobilenet_v3_small", 64, batch)  # imports are not a model's time
    for key in LINES.missing([{"what": "split", "name": name} for name in NAMES]):
        LINES.append({**key, **split(key["name"], pixels, batch)})
    for key in LINES.missing([{"what": "zero-shot"}]):
        found = zero_shot()
        if found is not None:
            LINES.append({**key, **found})


def of(results: list[dict], what: str) -> list[dict]:
    """Choose the lines of one kind."""
    return [r for r in results if r["what"] == what]


def ranks_table(results: list[dict]) -> list[str]:
    """Tabulate wall and CPU seconds of each setting."""
    rows = [
        [
            f"{r['pixels']} x {r['pixels']}",
            r["batch"],
            f"{len(r['values'])} of {len(NAMES)}",
            *(f"{seconds:.0f}" for seconds in (r["wall"], r["cpu"], r["cpu"] / JOBS)),
            f"{r['load']:.1f}",
        ]
        for r in of(results, "rank")
    ]
    headings = ("input", "batch", "models", "wall s", "CPU s", f"CPU s / {JOBS}", "load before")
    return markdown_table(headings, rows, numbers=True)


def target_text(results: list[dict]) -> str:
    """Say what the target is, and which settings meet it."""
    full = sorted((r for r in of(results, "rank") if r["pixels"] == 224), key=lambda r: r["batch"])
    by_wall = [r["batch"] for r in full if r["wall"] <= LIMIT]
    by_cpu = [r["batch"] for r in full if r["cpu"] / JOBS <= LIMIT]
    return (
        f"Target: {LIMIT:.0f} s on {JOBS} cores for all models. Largest measured batch at 224 x "
        f"224 that meets it: {max(by_wall, default='none')} by wall seconds as measured; "
        f"{max(by_cpu, default='none')} if both cores were this command's alone (CPU seconds / "
        f"{JOBS}, which leaves out waiting)."
    )


def split_table(results: list[dict]) -> list[str]:
    """Tabulate sums of the parts, and the slowest models."""
    rows = of(results, "split")
    sums = []
    for part in PARTS:
        cpu = [r[f"{part}, CPU"] for r in rows]
        totals = [f"{sum(values):.1f}" for values in ([r[part] for r in rows], cpu)]
        sums.append([part, *totals, f"{statistics.median(cpu):.2f}", f"{max(cpu):.2f}"])
    models = [
        [
            f"`{r['name']}`",
            f"{r['nodes']:,}",
            f"{r['params'] / 1e6:.1f}",
            f"{r['flops'] / 1e9:.2f}",
            *(f"{r[f'{part}, CPU']:.2f}" for part in PARTS),
        ]
        for r in sorted(rows, key=lambda r: -r["scoring, CPU"])
    ]
    headings = ("part", "wall s", "CPU s", "median CPU s", "largest CPU s")
    by_model = ("model", "nodes", "params, M", "FLOPs, G", *PARTS)
    return [
        *markdown_table(headings, sums, numbers=True),
        *("", "Each model, CPU seconds:", ""),
        *markdown_table(by_model, models, numbers=True),
    ]


def orders_table(results: list[dict]) -> list[str]:
    """Tabulate how far a proxy's order depends on the batch, and how much of it is size."""
    values = {(r["pixels"], r["batch"]): r["values"] for r in of(results, "rank")}
    most = values[max(key for key in values if key[0] == 224)]
    titles = [f"batch {batch}, {pixels} x {pixels}" for pixels, batch in values]
    rows = []
    for column, proxy in enumerate(PROXIES):
        if proxy in SIZES:
            continue
        cells = [tau(found, most, column, column) for found in values.values()]
        cells += [tau(most, most, column, PROXIES.index(size)) for size in ("params", "flops")]
        rows.append([f"`{proxy}`", *cells])
    return markdown_table(("proxy", *titles, "params", "FLOPs"), rows, numbers=True)


def tau(some: dict, others: dict, column: int, other: int) -> str:
    """Compute tau-b of the models that both have a value for, with a 95 % interval over models."""
    pairs = [(some[n][column], others[n][other]) for n in NAMES if n in some and n in others]
    known = [pair for pair in pairs if None not in pair]
    return with_interval(*zip(*known, strict=True))


def with_interval(scores: Sequence[float], others: Sequence[float]) -> str:
    """Write tau-b and the bootstrap's interval; a dash where all are equal."""
    if len(set(scores)) == 1 or len(set(others)) == 1:
        return "-"
    low, high = bootstrap(kendall, scores, others, seed=0)
    return f"{kendall(scores, others):.3f} [{low:.2f}, {high:.2f}]"


def zero_shot_text(results: list[dict]) -> str:
    """Compare seconds per model with the target."""
    found = next(iter(of(results, "zero-shot")), None)
    if found is None:
        return "Not measured: this version comes without a pretrained predictor."
    seconds, values = found["seconds"], found["values"]
    alone = [seconds[name] for name in NAMES]
    slowest = max(NAMES, key=lambda name: seconds[name])
    late = sum(one > LIMIT_ZERO_SHOT for one in alone)
    cpu = max(seconds[f"{name}, CPU"] for name in NAMES)
    size = {r["name"]: r for r in of(results, "split")}
    orders = [
        with_interval([values[n] for n in NAMES], [size[n][what] for n in NAMES])
        for what in ("params", "flops")
    ]
    return (
        f"`archrank.load_predictor().predict(graphs)`, one thread, {len(NAMES)} models at 224 x "
        f"224: {seconds['together'] / len(NAMES):.4f} s a model (CPU "
        f"{seconds['together, CPU'] / len(NAMES):.4f} s) if all are predicted together, as it is "
        f"meant: predictions are relative to the others. Each alone: median "
        f"{statistics.median(alone):.4f} s, slowest {seconds[slowest]:.4f} s (`{slowest}`), most "
        f"CPU seconds {cpu:.4f}. Target: {LIMIT_ZERO_SHOT} s; {late} of {len(NAMES)} took longer "
        "by the clock, on cores that were shared if the loads above say so. Loading, once: "
        f"{seconds['loading']:.2f} s. Kendall's tau-b of the predictions with parameters "
        f"{orders[0]}, with FLOPs {orders[1]}."
    )


def failed_text(results: list[dict]) -> str:
    """Say which models a setting left out."""
    texts = []
    for r in of(results, "rank"):
        if r["failures"]:
            names = ", ".join(f"`{name}`" for name in r["failures"])
            texts.append(
                f"Without a value for a proxy at {r['pixels']} x {r['pixels']}, batch "
                f"{r['batch']}, each with its reason in the lines beside this page: {names}."
            )
    return "\n\n".join(texts) or "Every model got a value for every proxy."


def torchvision_text() -> str:
    """Say how torchvision was imported."""
    extension = importlib.import_module("torchvision.extension")
    if extension._has_ops():
        return ""
    return (
        " torchvision's compiled operators, which no model here calls, did not fit this torch and "
        "were declared empty, outside archrank, so that timm and torchvision could be imported."
    )


def tables() -> list[str]:
    """Write the page from the lines."""
    results = LINES.read()
    pixels, batch = SETTINGS[0]
    versions = ", ".join(f"{zoo} {version(zoo)}" for zoo in MODELS)
    proxies = ", ".join(f"`{name}`" for name in PROXIES)
    made = made_by("imagenet_models.py", also=f"{versions}, one thread per process")
    return [
        "# ImageNet models of timm and torchvision",
        "",
        f"{made} Where the load before a run is not near 0, other "
        "programs ran on the same cores; CPU seconds stand beside wall seconds for that. "
        f"{len(NAMES)} models, random weights, random images, seed 0.{torchvision_text()}",
        "",
        "No accuracies stand beside: timm's installed package brings no table of them, and none "
        "were typed in from elsewhere.",
        "",
        "## `archrank rank`",
        "",
        f"`archrank rank MODEL... --by {','.join(PROXIES)} --input 3,224,224 --batch {batch} "
        f"--jobs {JOBS}`: {proxies}, none of which needs a backward pass. From the start of the "
        "command to its end, imports included.",
        "",
        *ranks_table(results),
        "",
        target_text(results),
        "",
        failed_text(results),
        "",
        "## By part",
        "",
        f"{pixels} x {pixels}, batch {batch}, one model after the other in one process with one "
        "thread, imports left out, while other programs ran.",
        "",
        *split_table(results),
        "",
        "## What a small batch changes",
        "",
        "Kendall's tau-b with the proxy's own order at the largest batch, 224 x 224; and of that "
        "order with the models' parameters and FLOPs. In brackets 95 % intervals: bootstrap over "
        "models, seed 0, 1,000 resamples.",
        "",
        *orders_table(results),
        "",
        "A dash: all models have the same value. `swap` counts patterns of on and off over a batch,"
        " of which there are at most 2^batch; where it has a dash every model reaches them all "
        "and the proxy orders nothing. It needs larger batches.",
        "",
        "## Zero-shot prediction after tracing",
        "",
        zero_shot_text(results),
    ]


def main() -> None:
    """Measure what is missing, and write the page."""
    warnings.simplefilter("ignore")  # of models' own code
    measure_and_write(__doc__, PAGE, run, tables)


if __name__ == "__main__":
    main()
