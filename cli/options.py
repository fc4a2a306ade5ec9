"""Options that several commands share, and the one model that some of them take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ArchrankError, InputError, UnsupportedModelError

if TYPE_CHECKING:
    from torch import nn

SPEC_HELP = (
    "models.py, models.py:name, timm:resnet18, 'timm:mobilenetv3*', 'torchvision:*', "
    "hiaml:z-z-a22-l20 (an architecture of a search space)"
)
Input = Annotated[
    str | None,
    typer.Option("--input", help="Shape of one sample, as 3,224,224; default the models' own."),
]
Seed = Annotated[int, typer.Option(help="Seed of weights and data.")]
Device = Annotated[
    str, typer.Option(help="Device: auto (CUDA if there is one), cpu, cuda, cuda:1, ...")
]
Data = Annotated[
    str | None,
    typer.Option(help="Data: digits, cifar10, a folder of images, file.py:loader; default random."),
]
LossName = Annotated[
    str | None,
    typer.Option("--loss", help="Loss, as file.py:loss, called with output and targets."),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Samples per batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Model = Annotated[str, typer.Argument(help=SPEC_HELP)]

Jobs = Annotated[
    int, typer.Option(min=1, help="Number of processes that share the scoring of architectures.")
]


def one_model(
    spec: str, shape: Any, data: str | None = None, batch_size: int = 64, seed: int = 0
) -> tuple[str, nn.Module, Any]:
    """Build the only model that a name stands for; return its name, itself and its input."""
    from ..scoring.candidates import collect

    found = collect(spec)
    if len(found) > 1:
        names = ", ".join(c.name for c in found[:8])
        raise InputError(
            f"MODEL: got {spec!r}, which stands for {len(found)} models, expected one; "
            f"add its name, as in models.py:name (there are {names})"
        )
    (candidate,) = found
    try:
        module = candidate.built()
    except ArchrankError:
        raise
    except Exception as error:  # the user's own builder may raise anything
        raise UnsupportedModelError(
            f"MODEL: {candidate.name!r} cannot be built ({type(error).__name__}: {error})"
        ) from error
    if data is not None:
        from ..scoring.sources import DataSource

        source = DataSource(data, shape)
        return candidate.name, module, source.batches([candidate.inputs], batch_size, 2, seed)
    try:
        return candidate.name, module, candidate.inputs_for(module, shape)
    except InputError:
        raise InputError(
            f"--input: {spec!r} does not say its input; pass it, as in --input 3,32,32"
        ) from None
