"""Small searches, and what they look for."""

from __future__ import annotations

from archrank.data import space
from archrank.search import Searcher, Surrogate

SIZES = space("nats_sss")
MACRO = space("nasbench_macro")
POOL = tuple(MACRO.sample(120, seed=0))
WIDTH = {"width": lambda archs: [sum(map(int, arch.split(":"))) for arch in archs]}
CODES = Surrogate(("code",))  # needs no graphs: quick


def total(arch: str) -> float:
    return float(sum(map(int, arch.split(":"))))


def digit_sum(arch: str) -> float:
    return float(sum(map(int, arch)))


def small(**options) -> Searcher:
    settings = {"predictor": CODES, "pool": POOL, "start": 6, **options}
    return Searcher("nasbench_macro", **settings)


def follow(searcher: Searcher, rounds: int, n: int = 3, value=digit_sum) -> list[str]:
    asked = []
    for _ in range(rounds):
        archs = searcher.ask(n)
        searcher.tell(archs, [value(arch) for arch in archs])
        asked += archs
    return asked
