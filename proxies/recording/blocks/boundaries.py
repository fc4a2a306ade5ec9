"""The boundaries of any network's blocks, found from its data flow.

A block ends where a single tensor carries everything that is still to be read: at such a *cut* the
network is one function after another. Norms that follow a layer, and activations that follow a
layer, its norm or a sum, belong to its block if they lie in the same module. Networks whose cells
read two earlier outputs (DARTS) have no cuts between cells; there the outputs of their modules are
taken instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import nn

from .data_flow import Call, Flow

# Names of what compiled, checkpointed and sharded modules hold, which is what they wrap.
_WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
_LISTS = (nn.Sequential, nn.ModuleList)
_FEWEST_PRODUCTS = 8  # a network of fewer is one stretch anyway


def boundaries(flow: Flow, modules: Mapping[str, nn.Module]) -> list[int]:
    """Return the calls whose results are the blocks' outputs, in order.

    Args:
        flow: of a forward.
        modules: the model's modules by path.
    """
    containers = {
        _unwrapped(path)
        for path, module in modules.items()
        if any(name not in (*_WRAPPED, "parametrizations") for name, _ in module.named_children())
    }
    for call in flow.calls:
        call.path = _unwrapped(call.path)
    found = _cut_boundaries(flow, containers)
    found = _without_split_twins(flow, found, modules)
    products = flow.products
    edges = [-1, *found, len(flow.calls)]
    largest = max(sum(a < p <= b for p in products) for a, b in pairwise(edges))
    if len(products) >= _FEWEST_PRODUCTS and 2 * largest > len(products):
        return _module_boundaries(flow, products) or found
    return found


def _unwrapped(path: str) -> str:
    return ".".join(name for name in path.split(".") if name not in _WRAPPED)


def _cut_boundaries(flow: Flow, containers: set[str]) -> list[int]:
    calls, cuts = flow.calls, _cuts(flow)
    found = []
    since_last = 0
    i = 0
    while i < len(calls):
        since_last += calls[i].role == "product"
        if i in cuts and since_last and len(calls[i].shape) > 2:
            i = _last_attached(calls, i, cuts, containers)
            found.append(i)
            since_last = 0
        i += 1
    return found


def _cuts(flow: Flow) -> set[int]:
    """Return the calls after which no earlier result is read any more, but their own is."""
    reach, cuts = flow.inputs_read, set()  # furthest reader of anything before the call itself
    for i, call in enumerate(flow.calls):
        if reach <= i and call.last_read > i:
            cuts.add(i)
        reach = max(reach, call.last_read)
    return cuts


def _last_attached(calls: list[Call], i: int, cuts: set[int], containers: set[str]) -> int:
    """Return the last cut from ``i`` on that norms and activations of the same block make.

    Moves of numbers between them, as to channels last and back, say nothing of where it ends.
    """
    last = i
    start = i + 1
    for j in sorted(cut for cut in cuts if cut > i):
        following = calls[j]
        if start == j and following.role == "move":
            start = j + 1
            continue
        inside = _belongs(following.path, _home(calls[last].path, containers), calls)
        follows_layer = calls[last].role in ("product", "move", "other")
        attached = following.role == "activation" or (following.role == "norm" and follows_layer)
        if start < j:
            attached = _is_activation(calls[start : j + 1])
        if not (inside and attached):
            break
        last, start = j, j + 1
    return last


def _is_activation(calls: list[Call]) -> bool:
    """Return whether calls that read one result are an activation, as ``x * sigmoid(x)`` is."""
    alike = all(call.shape in ((), calls[-1].shape) for call in calls)  # truths have no shape
    return alike and all(call.by_element for call in calls) and any(c.gates for c in calls)


def _belongs(path: str, home: str, calls: list[Call]) -> bool:
    """Return whether a norm or activation at ``path`` follows inside ``home``.

    It does not if it starts a block that home holds, as in networks of pre-activation.
    """
    inside = f"{home}." if home else ""
    if path == home or not path.startswith(inside):
        return path == home
    child = inside + path[len(inside) :].partition(".")[0]
    return not any(
        call.role == "product" and f"{call.path}.".startswith(f"{child}.") for call in calls
    )


def _home(path: str, containers: set[str]) -> str:
    """Return the module that a call belongs to: its own if that has children, else the outer."""
    return path if path in containers else path.rpartition(".")[0]


def _without_split_twins(
    flow: Flow, found: list[int], modules: Mapping[str, nn.Module]
) -> list[int]:
    """Leave out boundaries inside a module if another one of its class is a block as a whole.

    An inverted residual without its shortcut is a chain, of which every convolution would be a
    block, beside others of its class that are one block each.
    """
    spans: dict[type[nn.Module], list[tuple[int, int]]] = {}
    for path, first, last in flow.modules:
        own = type(modules[path]) if path in modules else nn.Sequential
        if own not in _LISTS and sum(first <= p <= last for p in flow.products) > 1:
            spans.setdefault(own, []).append((first, last))
    inner: set[int] = set()
    for several in spans.values():
        inside = [{b for b in found if first <= b < last} for first, last in several]
        if not all(inside):
            inner.update(*inside)
    return [b for b in found if b not in inner]


def _module_boundaries(flow: Flow, products: list[int]) -> list[int]:
    """Return outputs of the outermost modules that hold at most half of the products each."""
    chosen: dict[str, list[int]] = {}
    for path, first, last in sorted(flow.modules, key=lambda module: module[0].count(".")):
        held = sum(first <= p <= last for p in products)
        around = any(path.startswith(f"{outer}.") for outer in chosen)
        if path and not around and 0 < 2 * held <= len(products):
            chosen.setdefault(path, []).append(last)
    found = sorted(last for several in chosen.values() for last in several)
    return [last for last in found if len(flow.calls[last].shape) > 2] if len(found) > 2 else []
