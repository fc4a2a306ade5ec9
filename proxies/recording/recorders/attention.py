"""The recorder of attention maps, and of their gradients."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ....errors import NotApplicable
from ..samples.layout import Layout
from ..samples.survey import CountedLayouts, is_softmax


class AttentionRecorder(TorchDispatchMode):
    """A recorder of attention maps in the forward and of their gradients in the backward."""

    def __init__(self, layouts: CountedLayouts):
        super().__init__()
        self._layouts = layouts
        self._confidence: dict[int, Tensor] = {}
        self._importance: dict[int, Tensor] = {}
        self._maps: dict[int, tuple[Tensor, Layout]] = {}  # an address must not come back

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_softmax(func):
            is_map = self._is_map(result, args[1])
            layout = self._layouts.next("map", result, needed="an attention map" if is_map else "")
            if layout is not None and is_map:
                heads = self._by_head(result, layout)
                self._confidence[result.data_ptr()] = heads.amax(-1).mean((0, 1, 3))
                self._maps[result.data_ptr()] = (result, layout)
        elif func.overloadpacket.__name__ == "_softmax_backward_data":
            place = args[1].data_ptr()
            if place in self._maps:
                layout = self._maps[place][1]
                product = self._by_head(args[0], layout) * self._by_head(args[1], layout)
                self._importance[place] = product.sum((1, 3, 4)).abs().mean(dim=0)
        return result

    def _is_map(self, tensor: Tensor, dim: int) -> bool:
        """Return whether it has as many queries as keys, over which it sums to 1.

        Maps are (N windows, heads, queries, keys) or (N heads, queries, keys), or have their
        windows in a dimension of their own.
        """
        square = tensor.shape[-1] == tensor.shape[-2] > 1
        return 3 <= tensor.dim() <= 5 and square and dim in (-1, tensor.dim() - 1)

    def _by_head(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Return (N, windows, heads, queries, keys); a head is one in all its windows."""
        parts = layout.parts(tensor.detach(), self._layouts.samples)
        heads = 1 if parts.dim() == 3 else parts.shape[-3]
        return parts.reshape(len(parts), -1, heads, *parts.shape[-2:])

    def confidences(self) -> list[Tensor]:
        """Return (heads,) of each map: mean over samples and queries of the largest weight."""
        return self._found([*self._confidence.values()])

    def importances(self) -> list[Tensor]:
        """Return (heads,) of each map, after a backward: mean of ``|sum A * dL/dA|``."""
        return self._found([self._importance[key] for key in self._maps if key in self._importance])

    def _found(self, heads: list[Tensor]) -> list[Tensor]:
        self._layouts.refuse_parts()
        if not heads:
            raise NotApplicable("the model has no attention of tokens to tokens")
        return heads
