"""The registry of proxies and their facts.

A proxy is one pure function from recorded signals to values. Its parameters are named after the
signals that it needs (see ``archrank.proxies.recording.signals``). The planner therefore knows what
to record, and a test can call the function on tensors made by hand. Keyword-only parameters are
options with published defaults: ``swap_regular[mu=40,sigma=20]`` sets them.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, get_args, get_type_hints

from ..errors import InputError, did_you_mean
from .recording.signals import SIGNALS

ONE_FORWARD = "1 forward"
"""The least that a proxy can cost which runs a network."""


@dataclass(frozen=True)
class Measure:
    """The values that a proxy's function returns.

    Attributes:
        total: the score of the network.
        by_parameter: parts of the total by parameter name, if it is made of such parts.
        by_node: parts of the total by node index, if it is made of such parts.
    """

    total: float
    by_parameter: Mapping[str, float] | None = None
    by_node: Mapping[int, float] | None = None


def total_of(parts: Mapping[str, float]) -> Measure:
    """Return the measure whose total is the sum over parameters."""
    return Measure(float(sum(parts.values())), by_parameter=parts)


@dataclass(frozen=True)
class Proxy:
    """The facts of one proxy and its pure function.

    Attributes:
        name: the name by which users ask for it.
        function: recorded signals -> ``Measure``; its parameters are named after the signals.
        version: a number that is raised whenever the proxy's value changes.
        summary: one line that says what it measures.
        formula: its formula in the notation of the documentation: g gradient, W weight, L loss, N
            batch.
        reference: its paper, or "our choice".
        higher_is_better: whether a higher value predicts a higher accuracy.
        mode: the mode in which the model runs: ``"train"``, ``"eval"``, ``"as given"``, or
            ``"any"`` if it makes no difference.
        initialisation: ``"as given"``, or the distribution or constant that the weights are set to.
        dtype: ``"model"`` (half precision is promoted to float32) or ``"float64"``.
        deterministic: whether the value depends only on the weights and the batch.
        cost: the passes over the network, in words.
        labels: whether it needs targets and a loss.
        reads: parameter -> signal, for parameters that take another signal than the one they are
            named after.
    """

    name: str
    function: Callable[..., Measure]
    version: int
    summary: str
    formula: str
    reference: str
    higher_is_better: bool = True
    mode: str = "train"
    initialisation: str = "as given"
    dtype: str = "model"
    deterministic: bool = True
    cost: str = ""
    labels: bool = False
    reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Short name of the code that a variant reproduces; empty for our own definitions.

        Example:
            >>> from archrank import proxies
            >>> proxies.get("snip@foresight").source, proxies.get("snip").source
            ('foresight', '')
        """
        return self.name.partition("[")[0].rpartition("@")[2] if "@" in self.name else ""

    @property
    def sign(self) -> float:
        """1 if higher values are better, else -1; a higher ``sign * value`` is always better.

        Example:
            >>> from archrank import proxies
            >>> proxies.get("snip").sign, proxies.get("ntk_condition").sign
            (1.0, -1.0)
        """
        return 1.0 if self.higher_is_better else -1.0

    @property
    def is_quick(self) -> bool:
        """Whether the proxy needs one forward pass and nothing more.

        Example:
            >>> from archrank import proxies
            >>> proxies.get("naswot").is_quick, proxies.get("snip").is_quick
            (True, False)
        """
        return self.cost == ONE_FORWARD

    @property
    def signals(self) -> dict[str, str]:
        """Parameter of the function -> name of the signal that it takes."""
        parameters = self._parameters.items()
        return {n: self.reads.get(n, n) for n, p in parameters if p.kind is not p.KEYWORD_ONLY}

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the signals that the function takes."""
        return tuple(self.signals.values())

    @property
    def options(self) -> dict[str, float | str]:
        """Options and their values."""
        return {n: p.default for n, p in self._parameters.items() if p.kind is p.KEYWORD_ONLY}

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters


_REGISTRY: dict[str, Proxy] = {}


def register(
    name: str, *, summary: str, formula: str, reference: str, version: int = 1, **facts: Any
) -> Callable[[Callable[..., Measure]], Callable[..., Measure]]:
    """Register the decorated function as the proxy ``name``; see ``Proxy`` for the facts.

    Raises:
        InputError: the name is taken, or a parameter of the function names no signal.

    Example:
        >>> from archrank.proxies import register, Measure, unregister
        >>> @register("weights_used", summary="Number of weights.", formula="m", reference="ours")
        ... def weights_used(weights):
        ...     return Measure(float(sum(w.numel() for w in weights.values())))
        >>> import torch, archrank
        >>> scores = archrank.score(torch.nn.Linear(4, 2), (4,), proxies="weights_used")
        >>> scores["weights_used"].value
        8.0
        >>> unregister("weights_used")
    """

    def add(function: Callable[..., Measure]) -> Callable[..., Measure]:
        _add(Proxy(name, function, version, summary, formula, reference, **facts))
        return function

    return add


def register_variant(name: str, of: str, **changed: Any) -> None:
    """Register the proxy ``of`` as its variant ``name`` (NAME@SOURCE), with some facts changed."""
    _add(replace(_REGISTRY[of], name=name, version=1, **changed))


def _add(proxy: Proxy) -> None:
    if proxy.name in _REGISTRY:
        raise InputError(f"name: a proxy called {proxy.name!r} is registered already")
    unknown = [need for need in proxy.needs if need not in SIGNALS]
    if unknown:
        raise InputError(
            f"{proxy.name}: its function takes {', '.join(map(repr, unknown))}, expected only the "
            f"signals {', '.join(SIGNALS)}"
        )
    _REGISTRY[proxy.name] = proxy


def unregister(name: str) -> None:
    """Remove a proxy from the registry, e.g. before a notebook registers it again."""
    del _REGISTRY[get(name).name.partition("[")[0]]


def get(name: str) -> Proxy:
    """Return the proxy called ``name``, with options as in ``name[option=value,...]``.

    Raises:
        InputError: there is no such proxy (the message names similar ones), or it has no such
            option.

    Example:
        >>> from archrank import proxies
        >>> proxies.get("swap_regular[mu=40]").options
        {'mu': 40.0, 'sigma': 40.0}
    """
    base, bracket, options = name.partition("[")
    if bracket and options.endswith("]") and base in _REGISTRY:
        return _with_options(_REGISTRY[base], options[:-1])
    if name not in _REGISTRY:
        known = ", ".join(proxy.name for proxy in all_proxies("@" in name))
        hint = did_you_mean(name, _REGISTRY) or f"known are {known}; "
        raise InputError(
            f"proxy: no proxy is called {name!r}; {hint}`archrank proxies` describes them all"
        )
    return _REGISTRY[name]


def names_in(text: str) -> list[str]:
    """Return the names in a list separated by commas; commas inside brackets do not separate.

    Example:
        >>> names_in("params, swap_regular[mu=40,sigma=20]")
        ['params', 'swap_regular[mu=40,sigma=20]']
    """
    return [name.strip() for name in re.split(r",(?![^\[]*\])", text)]


def _with_options(proxy: Proxy, text: str) -> Proxy:
    """Return the proxy with some options set, named with all that differ from their default."""
    values = dict(proxy.options)
    for item in text.split(","):
        option, _, value = item.strip().partition("=")
        if option not in values:
            raise InputError(
                f"proxy: {proxy.name!r} has no option {option!r}; it has "
                f"{', '.join(f'{n}={v}' for n, v in values.items()) or 'none'}"
            )
        default = values[option]
        if isinstance(default, str):
            choices = get_args(get_type_hints(proxy.function).get(option))
            if choices and value not in choices:
                raise InputError(
                    f"proxy: option {option!r} of {proxy.name!r} got {value!r}, expected one of "
                    f"{', '.join(choices)}"
                )
            values[option] = value
            continue
        try:
            values[option] = number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InputError(
                f"proxy: option {option!r} of {proxy.name!r} got {value!r}, expected a number"
            )
    changed = [f"{n}={_short(v)}" for n, v in values.items() if v != proxy.options[n]]
    if not changed:
        return proxy
    return replace(
        proxy,
        name=f"{proxy.name}[{','.join(changed)}]",
        function=partial(proxy.function, **values),
    )


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else repr(float(value)).removesuffix(".0")


def all_proxies(variants: bool = False) -> list[Proxy]:
    """Return all proxies, in the order in which they were registered.

    Args:
        variants: whether to include variants that reproduce a published code, NAME@SOURCE.
    """
    return [proxy for proxy in _REGISTRY.values() if variants or not proxy.source]
