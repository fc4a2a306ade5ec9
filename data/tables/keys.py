"""Architecture strings from the codes that published tables use; the spaces parse the same strings.

Each function converts the values of one row to one string. It leaves out choices that a code keeps
for inactive layers. Otherwise it does not prune, merge or check anything against a space.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...errors import InputError

# The tuple of NAS-Bench-Suite-Zero has its own order of edges and its own codes.
_NASLIB_201 = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_DIGIT_201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_DIGIT_101 = ("conv3x3", "conv1x1", "maxpool3x3")
_OPS_101 = {2: "maxpool3x3", 3: "conv1x1", 4: "conv3x3"}
_OPS_301 = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
GRAPH_LINKS = (
    (0, 0, 0, 0),
    (0, 0, 0, 1),
    (0, 0, 1, 1),
    (0, 0, 1, 2),
    (0, 0, 1, 3),
    (0, 1, 1, 1),
    (0, 1, 1, 2),
    (0, 1, 2, 2),
    (0, 1, 2, 3),
)
"""The input of each node of NAS-Bench-Graph: 0 is the network's input, k is node k (from 1)."""
GRAPH_OPERATORS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")


def numbers(text: str) -> Any:
    """Read the tuple, list or number that a code such as ``(4, 3, 3)`` spells; run nothing.

    Raises:
        InputError: the text is not a Python literal.

    Example:
        >>> numbers("(4, 3, 3)")
        (4, 3, 3)
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(
            f"architecture: got {text!r}, expected numbers in brackets such as (4, 3, 3)"
        ) from error


def nasbench201(code: str) -> str:
    """Convert a six-number tuple of NAS-Bench-Suite-Zero (its own edge order and codes).

    Example:
        >>> nasbench201("(4, 3, 3, 0, 0, 0)").split("+")[0]
        '|avg_pool_3x3~0|'
    """
    a, b, d, c, e, f = (_NASLIB_201[number] for number in _integers(code, 6, 4))
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def nasbench201_digits(code: str) -> str:
    """Convert six digits in the official order: 0 none, 1 skip, ..., 4 average pool.

    Example:
        >>> nasbench201_digits("421211").split("+")[0]
        '|avg_pool_3x3~0|'
    """
    a, b, c, d, e, f = (_DIGIT_201[int(digit)] for digit in code)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def nasbench201_naslib(architecture: str) -> str:
    """Return the tuple of NAS-Bench-Suite-Zero for an official string: `nasbench201` undone.

    Example:
        >>> nasbench201_naslib(nasbench201("(4, 3, 3, 0, 1, 2)"))
        '(4, 3, 3, 0, 1, 2)'
    """
    a, b, c, d, e, f = (
        _NASLIB_201.index(edge.split("~")[0])
        for node in architecture.split("+")
        for edge in node.strip("|").split("|")
    )
    return str((a, b, d, c, e, f))


def nasbench201_code(architecture: str) -> str:
    """Return the six digits of an official string: `nasbench201_digits` undone.

    Example:
        >>> nasbench201_code(nasbench201_digits("421211"))
        '421211'
    """
    edges = (edge for node in architecture.split("+") for edge in node.strip("|").split("|"))
    return "".join(str(_DIGIT_201.index(edge.split("~")[0])) for edge in edges)


def nasbench101(adjacency: str, operations: str) -> str:
    """Convert a row-major matrix of n*n digits and n names, input and output included.

    Example:
        >>> nasbench101("0110001100010000", "input,conv3x3-bn-relu,conv1x1-bn-relu,output")
        '0110/0011/0001/0000:conv3x3,conv1x1'
    """
    names = operations.split(",")
    size = len(names)
    if len(adjacency) != size * size:
        raise InputError(
            f"architecture: got a matrix of {len(adjacency)} entries for {size} vertices, "
            f"expected {size * size}"
        )
    rows = "/".join(adjacency[i : i + size] for i in range(0, size * size, size))
    return f"{rows}:{','.join(name.removesuffix('-bn-relu') for name in names[1:-1])}"


def nasbench101_digits(adjacency: str, operations: str) -> str:
    """Convert a row-major n*n matrix and n - 2 codes: 0 conv3x3, 1 conv1x1, 2 maxpool3x3.

    Example:
        >>> nasbench101_digits("0110001100010000", "01")
        '0110/0011/0001/0000:conv3x3,conv1x1'
    """
    inner = (_DIGIT_101[int(digit)] for digit in operations)
    return nasbench101(adjacency, ",".join(["input", *inner, "output"]))


def nasbench101_tuple(code: str) -> str:
    """Convert 49 matrix entries and 7 operation codes (0 input, 1 output, 2, 3, 4 interior).

    Example:
        >>> nasbench101_tuple(str((0, 1, *[0] * 47, 0, 1, 0, 0, 0, 0, 0)))
        '01/00:'
    """
    entries = _integers(code, 56, 4)
    operations = entries[49:]
    size = operations.index(1) + 1
    rows = ("".join(map(str, entries[7 * i : 7 * i + size])) for i in range(size))
    return f"{'/'.join(rows)}:{','.join(_OPS_101[op] for op in operations[1 : size - 1])}"


def nasbench301(code: str) -> str:
    """Convert two cells of eight (input, operation code) pairs; a node's pairs are in input order.

    Example:
        >>> cell = "[(0, 0), (1, 5), (1, 1), (0, 1), (1, 3), (0, 3), (1, 3), (3, 2)]"
        >>> nasbench301(f"[{cell}, {cell}]")[:40]
        'normal:|max_pool_3x3~0|dil_conv_3x3~1|+|'
    """
    normal, reduce = numbers(code)
    return f"normal:{_cell(normal)} reduce:{_cell(reduce)}"


def _cell(pairs: Sequence[tuple[int, int]]) -> str:
    nodes = (sorted(pairs[i : i + 2]) for i in range(0, 8, 2))
    return "+".join(
        "|" + "".join(f"{_OPS_301[op]}~{source}|" for source, op in node) for node in nodes
    )


def transnas_micro(code: str) -> str:
    """Convert six numbers in the order of the official string.

    Example:
        >>> transnas_micro("(1, 0, 0, 2, 1, 0)")
        '64-41414-1_00_210'
    """
    a, b, c, d, e, f = _integers(code, 6, 3)
    return f"64-41414-{a}_{b}{c}_{d}{e}{f}"


def transnas_micro_study(code: str) -> str:
    """Convert six numbers as the zero-cost study codes cells on SVHN, CIFAR-100 and NinaPro.

    Its edge order and codes are those of its NAS-Bench-201 cells, and its networks have three
    modules: types 4, 1, 4.

    Example:
        >>> transnas_micro_study("(2, 0, 1, 3, 1, 0)")
        '64-414-3_12_001'
    """
    digits = (1, 0, 3, 2)  # skip, none, conv3x3, conv1x1
    a, b, d, c, e, f = (digits[number] for number in _integers(code, 6, 3))
    return f"64-414-{a}_{b}{c}_{d}{e}{f}"


def transnas_macro(code: str) -> str:
    """Convert four to six module types; zeros at the end are padding.

    Example:
        >>> transnas_macro("(1, 2, 4, 2, 0, 0)")
        '64-1242-basic'
    """
    return f"64-{''.join(map(str, _integers(code, None, 4))).rstrip('0')}-basic"


def mnasnet(*choices: Any) -> str:
    """Convert (expansion, kernel, layers, squeeze-and-excitation) of each of seven stages.

    Example:
        >>> mnasnet(*[6, 3, 1, False] * 6, 4, 5, 2, True)[-15:]
        'e6k3l1-e4k5l2se'
    """
    stages = (choices[i : i + 4] for i in range(0, len(choices), 4))
    return "-".join(f"e{e}k{k}l{n}{'se' if se else ''}" for e, k, n, se in stages)


def ofa_mobilenetv3(kernels: str, expansions: str, depths: str, resolution: Any) -> str:
    """Convert 20 kernels, 20 expansions and 5 depths; blocks past a stage's depth are left out.

    Example:
        >>> ofa_mobilenetv3(str([3, 5, 7, 7] * 5), str([6, 4, 3, 3] * 5), "[2,2,2,2,3]", 224)[-28:]
        'k3e6,k5e4-k3e6,k5e4,k7e3@224'
    """
    kernel, expansion, depth = numbers(kernels), numbers(expansions), numbers(depths)
    stages = (
        ",".join(f"k{kernel[4 * s + i]}e{expansion[4 * s + i]}" for i in range(depth[s]))
        for s in range(len(depth))
    )
    return f"{'-'.join(stages)}@{int(resolution)}"


def enas(code: str) -> str:
    """Drop the spaces of the published list.

    Example:
        >>> enas("[[1], [4, 0]]")
        '[[1],[4,0]]'
    """
    return code.replace(" ", "")


def gpt(width: int, heads: str, ratios: str, bias: Any) -> str:
    """Convert the width and the heads and multi-layer ratios of each layer.

    Example:
        >>> gpt(192, "12,8", "2,3", "True")
        'e192-b1-h12m2,h8m3'
    """
    layers = zip(heads.split(","), ratios.split(","), strict=True)
    return f"e{width}-b{int(str(bias) == 'True')}-{','.join(f'h{h}m{m}' for h, m in layers)}"


def flexibert(config: str) -> str:
    """Convert the published JSON of hidden size and encoder layers.

    Example:
        >>> layer = {"operation_type": "SA", "operation_parameter": "SDP", "num_feed_forward": 1,
        ...          "num_operation_heads": 2, "feed_forward_dimension": 512}
        >>> flexibert(json.dumps({"hidden_size": 128, "nas_config": {"encoder_layers": [layer]}}))
        'h128-sa:sdp:2:512x1'
    """
    found = json.loads(config)
    layers = (
        f"{layer['operation_type']}:{layer['operation_parameter']}:{layer['num_operation_heads']}"
        f":{layer['feed_forward_dimension']}x{layer['num_feed_forward']}"
        for layer in found["nas_config"]["encoder_layers"]
    )
    return "-".join([f"h{found['hidden_size']}", *layers]).lower()


@lru_cache(maxsize=1 << 16)  # nine data sets hold the same codes
def nasbench_graph(code: int) -> str:
    """Convert five decimal digits: link pattern, then four operations.

    Example:
        >>> nasbench_graph(81111)
        '0,1,2,3:gcn,gcn,gcn,gcn'
    """
    links, *operations = (int(digit) for digit in f"{code:05d}")
    names = ",".join(GRAPH_OPERATORS[op] for op in operations)
    return f"{','.join(map(str, GRAPH_LINKS[links]))}:{names}"


def graphgym(before: int, passing: int, behind: int, stage: str, aggregation: str) -> str:
    """Convert layers before, passing and behind, skips and aggregation of the second round.

    Its networks have norms, parametric ReLUs and no dropout.

    Example:
        >>> graphgym(1, 2, 2, "skipsum", "max")
        'pre1-mp2-post2-skipsum-max-bn-prelu-drop0'
    """
    return f"pre{before}-mp{passing}-post{behind}-{stage}-{aggregation}-bn-prelu-drop0"


def graphgym_recipe(*choices: Any) -> str:
    """Convert a design of the first round with its norm, activation, dropout and recipe.

    Example:
        >>> graphgym_recipe(1, 2, 2, "stack", "add", False, "relu", 0.3, "adam", 0.01, 32, 99)
        'pre1-mp2-post2-stack-add-plain-relu-drop0.3@adam-lr0.01-b32-e99'
    """
    *layers, stage, aggregation, norm, activation, dropout, optimiser, rate, batch, epochs = choices
    before, passing, behind = layers
    return (
        f"pre{before}-mp{passing}-post{behind}-{stage}-{aggregation}-{'bn' if norm else 'plain'}-"
        f"{activation}-drop{dropout:g}@{optimiser}-lr{rate:g}-b{batch}-e{epochs}"
    )


def imagenet_zoo(model: str, size: int) -> str:
    """Convert the name of a checkpoint or a model of timm, and the size of its images.

    Example:
        >>> imagenet_zoo("resnet50.a1_in1k", 224)
        'resnet50.a1_in1k@224'
    """
    return f"{model}@{size}"


def _integers(code: str, length: int | None, largest: int) -> list[int]:
    found = list(numbers(code))
    fits = all(type(number) is int and 0 <= number <= largest for number in found)
    if not fits or (length is not None and len(found) != length):
        count = "some" if length is None else str(length)
        raise InputError(
            f"architecture: got {code!r}, expected {count} numbers from 0 to {largest}"
        )
    return found
