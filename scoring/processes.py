"""Work in several processes; those that die are replaced, and none is left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as ready
from typing import Any, Generic, TypeVar, cast

from ..errors import ArchrankError, InputError

ATTEMPTS = 2  # a piece of work that kills its process twice is given up
_spawning = get_context("spawn")  # a fork would share torch's threads and locks

W = TypeVar("W")
R = TypeVar("R")


def in_processes(
    function: Callable[[W], R], works: Iterable[W], jobs: int, died: Callable[[W, str], R]
) -> Generator[tuple[W, R], None, None]:
    """Run pieces of work in ``jobs`` processes, and yield each with its result as it arrives.

    A process that dies, for example for lack of memory, is replaced, and its piece of work is tried
    again. No process outlives this one, however it ends.

    Args:
        function: the function to call with each piece; a fresh process must be able to import it by
            name.
        works: the pieces of work; the next one is read when a process is free.
        jobs: the number of processes.
        died: returns the result of a piece that ended its process twice; called with the piece and
            how the process ended.

    Raises:
        ArchrankError: ``function`` raised it, which ends the whole run.
    """
    waiting = iter(works)
    workers: list[_Worker[W, R]] = []
    free: list[_Worker[W, R]] = []
    busy: dict[Connection, _Worker[W, R]] = {}
    try:
        while True:
            while len(busy) < jobs and (work := next(waiting, None)) is not None:
                if not free:
                    workers.append(_Worker(function, died))
                    free.append(workers[-1])
                worker = free.pop()
                worker.start(work)
                busy[worker.pipe] = worker
            if not busy:
                return
            for pipe in ready(list(busy)):
                worker = busy.pop(cast(Connection, pipe))
                done = worker.result()
                if done is None:
                    busy[worker.pipe] = worker
                else:
                    free.append(worker)
                    yield done
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[W, R]):
    """One process, and the piece of work that it is at."""

    def __init__(self, function: Callable[[W], R], died: Callable[[W, str], R]) -> None:
        self._function, self._died = function, died
        self._spawn()

    def _spawn(self) -> None:
        self._greeted = False
        self.pipe, theirs = _spawning.Pipe()
        self._process = _spawning.Process(target=_serve, args=(theirs, self._function), daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()  # so that its death ends the pipe

    def start(self, work: W) -> None:
        """Begin a piece of work."""
        self._work, self._attempts = work, 0
        self._send()

    def _send(self) -> None:
        self._attempts += 1
        with suppress(BrokenPipeError, ConnectionResetError):  # it died; result() will see it
            self.pipe.send(self._work)

    def result(self) -> tuple[W, R] | None:
        """Return the piece of work and its result, or None if that is still to come.

        Raises:
            ArchrankError: the whole run ends, not only this piece of work.
        """
        try:
            result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._replace()
        if isinstance(result, ArchrankError):
            raise result
        if not self._greeted:
            self._greeted = True
            return None
        return self._work, result

    def _replace(self) -> tuple[W, R] | None:
        """Start a process after one that died, at the same work or, if that kills it, at none."""
        self.end()
        if not self._greeted:
            raise InputError(
                "jobs: a worker process ended before any work, see above for its reason; in a "
                'script, make the call under if __name__ == "__main__":'
            )
        self._spawn()
        if self._attempts < ATTEMPTS:
            self._send()
            return None
        return self._work, self._died(self._work, f"its process died {self._attempts} times")

    def end(self) -> None:
        """Stop the process, whatever it is at."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes started here ignore Ctrl-C from birth: the driver ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Greet, then work at what comes, until the driver is gone: a worker process does no more."""
    threading.Thread(target=_die_with_the_driver, daemon=True).start()
    with suppress(EOFError):
        pipe.send(None)
        while True:
            work = pipe.recv()
            try:
                pipe.send(function(work))
            except ArchrankError as error:
                pipe.send(error)


def _die_with_the_driver() -> None:
    driver = parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)
