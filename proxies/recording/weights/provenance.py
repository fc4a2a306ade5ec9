"""What is computed from parameters alone, and how layers apply it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from ....graphs.functions import DROPOUTS
from .applying import APPLYING, POSITIONS, RECURRENT, weight_of
from .parameters import SpecialWeights, representative
from .products import LinearForm, in_chain, in_steps, linear_form

_NONE = SpecialWeights()
_WRITING = frozenset(
    f"__{name}__"
    for name in "setitem iadd isub imul idiv itruediv ifloordiv imod ipow imatmul".split()
)


def tensors_among(arguments: tuple[Any, Any]) -> Iterator[Tensor]:
    """Yield the tensors among a function's arguments, in lists too."""
    args, kwargs = arguments
    waiting = [*args, *kwargs.values()] if kwargs else [*args]
    for item in waiting:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)


class Provenance(TorchFunctionMode):
    """A mode that knows what is computed from parameters and constants alone.

    Args:
        parameters: name -> tensor that the model holds in its place.
        constants: buffers and other tensors that depend on no input.
        special: the names of parameters that are no matrix of a layer.
    """

    def __init__(
        self,
        parameters: dict[str, Tensor],
        constants: Iterable[Tensor] = (),
        special: SpecialWeights = _NONE,
    ):
        super().__init__()
        self._parameters = parameters
        self._special = special
        self._names: dict[int, tuple[str, ...]] = {id(t): () for t in constants}
        self._names.update((id(t), (name,)) for name, t in parameters.items())
        self._own = {id(t) for t in parameters.values()}
        self._keep: list[Any] = [parameters]  # a freed tensor's identity must not come back

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        steps = in_steps(func, args, kwargs, self._step)
        if steps is not None and self._multiplies(args):
            return steps()
        chain = in_chain(func, args, self._step, lambda tensor: self._names.get(id(tensor)))
        if chain is not None:
            return chain()
        return self.call(func, args, kwargs)

    def _step(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__torch_function__(func, (), args, kwargs)

    def _multiplies(self, args: tuple[Any, ...]) -> bool:
        """Return whether a product with a parameter is added to what is none."""
        base, *factors = ([*self._names_of(((a,), {}))] for a in args[:3])
        return not base and any(factors)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one function of torch."""
        if func in POSITIONS or func in RECURRENT:
            return self._apply(func, args, kwargs)
        sources = self._sources(args, kwargs)
        if sources is None:
            product = self._as_linear(func, args, kwargs)
            if product is not None:
                return product()
            if self._picks(func, args):  # no value that other samples have, too
                names = self._names[id(args[0])]
                for name in names:
                    self.direct(name)
                part: Tensor = self._made(names, func, *args, **kwargs)
                part.picked = True  # type: ignore[attr-defined]
                return part
            for name in self._names_of((args, kwargs)):
                self.direct(name)
            if args and _writes(func) and id(args[0]) not in self._own:
                self._names.pop(id(args[0]), None)
            return self._modulated(func, args, kwargs)
        if func in DROPOUTS:
            return args[0] if args else kwargs["input"]
        return self._made(sources, func, *args, **kwargs)

    def _picks(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Return whether a function takes a part of a weight, at places that values say."""
        if func is not Tensor.__getitem__ or not self._names.get(id(args[0])):
            return False
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        return all(i.dim() == 0 for i in index if isinstance(i, Tensor))

    def _modulated(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of what depends on the input; note kernels that it changes by sample.

        So do styles that scale the kernels of a convolution (StyleGAN2).
        """
        kernels: dict[str, None] = {}
        for tensor in tensors_among((args, kwargs)):
            kernels.update(dict.fromkeys(self._names.get(id(tensor), ())))
            kernels.update(dict.fromkeys(getattr(tensor, "modulates", ())))
        result = func(*args, **kwargs)
        if kernels and isinstance(result, Tensor):
            shapes = {name: self._parameters[name].shape for name in kernels}
            own = tuple(n for n, s in shapes.items() if len(s) > 3 and result.shape[-3:] == s[-3:])
            if own:
                result.modulates = own  # type: ignore[attr-defined]
        return result

    def _made(self, sources: tuple[str, ...], func: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the result of a function of nothing but the parameters ``sources``."""
        # The norms and rectifiers that make a weight are none of the network's.
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            result = func(*args, **kwargs)
        picked = any(hasattr(t, "picked") for t in tensors_among((args, kwargs)))
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor) and id(made) not in self._own:
                if picked:
                    made.picked = True  # type: ignore[attr-defined]
                self._names[id(made)] = sources
                self._keep.append(made)
        return result

    def _apply(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function that applies weights, with what stands for each of them."""
        if func in APPLYING:
            place = POSITIONS[func][0] + 1
            if (args[place] if len(args) > place else kwargs.get("bias")) is None:
                return self._without_bias(func, args, kwargs, place)
        return self._substituted(func, args, kwargs)

    def _without_bias(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: int
    ) -> Any:
        """Run a product without a bias, with the one that the network adds afterwards."""
        name = self._name_of(weight_of(func, args, kwargs))
        bias = None if name is None else self.bias_of(name)
        if bias is not None and len(args) > place:
            args = (*args[:place], bias, *args[place + 1 :])
        elif bias is not None:
            kwargs = {**kwargs, "bias": bias}
        result = self._substituted(func, args, kwargs)
        if name is not None:
            self.multiplied(name, result, -1 if func in (F.linear, F.bilinear) else 1)
        return result

    def _substituted(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        positions = POSITIONS.get(func)
        if positions is None:  # the last list holds a recurrent layer's weights
            positions = (max(i for i, a in enumerate(args) if isinstance(a, (list, tuple))),)
        args = tuple(self._applied(a) if i in positions else a for i, a in enumerate(args))
        kwargs = {n: self._applied(v) if n == "weight" else v for n, v in kwargs.items()}
        return func(*args, **kwargs)

    def _applied(self, weight: Any) -> Any:
        """Return what is applied in place of a weight, or of each in a list."""
        if isinstance(weight, (list, tuple)):
            return [self._applied(one) for one in weight]
        names = self._names.get(id(weight), ())
        if not names:
            return self._modulated_as(getattr(weight, "modulates", ()), weight)
        if weight.dim() < 2:
            return weight
        if id(weight) not in self._own:
            return self.derived(names, weight)
        self.direct(names[0])
        return weight

    def _modulated_as(self, kernels: tuple[str, ...], weight: Any) -> Any:
        """Return what is applied in place of kernels of which each sample has its own."""
        for name in kernels:
            if weight.numel() % self._parameters[name].numel() == 0:
                return self.modulated(name, weight)
        return weight

    def _as_linear(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], Tensor] | None:
        """Return a product with a weight made of parameters as a linear layer; None of others."""
        form = linear_form(func, args, kwargs, self._weight_in)
        if form is None:
            return None
        names = self._names[id(form.source)]
        if form.groups > 1 and not self._of_groups(form.source, names, args):
            return None
        weight = self._made(names, form.weight)
        if hasattr(form.source, "picked"):
            weight.picked = True
        return lambda: self._linear(form, weight)

    def _of_groups(self, weight: Tensor, names: tuple[str, ...], args: tuple[Any, ...]) -> bool:
        """Return whether a weight is of groups: one parameter, of which no number is repeated.

        One that multiplies a complex spectrum has an entry for each frequency instead.
        """
        spectrum = names[0] in self._special.spectral and any(
            tensor.is_complex() for tensor in tensors_among((args, None))
        )
        alone = len(names) == 1 and weight.numel() <= self._parameters[names[0]].numel()
        return alone and not spectrum

    def _linear(self, form: LinearForm, weight: Tensor) -> Tensor:
        """Run a product as a linear layer, with the bias that the network adds afterwards."""
        name = None if form.outputs is None else self._name_of(weight)
        result = form.run(self._applied(weight), None if name is None else self.bias_of(name))
        if name is not None and form.outputs is not None:
            self.multiplied(name, result, form.outputs)
            if form.input is not None:
                self.mapped(name, form.input, weight, result)
        return result

    def _name_of(self, weight: Any) -> str | None:
        """Return the parameter that stands for what a layer applies."""
        names = self._names.get(id(weight))
        if not names or weight.dim() < 2:
            return None
        return (
            names[0] if id(weight) in self._own else representative(names, weight, self._parameters)
        )

    def _weight_in(self, value: Any) -> Tensor | None:
        """Return an argument that is made of parameters alone, once if it repeats itself."""
        names = self._names.get(id(value)) if isinstance(value, Tensor) else None
        if not names or value.dim() < 2:
            return None
        size = sum(self._parameters[name].numel() for name in names)
        while value.dim() > 2 and _repeats(value, size):
            value = self._made(names, value.__getitem__, 0)
        return value if isinstance(value, Tensor) else None

    def _sources(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...] | None:
        """Return the parameters behind all tensors among the arguments; None of any other."""
        found: dict[str, None] = {}
        for tensor in tensors_among((args, kwargs)):
            names = self._names.get(id(tensor))
            if names is None:
                return None
            found.update(dict.fromkeys(names))
        return tuple(found)

    def _names_of(self, arguments: Any) -> Iterator[str]:
        """Yield the parameters behind some of the tensors among the arguments."""
        for tensor in tensors_among(arguments):
            yield from self._names.get(id(tensor), ())

    def derived(self, names: tuple[str, ...], weight: Tensor) -> Tensor:
        """Return what a layer applies in place of a weight made of the parameters ``names``."""
        return weight

    def modulated(self, name: str, weight: Tensor) -> Tensor:
        """Return what a layer applies in place of a parameter that each sample changes."""
        return weight

    def direct(self, name: str) -> None:
        """See that a parameter itself is applied, or is used in another way."""

    def bias_of(self, name: str) -> Tensor | None:
        """Return the bias that a product with a weight is to have."""
        return None

    def multiplied(self, name: str, result: Tensor, outputs: int) -> None:
        """See a product with a weight, and the dimension in which its outputs lie."""

    def mapped(self, name: str, input: Tensor, weight: Tensor, result: Tensor) -> None:
        """See an input times a weight, written as a product, without a bias."""


def _repeats(value: Tensor, size: int) -> bool:
    """Return whether a tensor made of ``size`` numbers is the same in all its first dimension."""
    if len(value) == 1 or value.stride(0) == 0:
        return True
    return len(value) * size == value.numel() and torch.equal(value, value[:1].expand_as(value))


def _writes(func: Any) -> bool:
    """Return whether a function writes to its first argument."""
    name = getattr(func, "__name__", "")
    return name in _WRITING or (name.endswith("_") and not name.endswith("__"))
