"""What ties the command to a shell and a project: completion, and defaults of options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer._completion_shared import get_completion_script

from ...errors import InputError, did_you_mean

Shell = Literal["bash", "zsh", "fish"]
COMPLETES = "_ARCHRANK_COMPLETE"
"""The variable by which a shell asks for completions."""


def completion(
    shell: Annotated[
        Shell, typer.Argument(metavar="SHELL", help="The shell that will complete commands.")
    ],
) -> None:
    """Print a script that completes commands in a shell.

    It completes options and files, too.
    For bash and zsh, eval it in ~/.bashrc or ~/.zshrc. For fish, write it to
    ~/.config/fish/completions/archrank.fish.
    """
    print(get_completion_script(prog_name="archrank", complete_var=COMPLETES, shell=shell))


def project_file(folder: Path) -> Path | None:
    """Return the nearest ``pyproject.toml`` of a folder and those that it lies in."""
    places = (place / "pyproject.toml" for place in (folder, *folder.parents))
    return next((place for place in places if place.is_file()), None)


def defaults(path: Path, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the defaults of each command's options: ``{command: {parameter: value}}``.

    ``[tool.archrank]`` holds options of all commands that have them, ``[tool.archrank.rank]`` those
    of one command. Names are written as on the command line, with - or _; lists are joined by
    commas.

    Args:
        path: of ``pyproject.toml``.
        commands: name -> the command, as the command line's library has it.

    Raises:
        InputError: the file cannot be read, or no command has such an option.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    given = table.get("tool", {}).get("archrank", {})
    if not isinstance(given, dict):
        raise InputError(
            f"{path}: tool.archrank is {given!r}, expected a table, as [tool.archrank] with lines "
            "below it"
        )
    names = {name: _options(command) for name, command in commands.items()}
    shared = {key: value for key, value in given.items() if not isinstance(value, dict)}
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in shared.items():
        option = key.replace("_", "-")
        owners = [name for name, options in names.items() if option in options]
        if not owners:
            known = {one for options in names.values() for one in options}
            raise _unknown(path, "tool.archrank", key, known)
        for name in owners:
            found[name][names[name][option]] = _text(value)
    for section, values in given.items():
        if not isinstance(values, dict):
            continue
        if section not in names:
            raise _unknown(path, "tool", f"archrank.{section}", {f"archrank.{n}" for n in names})
        for key, value in values.items():
            option = key.replace("_", "-")
            if option not in names[section]:
                raise _unknown(path, f"tool.archrank.{section}", key, {*names[section]})
            found[section][names[section][option]] = _text(value)
    return found


def _options(command: Any) -> dict[str, str]:
    """Return a command's options as they are written, without dashes: option -> parameter."""
    return {
        written.lstrip("-"): parameter.name
        for parameter in command.params
        for written in parameter.opts
        if written.startswith("--")
    }


def _text(value: Any) -> Any:
    """Return a value as the command line would hold it."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _unknown(path: Path, section: str, key: str, known: set[str]) -> InputError:
    hint = did_you_mean(key.replace("_", "-"), sorted(known))
    expected = f"expected one of {', '.join(sorted(known))}" if known else "expected nothing there"
    return InputError(f"{path}: [{section}] has {key!r}, {hint}{expected}")
