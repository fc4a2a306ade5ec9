"""What filters give that multiply spectra: the outputs of convolutions, computed in Fourier space.

The product is no feature of its own, since it is a spectrum. Transformed back it is what the same
convolution would give as a layer, and modes see it as the output of one. So they see products with
matrices that values pick out of a stack, as experts have them, and outputs of recurrent layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fft

from .applying import CELLS, POSITIONS, RECURRENT, filtered, filtered_maps
from .products import GROUPED, MATMUL, PRODUCT_FUNCTIONS
from .provenance import Provenance, tensors_among

_DIMENSIONS: dict[Any, tuple[int, ...] | None] = {
    **dict.fromkeys((fft.fft, fft.ifft, fft.irfft, fft.hfft), (-1,)),
    **dict.fromkeys((fft.fft2, fft.ifft2, fft.irfft2, fft.hfft2), (-2, -1)),
    **dict.fromkeys((fft.fftn, fft.ifftn, fft.irfftn, fft.hfftn), None),
    **dict.fromkeys((torch.istft, Tensor.istft), (-1,)),
}
"""Transforms out of a spectrum, a second one into it included -> the dimensions by default."""

# Functions that return a part of a tensor, or the same: of a filter's output, what the network
# reads of it, such as a sequence without the zeros that it was padded with.
_PARTS = frozenset(
    (
        *(Tensor.__getitem__, torch.narrow, Tensor.narrow, torch.real, Tensor.contiguous),
        *(Tensor.real.__get__, torch.fft.fftshift, torch.fft.ifftshift),  # type: ignore[attr-defined]
        *(Tensor.to, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.type),
    )
)


_SUMS = frozenset((torch.sum, Tensor.sum))
_TURNED = Tensor.mT.__get__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Output:
    """The output of a filter, which the network has not read yet."""

    tensor: Tensor
    filters: tuple[str, ...]
    transformed: frozenset[int]

    def see(self, weights: Iterable[Tensor]) -> None:
        """Let modes see it as a layer's output; it has channels where nothing is transformed."""
        dims = self.tensor.dim()
        maps = dims > 2 and dims - 1 in self.transformed and 1 not in self.transformed
        (filtered_maps if maps else filtered)(self.tensor, *weights)


class FilterOutputs(Provenance):
    """A mode that lets other modes see what filters give, as the outputs of layers."""

    def __init__(self, *origins: Any):
        super().__init__(*origins)
        self._products: dict[int, tuple[Tensor, tuple[str, ...]]] = {}  # spectra times filters
        self._outputs: dict[int, _Output] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not any(self._special):
            return super().call(func, args, kwargs)
        if func in MATMUL and self._is_from_left(args):
            made = self._step(torch.matmul, args[1].mT, self._step(_TURNED, args[0]))
            return self._step(_TURNED, made)
        tensors = [*tensors_among((args, kwargs))]
        read = next((o for t in tensors if (o := self._outputs.pop(id(t), None))), None)
        if read is not None and func not in _DIMENSIONS and func not in _PARTS:
            self._see(read)
            read = None
        names = self._filters_of(func, tensors, args, kwargs) if read is None else read.filters
        result = super().call(func, args, kwargs)
        if func in RECURRENT or func in CELLS:
            return self._note_steps(func, args, kwargs, result)
        if not names:
            others = self._factors(func, args, kwargs)
            output = _Output(result, others, frozenset())
            return self._note(func, args, kwargs, output) if others else result
        back = read is not None or func in _DIMENSIONS or self._multiply(names, tensors)
        back = back or (func in _SUMS and self._special.summed.issuperset(names))
        if isinstance(result, Tensor) and back:
            return self._note(func, args, kwargs, _Output(result, names, _moved(read)))
        written = args[:1] if func is Tensor.__setitem__ else (result,)
        self._products.update((id(made), (made, names)) for made in tensors_among((written, None)))
        return result

    def _filters_of(
        self, func: Any, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, ...]:
        """Return the filters that multiplied the tensors, or do so now."""
        found: dict[str, None] = {}
        for tensor in tensors:
            if id(tensor) in self._products:
                found.update(dict.fromkeys(self._products[id(tensor)][1]))
        known = self._special.spectral | self._special.picked | self._special.summed
        own = [n for n in self._names_of((args, kwargs)) if n in known]
        if own and self._sources(args, kwargs) is None:
            layer = func in POSITIONS or func in RECURRENT or self._as_linear(func, args, kwargs)
            found.update(dict.fromkeys(() if layer else own))
        return tuple(found)

    def _factors(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
        """Return the weights in a product that is no linear layer, as of relative positions."""
        if func not in PRODUCT_FUNCTIONS | GROUPED or self._sources(args, kwargs) is not None:
            return ()
        products = self._parameters if func in GROUPED else self._special.products
        names = [n for n in self._names_of((args, kwargs)) if n in products]
        return tuple(names) if names and self._as_linear(func, args, kwargs) is None else ()

    def _is_from_left(self, args: tuple[Any, ...]) -> bool:
        """Return whether picked matrices multiply a matrix from the left, whose rows they make."""
        if len(args) != 2 or id(args[0]) not in self._products or args[1].dim() < 2:
            return False
        return self._multiply(self._products[id(args[0])][1], [args[1]])

    def _multiply(self, names: tuple[str, ...], tensors: list[Tensor]) -> bool:
        """Return whether picked matrices multiply one of the tensors."""
        return self._special.picked.issuperset(names) and any(
            tensor.is_floating_point() and id(tensor) not in self._products | self._names
            for tensor in tensors
        )

    def _note_steps(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        """Keep what a recurrent layer gives for all steps, or a cell for one, until it is read."""
        weights = (
            [args[i] for i in POSITIONS[func]]
            if func in CELLS
            else [a for a in args if isinstance(a, (list, tuple))][-1],
        )
        names = tuple(n for n in self._names_of((weights, None)) if self._parameters[n].dim() > 1)
        if not names:
            return result
        several = isinstance(result, tuple)
        output = _Output(result[0] if several else result, names, frozenset())
        noted = self._note(func, args, kwargs, output)
        return (noted, *result[1:]) if several else noted

    def _note(self, func: Any, args: Any, kwargs: dict[str, Any], output: _Output) -> Tensor:
        """Keep an output until it is read; return it as a tensor that hooks can be put on."""
        tensor = output.tensor
        if tensor._is_view():
            tensor = torch.ops.aten._unsafe_view(tensor, tensor.shape)
        transformed = output.transformed | _transformed(func, args, kwargs, tensor.dim())
        self._outputs[id(tensor)] = _Output(tensor, output.filters, transformed)
        return tensor

    def _see(self, output: _Output) -> None:
        output.see(self._applied(self._parameters[name]) for name in output.filters)

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if raised[0] is None:
            for output in self._outputs.values():  # which the network returns
                self._see(output)
        self._products.clear()
        self._outputs.clear()


def _moved(read: _Output | None) -> frozenset[int]:
    return frozenset() if read is None else read.transformed


def _transformed(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dims: int
) -> frozenset[int]:
    """Return the dimensions that a transform transforms; none of any other function."""
    if func not in _DIMENSIONS:
        return frozenset()
    default = _DIMENSIONS[func]
    sizes = args[1] if len(args) > 1 else kwargs.get("s")
    if default is None:
        default = tuple(range(-len(sizes) if sizes is not None else -dims, 0))
    given = args[2] if len(args) > 2 else kwargs.get("dim")
    chosen = default if given is None or func in (torch.istft, Tensor.istft) else given
    return frozenset(d % dims for d in ((chosen,) if isinstance(chosen, int) else chosen))
