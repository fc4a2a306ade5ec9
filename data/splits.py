"""Training and test sets of architectures, by published protocols.

A split is drawn from a list of architectures by a protocol and a seed. It holds the architectures
themselves and can be saved next to the figures that were made with it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..files import written_whole

if TYPE_CHECKING:
    from .spaces.contract import Space

Duplicates = Literal["apart", "ignore"]
Size = int | float | Literal["rest", "all"]


@dataclass(frozen=True)
class Protocol:
    """A rule that says how many architectures go where.

    Attributes:
        train, valid, test: a number, a fraction of all, or ``"rest"`` (all that remain). For the
            test, ``"all"`` includes training architectures, as some released code does.
        subset: the name of a condition that architectures must meet, see ``SUBSETS``.
        duplicates: with ``"apart"``, architectures that are the same network are never on two
            sides, and duplicates of training networks are left out of the test. With ``"ignore"``,
            architectures are drawn as if all were different networks.
        reference: where the protocol was published.
    """

    name: str
    train: int | float
    valid: int | float = 0
    test: Size = "rest"
    subset: str = ""
    duplicates: Duplicates = "apart"
    reference: str = "our choice"


def _without_none(arch: str) -> bool:
    return "none~" not in arch


SUBSETS: dict[str, Callable[[str], bool]] = {"without none": _without_none}
"""Conditions by name: ``without none`` keeps the 4,096 NAS-Bench-201 cells of GENNAPE."""

_PINAT = "Lu et al., PINAT, AAAI 2023 (sizes of Lu et al., TNASP, NeurIPS 2021)"
_FLAN = "Akhauri & Abdelfattah, FLAN, ICML 2024"
_TAGATES = "Ning et al., TA-GATES, NeurIPS 2022"
_GENNAPE = "Mills et al., GENNAPE, AAAI 2023"


def _protocols() -> dict[str, Protocol]:
    found: list[Protocol] = []
    sizes201 = (78, 156, 469, 781, 1563)
    sizes101 = (100, 172, 424, 424, 4236)
    for i, (n201, n101) in enumerate(zip(sizes201, sizes101, strict=True), start=1):
        found.append(Protocol(f"pinat-nasbench201-s{i}", n201, reference=_PINAT))
        # S3 of NAS-Bench-101 is tested on only 100 architectures.
        test: Size = 100 if i == 3 else "rest"
        found.append(Protocol(f"pinat-nasbench101-s{i}", n101, test=test, reference=_PINAT))
    found.extend(Protocol(f"flan-{n}", n, reference=_FLAN) for n in (8, 16, 32, 64, 128, 256))
    for space, sizes in (
        ("nasbench101", (72, 364, 729)),
        ("nasbench201", (7, 39, 78)),
        ("enas", (25, 50, 125)),
    ):
        found.extend(Protocol(f"tagates-{space}-{n}", n, reference=_TAGATES) for n in sizes)
    found.append(Protocol("gennape", 0.8, 0.1, "rest", reference=_GENNAPE))
    found.append(Protocol("gennape-50", 50, reference=_GENNAPE))
    found.append(Protocol("gennape-nasbench201-50", 50, subset="without none", reference=_GENNAPE))
    for protocol in list(found):
        if protocol.name.startswith(("pinat", "gennape")):
            # As the released code has it: drawn without regard to duplicates; PINAT's test holds
            # the training architectures too.
            test = "all" if "pinat" in protocol.name and protocol.test == "rest" else protocol.test
            found.append(
                replace(
                    protocol,
                    name=f"{protocol.name}-published",
                    test=test,
                    duplicates="ignore",
                    reference=f"{protocol.reference}, as released",
                )
            )
    return {protocol.name: protocol for protocol in found}


PROTOCOLS: dict[str, Protocol] = _protocols()
"""Published protocols by name; ``-published`` ones draw without regard to duplicates."""


@dataclass(frozen=True)
class Split:
    """The architectures of each side, with the protocol and the seed of the draw.

    Attributes:
        train, valid, test: architecture strings in the order drawn (test: in the order given).
        left_out: duplicates of training or validation networks that the test leaves out.
    """

    protocol: Protocol
    seed: int
    space: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...] = field(default=())

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with any architecture of any side."""
        text = json.dumps([self.train, self.valid, self.test])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def save(self, path: str | Path) -> None:
        """Write everything as JSON; the file appears whole or not at all."""
        facts = {**asdict(self), "fingerprint": self.fingerprint}
        with written_whole(path) as partial:
            partial.write_text(json.dumps(facts, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Load the split that ``save`` wrote; raise an InputError if it is damaged."""
        try:
            facts: dict[str, Any] = json.loads(Path(path).read_text())
            fingerprint = facts.pop("fingerprint")
            for side in ("train", "valid", "test", "left_out"):
                facts[side] = tuple(facts[side])
            facts["protocol"] = Protocol(**facts["protocol"])
            split = cls(**facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"path: {str(path)!r} is not a saved split ({error})") from error
        if split.fingerprint != fingerprint:
            raise InputError(f"path: {str(path)!r} was changed: its fingerprint does not fit")
        return split


def split(
    architectures: Iterable[str],
    protocol: str | Protocol,
    seed: int,
    space: str | Space | None = None,
    duplicates: Duplicates | None = None,
) -> Split:
    """Draw a split.

    Args:
        architectures: the architectures that have labels, in any order; repeated strings count
            once.
        protocol: a name in ``PROTOCOLS``, or your own ``Protocol``.
        seed: the same seed and architectures give the same split, in any order.
        space: the space, which says which architectures are the same network; without it, only
            equal strings are.
        duplicates: replaces the rule of the protocol.

    Raises:
        InputError: there is no such protocol, or there are too few architectures.

    Example:
        >>> from archrank.data import space, split
        >>> cells = space("nasbench201")
        >>> drawn = split(cells.sample(500, seed=0), "pinat-nasbench201-s1", seed=0, space=cells)
        >>> len(drawn.train), len(drawn.train) + len(drawn.test) + len(drawn.left_out)
        (78, 500)
    """
    rule = _protocol(protocol)
    if duplicates is not None:
        if duplicates not in ("apart", "ignore"):
            raise InputError(f"duplicates: got {duplicates!r}, expected 'apart' or 'ignore'")
        rule = replace(rule, duplicates=duplicates)
    if isinstance(space, str):
        from .spaces import space as find

        space = find(space)
    if rule.subset and rule.subset not in SUBSETS:
        raise InputError(f"subset: got {rule.subset!r}, expected one of {', '.join(SUBSETS)}")
    keep = SUBSETS[rule.subset] if rule.subset else lambda arch: True
    given = [arch for arch in dict.fromkeys(architectures) if keep(arch)]
    same = _identity(space if rule.duplicates == "apart" else None, given)
    order = sorted(given)
    random.Random(f"{seed} {rule.name.removesuffix('-published')}").shuffle(order)
    train = _take(order, _count(rule.train, len(given)), same, rule)
    used = set(train)
    valid = _take(
        [arch for arch in order if arch not in used],
        _count(rule.valid, len(given)),
        same,
        rule,
        {same[arch] for arch in train},
    )
    if rule.test == "all":
        test = given
    else:
        used.update(valid)
        taken = {same[arch] for arch in used}
        left = [arch for arch in order if arch not in used and same[arch] not in taken]
        if rule.test != "rest":
            wanted = _count(rule.test, len(given))
            if wanted > len(left):
                raise InputError(
                    f"architectures: {rule.name} tests on {wanted}, but only {len(left)} are left"
                )
            left = left[:wanted]
        chosen = set(left)
        test = [arch for arch in given if arch in chosen]
    if not test:
        raise InputError(
            f"architectures: got {len(given)}, but {rule.name} leaves none of them to test on"
        )
    sides = {*train, *valid, *test}
    taken = {same[arch] for arch in (*train, *valid)}
    left_out = [arch for arch in given if arch not in sides and same[arch] in taken]
    name = "" if space is None else space.name
    return Split(rule, seed, name, tuple(train), tuple(valid), tuple(test), tuple(left_out))


def _protocol(protocol: str | Protocol) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol: got {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]


def _identity(space: Space | None, architectures: Sequence[str]) -> dict[str, str]:
    if space is None:
        return {arch: arch for arch in architectures}
    return {arch: space.canonical(arch) for arch in architectures}


def _count(size: int | float, total: int) -> int:
    return round(size * total) if isinstance(size, float) else size


def _take(
    order: Sequence[str],
    wanted: int,
    same: dict[str, str],
    rule: Protocol,
    forbidden: Iterable[str] = (),
) -> list[str]:
    """Take the first ``wanted`` architectures that are not the same network as a forbidden one.

    Small numbers of labels go to different networks. A large share of the space also takes
    duplicates, since it could not be reached otherwise.
    """
    barred = set(forbidden)
    free = [arch for arch in order if same[arch] not in barred]
    if isinstance(rule.train, int):
        first: dict[str, str] = {}
        for arch in free:
            first.setdefault(same[arch], arch)
        free = list(first.values())
    else:
        groups: dict[str, list[str]] = {}
        for arch in free:
            groups.setdefault(same[arch], []).append(arch)
        free = [arch for group in groups.values() for arch in group]
        # A network's duplicates stay together, so taking stops before a group that does not fit.
        while 0 < wanted < len(free) and same[free[wanted - 1]] == same[free[wanted]]:
            wanted -= 1
    if wanted > len(free):
        raise InputError(
            f"architectures: {rule.name} draws {wanted} different networks, but only {len(free)} "
            "were given"
        )
    return free[:wanted]
