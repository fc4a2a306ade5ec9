"""The command ``archrank``: its commands, one file each, and how it ends.

Everything that needs torch is imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer._completion_classes import completion_init

from ..version import VERSION
from .benchmark import benchmark
from .costs import costs
from .data import data
from .fit import fit
from .graph import graph
from .measure import measure
from .predict import predict
from .pretrain import pretrain
from .rank import rank
from .report import report
from .score import proxies, score
from .shared.completion_and_defaults import COMPLETES, completion, defaults, project_file
from .shared.console import INTERRUPTED, errors, say
from .shared.interruption import listen, plain_message
from .shared.misuse import misused

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
EXAMPLES: dict[Callable[..., None], str] = {
    rank: "archrank rank models.py 'timm:resnet*' --input 3,64,64",
    graph: "archrank graph timm:resnet18 --draw resnet18.svg",
    score: "archrank score models.py:net --by params,gradsign --data digits",
    proxies: "archrank proxies --json",
    benchmark: "archrank benchmark --space digits --data digits --sample 200 --store run.sqlite",
    report: "archrank report run.sqlite --out run.html",
    measure: "archrank measure timm:resnet18 models.py --batch-sizes 1,16 --out here.csv",
    costs: "archrank costs timm:resnet50 --on rtx4090,i9-10940x --batch 64",
    fit: "archrank fit --labels results.csv --out model",
    predict: "archrank predict model models.py timm:resnet18",
    pretrain: "archrank pretrain --out encoder --spaces nasbench201,darts --networks 2000",
    completion: 'eval "$(archrank completion bash)"',
}

app = typer.Typer(
    name="archrank",
    help="Rank neural architectures before anyone trains them.",
    epilog="Example: archrank rank models.py --input 3,32,32. "
    "Defaults of options stand in [tool.archrank] of pyproject.toml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in a help text are brackets
    context_settings=HELP_OPTIONS,
)
for command, example in EXAMPLES.items():
    app.command(epilog=f"Example: {example}", context_settings=HELP_OPTIONS)(command)
app.add_typer(data)


def main() -> None:
    """Run the command; the entry point of the console script."""
    listen()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell closed it, as by >&-
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        if COMPLETES in os.environ:  # a shell asks, as the command completion told it to
            completion_init()
        sys.exit(app(prog_name="archrank", standalone_mode=False))
    except BrokenPipeError:  # the reader (head, less) has enough
        _write_nowhere()
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _write_nowhere()
        say("error: the output cannot be written, since no space is left on the device")
        sys.exit(1)
    except KeyboardInterrupt:
        say(plain_message())
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        sys.exit(misused(error))
    finally:
        gc.freeze()  # else Python looks through all of torch before it ends, for a second or two


def _write_nowhere() -> None:
    """Let what is still to be printed be lost, which Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(wanted: bool) -> None:
    if wanted:
        print(f"archrank {VERSION}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Rank neural architectures before anyone trains them."""
    path = project_file(Path.cwd())
    if path is None or context.resilient_parsing:
        return
    with errors():
        commands = context.command.commands  # type: ignore[attr-defined]  # it is a group
        context.default_map = defaults(path, commands)


if __name__ == "__main__":
    main()
