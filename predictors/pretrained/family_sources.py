"""The sources of the labelled families that the shipped predictor learns from."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True)
class Source:
    """The source of the labelled architectures of a family.

    Attributes:
        family: its name.
        space, table, tasks: whose networks, and labels; networks are built for the first task.
        sample: how many of them, drawn with seed 0; None for all.
        batch, data, resolution: under which proxies are scored, as ``archrank.benchmark.run``
            takes; ``batch=0`` for families whose evidence is made of sizes alone.
        relatives: families that share networks, blocks or labels with it: what is learnt for an
            honest test on one of them leaves out the others.
        quality: of labels: 1 trained to the end, less for surrogates, short training and shared
            weights. Our choice.
    """

    family: str
    space: str
    table: str
    tasks: tuple[str, ...]
    sample: int | None = None
    batch: int = 16
    data: str = "cifar10"
    resolution: int | None = None
    relatives: tuple[str, ...] = ()
    quality: float = 1.0


_TRANSNAS = (
    *("class_scene", "class_object", "room_layout", "jigsaw", "segmentsemantic", "normal"),
    "autoencoder",
)

SOURCES = (
    Source(
        *("nasbench201", "nasbench201", "nasbench201"),
        ("cifar10", "cifar100", "ImageNet16-120"),
        *(400, 32),
        relatives=("transnas101_micro", "nats_sss"),
    ),
    Source(
        *("transnas101_micro", "transnas101_micro", "transnas101_micro", _TRANSNAS),
        sample=150,
        resolution=64,
        relatives=("nasbench201",),
    ),
    Source(
        *("transnas101_macro", "transnas101_macro", "transnas101_macro", _TRANSNAS),
        sample=150,
        resolution=64,
    ),
    Source("nasbench_macro", "nasbench_macro", "nas_bench_macro", ("cifar10",), 300, 32),
    Source(
        *("nats_sss", "nats_sss", "nats_sss", ("cifar10@90",), 300, 32),
        relatives=("nasbench201",),
    ),
    Source(
        *("nasbench101", "nasbench101", "nasbench101", ("cifar10",), 150),
        relatives=("ec_nas",),
    ),
    Source(
        *("ec_nas", "nasbench101", "ec_nas", ("cifar10@4",), 100),
        relatives=("nasbench101",),
        quality=0.5,
    ),
    Source("nasbench301", "nasbench301", "nasbench301", ("cifar10",), 100, quality=0.5),
    Source(
        *("accel_nasbench", "mnasnet", "accel_nasbench", ("imagenet",), 100),
        resolution=96,
        relatives=("ofa_mobilenetv3",),
        quality=0.5,
    ),
    Source(
        *("ofa_mobilenetv3", "ofa_mobilenetv3", "ofa_mobilenetv3", ("imagenet",), 100),
        resolution=96,
        relatives=("accel_nasbench",),
        quality=0.5,
    ),
    Source("enas", "enas", "enas", ("cifar10",), 150, quality=0.5),
    Source("gpt", "gpt", "gpt", ("perplexity",), 150, batch=0, quality=0.5),
    Source("flexibert", "flexibert", "flexibert", ("glue",), 100, data="random"),
    Source("digits", "digits", "digits", ("digits",), None, 64, "digits"),
)
"""The families of the default recipe."""


def source(family: str) -> Source:
    """Return the source of a family.

    Raises:
        InputError: there is no family of that name.

    Example:
        >>> source("nats_sss").relatives
        ('nasbench201',)
    """
    for one in SOURCES:
        if one.family == family:
            return one
    known = ", ".join(one.family for one in SOURCES)
    raise InputError(f"family: got {family!r}, expected one of {known}")


def unrelated(family: str) -> tuple[Source, ...]:
    """Return the sources that a predictor may learn from before a fair test on a family.

    Example:
        >>> kept = {one.family for one in unrelated("nats_sss")}
        >>> sorted({one.family for one in SOURCES} - kept)
        ['nasbench201', 'nats_sss']
    """
    left_out = {family, *source(family).relatives}
    return tuple(one for one in SOURCES if one.family not in left_out)


def relatives() -> dict[str, tuple[str, ...]]:
    """Return for each family the names of families that are left out with it."""
    return {one.family: one.relatives for one in SOURCES}
