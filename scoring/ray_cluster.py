"""Work on a Ray cluster that may grow and shrink; only the driver writes the store."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import Any

from ..errors import ArchrankError, InputError, MissingExtraError
from .work import Scored, Work, gave_up, score_work

RETRIES = 3  # a node may go more than once: a piece of work that dies four times is given up
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray reports its use to its makers unless told otherwise
    "RAY_task_oom_retries": str(RETRIES),  # or what no machine has memory for comes back for ever
}
_IN_FLIGHT = 2  # pieces of work per core: one runs, one waits there
_PATIENCE = 1.0  # seconds between looks at how large the cluster is, while nothing finishes
_OBJECT_MEMORY = 100 * 2**20  # bytes; scores are small


def on_cluster(
    works: Iterable[Work], address: str | None
) -> Generator[tuple[Work, Scored], None, None]:
    """Score on every core of a Ray cluster, with one core for each piece of work.

    Ray replaces a worker or node that dies, and its work is repeated elsewhere. Work that dies too
    often fails with that as its reason. Cores that join the cluster get work as well.

    Every machine of the cluster needs archrank, the same package versions and, for images, the data
    folder (``ARCHRANK_DATA``).

    Args:
        works: the pieces of work, read as cores become free, never far ahead.
        address: the address of the cluster, as ``ray start`` printed it. None selects the cluster
            that this process is connected to, or else starts one on this machine and stops it at
            the end.

    Raises:
        MissingExtraError: Ray is not installed.
        ArchrankError: a worker raised it, which ends the whole run.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("engine='ray'", "ray", "ray", error) from error
    connected = ray.is_initialized()
    if not connected:
        _connect(ray, address)
    try:
        yield from _spread(ray, iter(works))
    finally:
        if not connected:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init("local", include_dashboard=False, object_store_memory=_OBJECT_MEMORY, **quiet)
        return
    try:
        ray.init(address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"address: no Ray cluster answers at {address!r} ({error}); expected HOST:PORT as "
            "`ray start --head` prints it, or auto"
        ) from error


def _spread(ray: Any, waiting: Iterable[Work]) -> Generator[tuple[Work, Scored], None, None]:
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(score_work)
    running: dict[Any, Work] = {}
    waiting = iter(waiting)
    try:
        while True:
            cores = int(ray.cluster_resources().get("CPU", 1))
            while len(running) < _IN_FLIGHT * cores and (work := next(waiting, None)) is not None:
                running[remote.remote(work)] = work
            if not running:
                return
            finished, _ = ray.wait(list(running), timeout=_PATIENCE)
            for reference in finished:
                work = running.pop(reference)
                yield work, _result(ray, reference, work)
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _result(ray: Any, reference: Any, work: Work) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ArchrankError):
            raise error.cause from error
        raise InputError(
            f"address: the cluster cannot score ({error.cause}); every machine of it needs "
            "archrank with the versions that are here"
        ) from error
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.ObjectLostError,
    ) as error:
        return gave_up(work, f"its process died {1 + RETRIES} times ({type(error).__name__})")
    except ray.exceptions.RayError as error:
        raise ArchrankError(
            f"the Ray cluster is lost ({error}). Everything finished before is kept: run the same "
            "command again"
        ) from error
