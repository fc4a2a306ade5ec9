"""A reader of architecture strings, whose errors say the position and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from ...errors import InputError

Value = TypeVar("Value")

_WORD = re.compile(r"[A-Za-z0-9_.]+|.", re.DOTALL)
_INTEGER = re.compile(r"[0-9]{1,9}(?![0-9])")
_LONGEST = 240  # the most characters of an architecture string in a message


class ArchitectureReader:
    """A cursor over one architecture string.

    Example:
        >>> from archrank.data.spaces.reading import ArchitectureReader
        >>> reader = ArchitectureReader("e6k3", "mnasnet")
        >>> reader.expect("e"), reader.integer((1, 4, 6)), reader.expect("k")
        (None, 6, None)
        >>> reader.integer((5,))
        Traceback (most recent call last):
        ...
        archrank.errors.InputError: arch: position 3 of 'e6k3' (mnasnet): got '3', expected 5
    """

    def __init__(self, text: str, space: str):
        if not isinstance(text, str):
            raise InputError(f"arch: got {type(text).__name__}, expected a string of {space}")
        self.text = text
        self.space = space
        self.position = 0

    @property
    def rest(self) -> str:
        """The unread rest of the string."""
        return self.text[self.position :]

    def fail(self, expected: str, at: int | None = None) -> NoReturn:
        """Raise the error for the text at position ``at``, by default the current one."""
        at = self.position if at is None else at
        word = _WORD.match(self.text, at)
        got = repr(word.group()[:60]) if word else "the end"
        shown = self.text
        if len(shown) > _LONGEST:
            start = max(0, at - _LONGEST // 2)
            shown = f"...{shown[start : start + _LONGEST]}..."
        raise InputError(
            f"arch: position {at} of {shown!r} ({self.space}): got {got}, expected {expected}"
        )

    def peek(self, text: str) -> bool:
        """Say whether ``text`` comes next."""
        return self.text.startswith(text, self.position)

    def expect(self, text: str) -> None:
        """Read exactly ``text``."""
        if not self.peek(text):
            self.fail(repr(text))
        self.position += len(text)

    def take(self, text: str) -> bool:
        """Read ``text`` if it comes next, and say whether it did."""
        found = self.peek(text)
        if found:
            self.position += len(text)
        return found

    def match(self, pattern: re.Pattern[str], expected: str) -> str:
        """Read the text that matches a pattern at the current position."""
        found = pattern.match(self.text, self.position)
        if found is None:
            self.fail(expected)
        self.position = found.end()
        return found.group()

    def one_of(self, options: Iterable[str] | Mapping[str, Any]) -> str:
        """Read the longest of the options that comes next."""
        names = list(options)
        found = max((name for name in names if self.peek(name)), key=len, default=None)
        # `conv3` must not be read from `conv31`, so the whole word is compared.
        if found is None or (found[-1:].isalnum() and self._word_goes_on(len(found))):
            self.fail("one of " + ", ".join(names))
        self.position += len(found)
        return found

    def _word_goes_on(self, length: int) -> bool:
        after = self.text[self.position + length : self.position + length + 1]
        return after.isalnum() or after == "_"

    def integer(self, allowed: Iterable[int] | None = None) -> int:
        """Read a whole number, one of ``allowed`` if given."""
        match = _INTEGER.match(self.text, self.position)
        expected = "a whole number"
        if allowed is not None:
            allowed = list(allowed)
            expected = (
                str(allowed[0])
                if len(allowed) == 1
                else f"{allowed[0]} to {allowed[-1]}"
                if len(allowed) > 8
                else "one of " + ", ".join(map(str, allowed))
            )
        if not match or (allowed is not None and int(match.group()) not in allowed):
            self.fail(expected)
        self.position = match.end()
        return int(match.group())

    def digit(self, allowed: Iterable[int]) -> int:
        """Read one digit, one of ``allowed``."""
        here = self.text[self.position : self.position + 1]
        allowed = list(allowed)
        if not (here.isascii() and here.isdigit()) or int(here) not in allowed:
            self.fail("one of the digits " + ", ".join(map(str, allowed)))
        self.position += 1
        return int(here)

    def several(self, number: int, separator: str, read: Callable[[], Value]) -> tuple[Value, ...]:
        """Read ``number`` values by a function, with a separator between them.

        Example:
            >>> reader = ArchitectureReader("8:16:16", "nats_sss")
            >>> reader.several(3, ":", reader.integer)
            (8, 16, 16)
        """
        values = [read()]
        while len(values) < number:
            self.expect(separator)
            values.append(read())
        return tuple(values)

    def end(self) -> None:
        """Fail if anything follows."""
        if self.position != len(self.text):
            self.fail("the end")
