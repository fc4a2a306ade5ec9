"""Predicted memory of networks, compared with the memory that torch holds on the CPU.

Run from the repository: ``python experiments/memory.py``. The script runs 40 networks of timm with
random weights, in single precision and in bfloat16: a forward pass, and a training step (forward
and backward; the states of the optimiser are added as their sizes). It counts the storages that
operators make and release. Started again, it continues where it was: finished networks are lines of
``experiments/results/stores/memory.jsonl``. At the end it writes ``experiments/results/memory.md``.
Nothing was fitted to these networks.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from common import RESULTS, STORES, Lines, made_by, markdown_table, measure_and_write
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import archrank
from archrank.costs.memory import inference_memory, training_memory
from archrank.scoring.zoos import import_zoo

PAGE, LINES = RESULTS / "memory.md", Lines(STORES / "memory.jsonl")
BATCH = 2
PRECISIONS = {"fp32": "fp32", "half": "bfloat16"}
NAMES = """
resnet18 resnet50 mobilenetv3_large_100 efficientnet_b0 convnext_atto vit_tiny_patch16_224
swin_tiny_patch4_window7_224 densenet121 regnety_004 mixer_s32_224 repvgg_a0 ghostnet_100
poolformer_s12 mobilevit_s xcit_nano_12_p16_224 levit_128 pvt_v2_b0 edgenext_xx_small
deit3_small_patch16_224 hrnet_w18_small res2net50_26w_4s resnest14d dpn48b dla34 inception_v3
nf_regnet_b0 coat_tiny fastvit_t8 efficientformer_l1 tinynet_e mnasnet_100 semnasnet_100 rexnet_100
hardcorenas_a spnasnet_100 fbnetc_100 botnet26t_256 halonet26t crossvit_tiny_240 vgg11""".split()


class Living(TorchDispatchMode):
    """Bytes of all storages that operators made and nobody has let go of, and the most so far."""

    def __init__(self, there: set[int]):
        super().__init__()
        self.alive = self.peak = 0
        self.known = there

    def hold(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if size and key not in self.known:
            self.known.add(key)
            self.alive += size
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self.free, key, size)

    def free(self, key: int, size: int) -> None:
        """Note that a storage is gone."""
        self.known.discard(key)
        self.alive -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.hold(tensor)
        return made


def really(model: torch.nn.Module, images: torch.Tensor, training: bool) -> int:
    """Measure the weights and the most that a forward, or a forward and a backward, has alive."""
    model.train(training)
    with Living({t.untyped_storage()._cdata for t in model.state_dict().values()}) as living:
        living.hold(images)
        with torch.set_grad_enabled(training):
            made = model(images)
            if training:
                (made if isinstance(made, torch.Tensor) else made[0]).sum().backward()
            del made
    for parameter in model.parameters():
        parameter.grad = None
    return living.peak + sum(p.nbytes for p in model.parameters())


def compared(name: str, precision: str) -> dict:
    """Predicted and real bytes of one network."""
    torch.manual_seed(0)
    model = import_zoo("timm").create_model(name).eval()
    shape = tuple(model.pretrained_cfg["input_size"])
    graph = archrank.trace(model, shape)
    images = torch.randn(BATCH, *shape)
    if precision == "half":
        model, images = model.bfloat16(), images.bfloat16()
    step = training_memory(graph, BATCH, precision)
    return {
        "inference": inference_memory(graph, BATCH, precision).peak,
        "inference_really": really(model, images, training=False),
        "training": step.peak,
        "training_really": really(model, images, training=True) + step.states,
    }


def run() -> None:
    """Measure all networks that are not in the file yet."""
    keys = [{"name": name, "precision": one} for one in PRECISIONS for name in NAMES]
    for key in LINES.missing(keys):
        LINES.keep(key, **compared(**key))


def tables() -> list[str]:
    """Write the page from the lines."""
    done = {(line["precision"], line["name"]): line for line in LINES.read()}
    summary, networks = [], {name: [name] for name in NAMES}
    for precision, title in PRECISIONS.items():
        for what in ("inference", "training"):
            found = {n: done[precision, n] for n in NAMES if (precision, n) in done}
            ratio = np.array([line[what] / line[f"{what}_really"] for line in found.values()])
            off, worst = np.abs(ratio - 1), int(np.abs(np.log(ratio)).argmax())
            shares = [f"{100 * (off <= most).mean():.0f} %" for most in (0.05, 0.1)]
            told = f"`{[*found][worst]}`, {ratio[worst]:.2f} times the real"
            summary.append([f"{what}, {title}", str(len(found)), *shares, told])
            for name in NAMES:
                cells = ["-", "-"]
                if name in found:
                    real = found[name][f"{what}_really"]
                    cells = [f"{real / 1e6:.1f}", f"{found[name][what] / real:.3f}"]
                networks[name] += cells
    headings = ["network"]
    for title in PRECISIONS.values():
        for what in ("inference", "training"):
            headings += [f"{what}, {title}, MB", "predicted"]
    return [
        "# Memory from the graph alone",
        "",
        f"{made_by('memory.py')} "
        f"{len(NAMES)} networks, batch {BATCH}, AdamW; real: storages that torch had alive on the "
        "CPU. In bfloat16 weights, activations, gradients and states are of 2 bytes.",
        "",
        *markdown_table(
            ("what", "networks", "within 5 %", "within 10 %", "worst"), summary, numbers=True
        ),
        "",
        *markdown_table(headings, networks.values(), numbers=True),
    ]


def main() -> None:
    """Measure what is missing, and write the page."""
    measure_and_write(__doc__, PAGE, run, tables)


if __name__ == "__main__":
    main()
