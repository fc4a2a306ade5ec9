"""The speed of encoders, with and without folding of repeated blocks.

Run from the repository: ``python experiments/encoders.py [--networks N] [--seconds S]``. The script
prints a Markdown table of graphs and nodes per second on one thread, for the forward pass alone and
for forward and backward, on networks of NAS-Bench-201. All encoders have the same width and
otherwise their defaults. The time to make the tensors is not counted; the line above the table
reports it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from common import markdown_table, parser

from archrank.data import space
from archrank.graphs import Graph
from archrank.predictors.neural.batches import GraphBatch, GraphTensors, batches
from archrank.predictors.neural.encoders import encoder, encoders
from archrank.predictors.neural.encoders.contract import Encoder

SEED = 0
POSITIONS = 8
SIZE = 32


def tensors(graphs: list[Graph], fold: bool) -> tuple[list[GraphBatch], float]:
    """Put graphs in batches, and say the milliseconds that the tensors of one took."""
    start = time.perf_counter()
    made = [GraphTensors.of(graph, fold=fold, positions=POSITIONS) for graph in graphs]
    milliseconds = 1e3 * (time.perf_counter() - start) / len(graphs)
    cut = batches(made, SIZE, seed=SEED)
    return [GraphBatch.of([made[i] for i in chunk]) for chunk in cut], milliseconds


def seconds_per_pass(
    run: Callable[[GraphBatch], None], chunks: list[GraphBatch], least: float
) -> float:
    """Measure seconds for all batches once, over as many rounds as ``least`` seconds hold."""
    run(chunks[0])
    start, rounds = time.perf_counter(), 0
    while rounds == 0 or time.perf_counter() - start < least:
        for chunk in chunks:
            run(chunk)
        rounds += 1
    return (time.perf_counter() - start) / rounds


def forward(model: Encoder) -> Callable[[GraphBatch], None]:
    """Make the forward in evaluation mode."""

    @torch.no_grad()
    def run(batch: GraphBatch) -> None:
        model.eval()(batch)

    return run


def forward_backward(model: Encoder) -> Callable[[GraphBatch], None]:
    """Make the forward in training mode, and gradients of all weights."""

    def run(batch: GraphBatch) -> None:
        model.train().zero_grad()
        model(batch).square().sum().backward()

    return run


def main() -> None:
    """Measure all encoders and print the table."""
    options = parser(__doc__)
    options.add_argument("--networks", type=int, default=200)
    options.add_argument("--width", type=int, default=64)
    options.add_argument("--seconds", type=float, default=1.0, help="per measurement, at least")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    one = space("nasbench201")
    graphs = [one.graph(arch) for arch in one.sample(arguments.networks, SEED)]
    for graph in graphs:
        graph.hash  # noqa: B018 - computed once for any number of tensors
    rows = []
    for fold in (False, True):
        chunks, milliseconds = tensors(graphs, fold)
        nodes = sum(map(len, chunks))
        print(
            f"{'folded' if fold else 'whole'}: {nodes / len(graphs):.0f} nodes per graph, ", end=""
        )
        print(f"{milliseconds:.1f} ms for the tensors of one")
        for name in encoders():
            torch.manual_seed(SEED)
            model = encoder(name, width=arguments.width)
            figures = []
            for kind in (forward, forward_backward):
                taken = seconds_per_pass(kind(model), chunks, arguments.seconds)
                figures += [f"{len(graphs) / taken:,.0f}", f"{nodes / taken:,.0f}"]
            rows.append([name, "yes" if fold else "no", *figures])
    headings = (
        *("encoder", "folded", "forward, graphs/s", "nodes/s"),
        *("with backward, graphs/s", "nodes/s"),
    )
    print("", *markdown_table(headings, rows, numbers=True), sep="\n")


if __name__ == "__main__":
    main()
