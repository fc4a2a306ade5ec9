"""Options that several commands share, each with its help in whole sentences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...errors import ArchrankError, InputError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import nn

SPEC_HELP = (
    "Your own file or package (models.py, or models.py:name for one of its networks), a "
    "model of timm or torchvision ('timm:resnet18', 'timm:mobilenetv3*', "
    "'timm:resnet18[num_classes=10]'), a file of torch.export.save (net.pt2) or "
    "ONNX (net.onnx), or an architecture of a search space (hiaml:z-z-a22-l20)."
)
Specs = Annotated[list[str], typer.Argument(metavar="CANDIDATES", help=SPEC_HELP)]
Model = Annotated[str, typer.Argument(metavar="MODEL", help=SPEC_HELP)]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="The shape of one sample without batch dimension, as in 3,224,224. By default"
        " each model has its own: a file sets INPUT = (3, 224, 224), and a model of "
        "timm has a configuration.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="The data to run the networks on: digits, cifar10, mnist, a folder of images with "
        "one subfolder per class, or file.py:loader. By default the data are random.",
    ),
]
LossName = Annotated[
    str | None,
    typer.Option(
        "--loss",
        help="The loss, as file.py:loss. It is called with the output and the targets. By "
        "default it is cross-entropy.",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="The seed of everything random: weights, data, resamples.")
]
Seeds = Annotated[
    int, typer.Option(min=1, help="The number of initialisations; scores are averaged over them.")
]
Device = Annotated[
    str, typer.Option(help="The device to run on: auto (CUDA if available), cpu, cuda, cuda:1.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="The number of samples in a batch.")]
Jobs = Annotated[int, typer.Option(min=1, help="The number of processes that share the work.")]
Combine = Literal["mean_rank", "log_rank", "vote"]
EngineName = Literal["local", "ray"]
Level = Literal["auto", "graphs", "quick", "full"]
Engine = Annotated[
    EngineName,
    typer.Option(help="Where to do the work: on this machine, or on every core of a Ray cluster."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The address of the Ray cluster. By default a cluster is started on this machine."
    ),
]
Task = Annotated[
    str | None, typer.Option(help="The task of the space or table. By default it is the first one.")
]
OutTable = Annotated[Path | None, typer.Option("--out", help="Write the table to this CSV file.")]
NamesFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="Read more names from this file: one per line, or the first column of a .csv.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress and messages.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def one_model(
    spec: str, shape: Any, data: str | None = None, batch_size: int = 64, seed: int = 0
) -> tuple[str, nn.Module, Any]:
    """Build the only model that a name stands for; return its name, itself and its input."""
    from ...graphs.randomness import seeded
    from ...scoring.candidates import collect

    found = collect(spec)
    if len(found) > 1:
        names = ", ".join(c.name for c in found[:8])
        raise InputError(
            f"MODEL: got {spec!r}, which stands for {len(found)} models, expected one; "
            f"add its name, as in models.py:name (there are {names})"
        )
    (candidate,) = found
    try:
        with seeded(seed):
            module = candidate.built()
    except ArchrankError:
        raise
    except Exception as error:  # the user's own builder may raise anything
        raise UnsupportedModelError(
            f"MODEL: {candidate.name!r} cannot be built ({type(error).__name__}: {error})"
        ) from error
    if data is not None:
        from ...scoring.named_data import DataSource

        source = DataSource(data, shape)
        return candidate.name, module, source.batches([candidate.inputs], batch_size, 2, seed)
    try:
        return candidate.name, module, candidate.inputs_for(module, shape)
    except InputError:
        raise InputError(
            f"--input: {spec!r} does not say its input; pass it, as in --input 3,32,32"
        ) from None
