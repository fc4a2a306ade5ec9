"""Shapes and amounts as they are written on the command line."""

from __future__ import annotations

from ...errors import InputError


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """Return what ``--input`` says, as 3,224,224 or 3x224x224; None if it was not given."""
    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(
            f"--input: got {text!r}, expected whole numbers such as 3,224,224 (no batch dimension)"
        )
    return shape


def amounts(**texts: str | None) -> dict[str, float]:
    """Return what ``--max-NAME`` options say, as 5M, 300k or 1e6; those not given are left out."""
    found = {}
    for name, text in texts.items():
        if text is None:
            continue
        unit = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:], 1.0)
        try:
            amount = float(text[:-1] if unit > 1 else text) * unit
        except ValueError:
            amount = 0.0
        if not 0 < amount < float("inf"):
            raise InputError(
                f"--max-{name}: got {text!r}, expected a number larger than 0, as 300000 or 5M"
            )
        found[name] = amount
    return found


def megabytes(option: str, text: str | None) -> float | None:
    """Return what an option says of memory, as 24GB, 500MB or, in MB, 500; None if it is not given.

    Raises:
        InputError: it is not an amount of memory.
    """
    if text is None:
        return None
    unit = {"GB": 1e3, "MB": 1.0}.get(text[-2:].upper())
    try:
        return amounts(size=text[:-2] if unit else text)["size"] * (unit or 1)
    except InputError as error:
        raise InputError(
            f"{option}: got {text!r}, expected an amount of memory, as 24GB or 500MB"
        ) from error
