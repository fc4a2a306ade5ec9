"""What a graph says in words, without learning: counts of operator sequences and neighbourhoods.

The vocabulary is open; :class:`~archrank.predictors.features.Features` keeps the words that it was
fitted to. Steps of words are the operators that compute or pool; what lies between them (norms,
activations, sums) is skipped, and what carries no signal does not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..graphs import Graph
from .statistics import KINDS, STEPS, alive_operands, kinds_of

LONGEST = 4
"""Words hold at most this many steps, the latest."""
_MOST = 256  # words that one block may have: the most frequent

Words = dict[tuple[int, ...], float]
_BEGINNING: Words = {(): 1.0}


def path_words(graph: Graph) -> dict[str, float]:
    """How often each sequence of steps occurs: along the paths of blocks, and anywhere.

    A block lies between two nodes that every path passes (the sums that end cells and residual
    blocks, and where paths part). Each of its paths is a ``path`` word, and in any order a ``bag``;
    ``length`` counts steps and ``pair`` neighbours. Graphs whose cells read two earlier ones hardly
    have such blocks: ``chain`` counts three steps in a row wherever they are.

    Source: our choice.

    Example:
        >>> from archrank.data import space
        >>> cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|"
        >>> words = path_words(space("nasbench201").graph(cell))
        >>> words["path conv3 conv1"], words["length 0"]
        (15.0, 15.0)
    """
    operands = alive_operands(graph)
    kinds = kinds_of(graph).tolist()
    found: defaultdict[str, float] = defaultdict(float)
    for word, count in _of_blocks(operands, kinds).items():
        steps = [STEPS[kind] for kind in word]
        found[" ".join(["path", *steps])] += count
        found[" ".join(["bag", *sorted(steps)])] += count
        found[f"length {len(steps)}"] += count
        for first, second in pairwise(steps):
            found[f"pair {first} {second}"] += count
    for word, count in _chains(operands, kinds).items():
        found[" ".join(["chain", *(STEPS[kind] for kind in word)])] += count
    return dict(found)


def _of_blocks(operands: Sequence[list[int] | None], kinds: Sequence[int]) -> Words:
    """The words of all blocks that have more than one path."""
    passed = _passed_by_all(operands)
    consumers = Counter(source for sources in operands for source in sources or ())
    found: Words = {}
    ending: dict[int, Words] = {}  # the words from where a node's block begins to the node
    for node, sources in enumerate(operands):
        if sources is None:
            continue
        here = _merged([ending[source] for source in sources] or [_BEGINNING])
        if kinds[node] < len(STEPS):
            here = _with_step(here, kinds[node], LONGEST)
        if len(here) > _MOST:
            here = dict(sorted(here.items(), key=lambda item: (-item[1], item[0]))[:_MOST])
        if node in passed and len(sources) > 1:
            found = _merged([found, here])
        if node in passed and (len(sources) > 1 or consumers[node] > 1):
            here = _BEGINNING
        ending[node] = here
    return found


def _chains(operands: Sequence[list[int] | None], kinds: Sequence[int]) -> Words:
    """Three steps in a row, and fewer at the beginning, counted once for each way to the last.

    Ways are shares of a walk from the last step back, so that skipping many blocks adds no more.
    """
    found: Words = {}
    ending: dict[int, Words] = {}  # the last two steps before a node's consumers
    for node, sources in enumerate(operands):
        if sources is None:
            continue
        here = _merged([ending[source] for source in sources] or [_BEGINNING])
        if len(sources) > 1:
            here = {word: count / len(sources) for word, count in here.items()}
        if kinds[node] < len(STEPS):
            found = _merged([found, _with_step(here, kinds[node], 3)])
            here = _with_step(here, kinds[node], 2)
        ending[node] = here
    return found


def _merged(several: Sequence[Words]) -> Words:
    if len(several) == 1:
        return several[0]
    total: Words = {}
    for words in several:
        for word, count in words.items():
            total[word] = total.get(word, 0.0) + count
    return total


def _with_step(words: Words, kind: int, longest: int) -> Words:
    extended: Words = {}
    for word, count in words.items():
        longer = (*word, kind)[-longest:]
        extended[longer] = extended.get(longer, 0.0) + count
    return extended


def _passed_by_all(operands: Sequence[list[int] | None]) -> set[int]:
    """The nodes that every path from an input to an output passes."""
    before: dict[int, int] = {}
    after: dict[int, int] = {}
    for node, sources in enumerate(operands):
        if sources is not None:
            before[node] = sum(before[source] for source in sources) if sources else 1
    ends = set(before) - {s for node in before for s in operands[node] or ()}
    for node in reversed(before):
        after[node] = after.get(node, 0) + (node in ends)
        for source in operands[node] or ():
            after[source] = after.get(source, 0) + after[node]
    total = sum(before[node] for node in ends)
    return {node for node in before if before[node] * after[node] == total}


def neighbourhood_words(graph: Graph, rounds: int = 3) -> dict[str, float]:
    """Counts of Weisfeiler-Lehman labels of alive nodes, of every round.

    Round 0 is a node's kind; each round adds the labels of operands and of consumers, in any
    order. Labels are 64-bit sums, so two neighbourhoods share one by accident alone. Dot products
    of such counts are the Weisfeiler-Lehman subtree kernel.

    Source: Shervashidze et al., "Weisfeiler-Lehman graph kernels", JMLR 2011; the direction of
    edges kept and kinds as labels are our choice.

    Example:
        >>> import torch, archrank
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))
        >>> neighbourhood_words(archrank.trace(net, (4,)), rounds=0)
        {'activation': 1.0, 'linear': 2.0, 'other': 2.0}
    """
    operands = alive_operands(graph)
    alive = np.array([node for node, sources in enumerate(operands) if sources is not None], int)
    place = {node: i for i, node in enumerate(alive.tolist())}
    edges = [(place[s], place[node]) for node in place for s in operands[node] or ()]
    source, target = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    kinds, numbers = np.unique(kinds_of(graph)[alive], return_counts=True)
    counts = {
        KINDS[kind]: float(n) for kind, n in zip(kinds.tolist(), numbers.tolist(), strict=True)
    }
    labels = _scattered(kinds_of(graph)[alive].astype(np.uint64))
    for _ in range(rounds):
        before, after = np.zeros_like(labels), np.zeros_like(labels)
        np.add.at(before, target, _scattered(labels[source]))
        np.add.at(after, source, _scattered(labels[target] ^ _CONSUMER))
        labels = _scattered(labels + _scattered(before) * _BEFORE + _scattered(after) * _AFTER)
        found, numbers = np.unique(labels, return_counts=True)
        for label, number in zip(found.tolist(), numbers.tolist(), strict=True):
            counts[f"{label:016x}"] = float(number)
    return dict(sorted(counts.items()))


_CONSUMER, _BEFORE, _AFTER = (
    np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
)


def _scattered(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Bits of each value spread over all 64, so that sums of such values tell multisets apart.

    Source: the finaliser of splitmix64 (Steele et al., OOPSLA 2014).
    """
    mixed = values + _CONSUMER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
