"""Gradient ascent in the embedding of a predictor, which proposes the nearest architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from ...basics import Array
from ...data.spaces.contract import Space
from ...errors import InputError, NothingLeftError
from ...predictors.neural.heteroscedastic import HeteroscedasticNetwork
from ...predictors.reading import Sample
from ..asking.knowledge import Knowledge
from ..asking.pools import Listing
from .draws import Strategy

_STARTS = 8  # starts of the ascent at the best told, and as many at random candidates
_STEPS, _RATE = 50, 0.1
_NEIGHBOURS = 20  # neighbours of the best that join the candidates at each fit without a pool


class GradientSearch(Strategy):
    """A search by gradient ascent of an upper confidence bound, which evaluates the nearest
    architecture.

    The first ``start`` architectures are random candidates. Then a heteroscedastic network is
    fitted to the told values. From the best told architectures and some random candidates, points
    climb

        m(x) + beta e(x)

    in the embedding of architectures (``ascend``), where m is
    the predicted mean and e the epistemic deviation. The aleatoric deviation is left out, because
    label noise is no reason to explore. Each point stands for the nearest new candidate, and the
    one with the largest bound is next. Sometimes it is the candidate with the largest epistemic
    deviation instead, or a random one.

    Source: Tuli et al., FlexiBERT, 2022 (BOSHNAS with GOBI).

    Notes:
        Ensembles, the choice among points, and the source of candidates are our choice.

    Args:
        space: a name or a space.
        predictor: a predictor of architectures; by default ``HeteroscedasticNetwork`` on edit
            distances. With ``embedding=None, parts=("code",)`` it climbs in the space's code.
        pool: the architectures to choose from. Without a pool, the candidates are the whole space
            if it has at most ``candidates`` architectures. Otherwise they are random architectures
            and neighbours of the best.
        start: the number of random candidates at the beginning.
        refit: the number of new results before the next fit.
        beta: the weight of the epistemic deviation.
        uncertain, diverse: the probabilities of proposing the most uncertain candidate and a random
            candidate.
        candidates: the number of candidates that are embedded without a pool.
        seed: same seed and values, same search.
        task: the task of the networks.
        samples: canonical architecture -> the sample that was read before.

    Attributes:
        predictor: the predictor as last fitted.

    Raises:
        InputError: an argument is invalid.

    Example:
        >>> network = HeteroscedasticNetwork(None, ("code",), members=2, steps=50)
        >>> search = GradientSearch("nats_sss", network, start=10, candidates=300, seed=0)
        >>> for _ in range(30):
        ...     arch = search.ask()
        ...     search.tell(arch, sum(map(int, arch.split(":"))))
        >>> max(search.told.values()) > 250
        True
    """

    def __init__(
        self,
        space: str | Space,
        predictor: HeteroscedasticNetwork | None = None,
        pool: Iterable[str] | None = None,
        *,
        start: int = 10,
        refit: int = 5,
        beta: float = 0.5,
        uncertain: float = 0.1,
        diverse: float = 0.1,
        candidates: int = 500,
        seed: int = 0,
        task: str | None = None,
        samples: Mapping[str, Sample] | None = None,
    ):
        super().__init__(space, seed)
        for name, number, least in (("start", start, 2), ("refit", refit, 1)):
            if number < least:
                raise InputError(f"{name}: got {number!r}, expected at least {least}")
        if min(uncertain, diverse) < 0 or uncertain + diverse > 1:
            raise InputError(
                f"uncertain, diverse: got {uncertain!r} and {diverse!r}, expected chances of at "
                "least 0 that are together at most 1"
            )
        self.predictor = HeteroscedasticNetwork() if predictor is None else clone(predictor)
        self.start, self.refit, self.beta = start, refit, beta
        self.uncertain, self.diverse = uncertain, diverse
        self.told: dict[str, float] = {}  # canonical architecture -> latest value, NaN if it failed
        self._listing = Listing(self.space, pool)
        self._knowledge = Knowledge(self.space, task, {}, samples)
        self._knowledge.read_for(self.predictor)
        self._grows = pool is None
        keys = self._listing.keys
        if keys is None or (self._grows and len(keys) > candidates):
            some = self.space.sample(candidates, seed, distinct_networks=True)
            keys = list(map(self.space.canonical, some))
        self._candidates = dict.fromkeys(keys)
        self._asked: set[str] = set()
        self._rows: dict[str, Array] = {}
        self._points = np.zeros((0, 0))
        self._results = self._fitted = 0

    def ask(self) -> str:
        """Return the architecture to evaluate next; no network is proposed twice.

        Raises:
            InputError: all candidates were proposed before.
        """
        arch = super().ask()
        self._asked.add(self.space.canonical(arch))
        return arch

    def tell(self, arch: str, value: float) -> None:
        key = self.space.canonical(arch)
        self.told[key] = float(value)
        self._asked.add(key)
        self._candidates.setdefault(key)
        self._results += 1

    def _draw(self) -> str:
        free = self._free()
        chance = self._rng.random()
        if self._results < self.start or chance < self.diverse or not self._fit():
            return self._listing.named(self._rng.choice(free))
        rows = self._embedded()
        free = self._free()  # candidates that cannot be built are known now
        matrix = np.array([rows[key] for key in free])
        if chance < self.diverse + self.uncertain:
            at = int(np.argmax(self._moments(matrix)[1]))
        else:
            at = self._nearest(matrix)
        return self._listing.named(free[at])

    def _free(self) -> list[str]:
        """Return the candidates that were not asked for."""
        free = [key for key in self._candidates if key not in self._asked]
        if not free:
            raise NothingLeftError(
                f"space: all {len(self._candidates)} candidates of {self.space.name} were asked for"
            )
        return free

    def _nearest(self, rows: Array) -> int:
        """Return the candidate with the largest bound among those nearest to points."""
        distances = np.linalg.norm(rows[None] - self._points[:, None], axis=2)
        nearest = np.unique(distances.argmin(axis=1))
        mean, epistemic = self._moments(rows[nearest])
        return int(nearest[np.argmax(mean + self.beta * epistemic)])

    # --- fitting --------------------------------------------------------------------------------

    def _fit(self) -> bool:
        """Fit if that is due, and return whether any fit exists."""
        if self._fitted and self._results < self._fitted + self.refit:
            return True
        values = np.array(list(self.told.values()))
        finite = values[np.isfinite(values)]
        if len(np.unique(finite)) < 2:
            return False  # equal values teach nothing
        values = np.where(np.isfinite(values), values, finite.min())  # keep away from failures
        if self._grows:
            self._grow(list(self.told)[int(np.argmax(values))])
        embedded = self._embedded()
        known = [i for i, key in enumerate(self.told) if key in embedded]
        told = np.array([embedded[key] for key in self.told if key in embedded])
        labels = values[known]
        if len(np.unique(labels)) < 2:
            return False
        self.predictor.fit_matrix(told, (labels - labels.mean()) / labels.std())
        self._fitted = self._results
        self._climb(told[np.argsort(-labels, kind="stable")[:_STARTS]])
        return True

    def _grow(self, best: str) -> None:
        around = dict.fromkeys(map(self.space.canonical, self.space.neighbours(best)))
        new = [key for key in around if key not in self._candidates]
        for key in self._rng.sample(new, min(_NEIGHBOURS, len(new))):
            self._candidates[key] = None

    def _embedded(self) -> dict[str, Array]:
        """Return the rows of candidates, and drop the candidates that cannot be built."""
        new = [key for key in self._candidates if key not in self._rows]
        built = [key for key in new if self._knowledge.can_be_built(key)]
        for key in set(new) - set(built):
            del self._candidates[key]
        if built:
            samples = self._knowledge.samples(built)
            if not self._rows:
                self.predictor.fit_encoder(samples)
            rows = self.predictor.encode(samples)
            self._rows.update(zip(built, rows, strict=True))
        return self._rows

    def _climb(self, best: Array) -> None:
        everything = np.array(list(self._rows.values()))
        others = [self._rng.randrange(len(everything)) for _ in range(_STARTS)]
        self._points = ascend(
            self._bound,
            np.concatenate([best, everything[others]]),
            everything.min(axis=0),
            everything.max(axis=0),
            seed=self._rng.getrandbits(32),
        )

    def _bound(self, points: Tensor) -> Tensor:
        mean, _, epistemic = self.predictor.moments(points)
        return mean + self.beta * epistemic

    def _moments(self, rows: Array) -> tuple[Array, Array]:
        with torch.no_grad():
            mean, _, epistemic = self.predictor.moments(torch.from_numpy(rows))
        return mean.numpy(), epistemic.numpy()


def ascend(
    function: Callable[[Tensor], Tensor],
    points: Array,
    low: Any = -math.inf,
    high: Any = math.inf,
    steps: int = _STEPS,
    rate: float = _RATE,
    seed: int = 0,
) -> Array:
    """Move points (n, d) uphill on a function of each; no point ends lower than it began.

    Second-order ascent (AdaHessian): moving averages of the gradient g and of the curvature d^2,

        x <- x + rate_t mean(g) / sqrt(mean(d^2)),   d = z * (H z),

    where z holds random signs. The averages have decays .9 and .999 and are corrected for their
    zero start. The rate falls by a cosine. Points are clipped to the box.

    Source: Yao et al., "ADAHESSIAN", AAAI 2021; applied to inputs in Tuli et al., FlexiBERT, 2022
    (GOBI).

    Args:
        function: maps rows (n, d) to values (n,), twice differentiable. Each value depends on its
            own row only.
        points: the points (n, d) to begin with.
        low, high: the bounds of the box, as numbers or rows (d,).
        steps, rate: the number of steps, and the initial rate.
        seed: the seed of the random signs.

    Example:
        >>> top = ascend(lambda x: -((x - 1.0) ** 2 * torch.tensor([1.0, 100.0])).sum(1),
        ...              np.zeros((3, 2)))
        >>> bool(np.allclose(top, 1.0, atol=0.05))
        True
    """
    generator = torch.Generator().manual_seed(seed)
    here = torch.from_numpy(np.clip(points, low, high)).requires_grad_()
    least, most = (torch.as_tensor(side, dtype=here.dtype) for side in (low, high))
    best, value = here.detach().clone(), torch.full((len(here),), -math.inf, dtype=here.dtype)
    mean, square = torch.zeros_like(best), torch.zeros_like(best)
    for step in range(1, steps + 2):
        values = function(here)
        better = values.detach() > value
        best[better], value[better] = here.detach()[better], values.detach()[better]
        if step > steps:
            break
        (gradient,) = torch.autograd.grad(values.sum(), here, create_graph=True)
        signs = torch.randint(0, 2, here.shape, generator=generator).to(here.dtype) * 2.0 - 1.0
        curvature = torch.zeros_like(best)
        if gradient.requires_grad:  # a linear function has no second derivative
            (curvature,) = torch.autograd.grad((gradient * signs).sum(), here)
        mean = 0.9 * mean + 0.1 * gradient.detach()
        square = 0.999 * square + 0.001 * (signs * curvature) ** 2
        size = rate * 0.5 * (1.0 + math.cos(math.pi * (step - 1) / steps))
        direction = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        with torch.no_grad():
            here += size * direction
            here.clamp_(least, most)
    return best.numpy()
