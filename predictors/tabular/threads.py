"""A decorator for linear algebra on one thread, where several would mostly wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

Given = ParamSpec("Given")
Made = TypeVar("Made")


def on_one_thread(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Return the function, limited to one thread for linear algebra.

    Fits decompose hundreds of matrices of hundreds of rows. Threads that share so little work wait
    actively for each other: two threads take three times as long as one. The limit applies while
    the function runs.

    Example:
        >>> on_one_thread(max)(2, 3)
        3
    """

    @wraps(function)
    def limited(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@cache
def _libraries() -> ThreadpoolController:
    """Return the loaded libraries that have threads; the search is done once, since it takes ms."""
    return ThreadpoolController()
