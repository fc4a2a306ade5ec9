"""What is wrong with a command line, in one sentence, and what to write instead."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from ...errors import did_you_mean
from .console import say

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
}
"""What was expected, by the kinds of error of the library that checks options."""
_SAME = {"proxies": "by", "by": "proxies", "shape": "input", "output": "out", "verbose": "quiet"}
"""What an option may be called in another command, or elsewhere, and its name here."""


def misused(error: Any) -> int:
    """Say what is wrong with a command line, and return the exit code.

    Args:
        error: what the command line's library raises. The kind of error tells what happened; its
            message is in other words than ours, and is shown only for kinds that are new to us.
    """
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":  # the message is the help
        say(error.format_message())
        return int(error.exit_code)
    context = getattr(error, "ctx", None)
    say(f"error: {_said(kind, error, context)}")
    if context is not None:
        say(f"help: {context.command_path} -h")
    return int(error.exit_code)


def _said(kind: str, error: Any, context: Any) -> str:
    causes: list[Any] = getattr(error.__cause__, "errors", list)()
    if causes:
        return _misvalued(error, causes[0])
    if kind == "BadOptionUsage":
        needed = "requires" in error.message
        return f"{error.option_name}: {'a value is missing' if needed else 'it takes no value'}"
    if context is None:
        return str(error.format_message())
    if kind == "MissingParameter":
        return f"{_written(error.param)} is missing{_example(context)}"
    if kind == "NoSuchOption":
        hint = _option_meant(error.option_name, context.command.params)
        return f"{context.command_path} has no option {error.option_name}{hint}"
    commands = getattr(context.command, "commands", None)
    if kind == "UsageError" and commands is not None:
        return _no_command(_quoted(error.message), context.command_path, commands)
    if kind == "UsageError":
        extra = re.sub(r".*\((.*)\)", r"\1", error.message)
        return f"{context.command_path}: {extra!r} is too much{_example(context)}"
    return str(error.format_message())


def _option_meant(written: str, parameters: Iterable[Any]) -> str:
    """Ask whether another option was meant: one of the same letters, or with the same words."""
    known = [option.lstrip("-") for one in parameters for option in one.opts if option[:2] == "--"]
    wanted = written.lstrip("-").replace("_", "-").lower()
    if written[:2] != "--":  # one letter
        close = [name for name in known if name.startswith(wanted)][:3]
    else:
        close = [name for name in known if name.replace("-", "") == wanted.replace("-", "")]
        close = close or [name for name in known if name == _SAME.get(wanted)]
        close = close or [name for name in known if wanted in name.split("-")]
    if close:
        return f"; did you mean {' or '.join(f'--{name}' for name in close)}?"
    return "; " + hint.rstrip() if (hint := did_you_mean(wanted, known, "--")) else ""


def _no_command(written: str, path: str, commands: Iterable[str]) -> str:
    if not written:
        return f"a command is missing, expected one of {', '.join(commands)}"
    if os.path.exists(written) or written.endswith(".py"):
        return f"{written!r} is no command; did you mean {path} rank {written}?"
    hint = did_you_mean(written, commands)
    return f"{written!r} is no command, {hint}expected one of {', '.join(commands)}"


def _misvalued(error: Any, cause: dict[str, Any]) -> str:
    """Say what an option got and what it expects."""
    option, given = _written(error.param), cause["input"]
    if str(error.ctx.get_parameter_source(error.param.name)).endswith("DEFAULT_MAP"):
        option = f"{option.lstrip('-')} in pyproject.toml"
    if cause["type"] in _EXPECTED:
        hint, expected = "", _EXPECTED[cause["type"]].format(**cause.get("ctx", {}))
    else:  # "'mean' is not one of 'mean_rank', 'vote'"
        _, *known = re.findall("'([^']*)'", cause["msg"])
        if not known:
            return f"{option}: got {given!r} ({cause['msg']})"
        hint, expected = did_you_mean(str(given), known), f"one of {', '.join(known)}"
    return f"{option}: got {given!r}, {hint}expected {expected}"


def _written(parameter: Any) -> str:
    """Return how a parameter is written: an argument's name, or an option with its dashes."""
    return str(parameter.metavar or max(parameter.opts, key=len))


def _quoted(message: str) -> str:
    """Return the first text in quotes."""
    found = re.search("'([^']*)'", message)
    return found[1] if found else ""


def _example(context: Any) -> str:
    """Return a call of the command that works, which its help shows as well."""
    epilog = context.command.epilog or ""
    return f"; for example: {epilog.removeprefix('Example: ')}" if epilog else ""
