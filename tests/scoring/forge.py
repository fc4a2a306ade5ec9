"""Runs the command ``archrank`` in forks of one process that has imported everything.

A start then takes no seconds, so a test may start, kill and start again as often as it likes.
Workers (``--jobs``) are real ones, started afresh.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Started:
    """A command that runs, and where its output goes."""

    pid: int
    output: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    @property
    def stdout(self) -> str:
        return self.output.with_suffix(".out").read_text()

    @property
    def stderr(self) -> str:
        return self.output.with_suffix(".err").read_text()


class Forge:
    """The process that forks; a context manager that ends it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.count = 0
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Forge:
        return self

    def __exit__(self, *raised: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def start(self, *words: object, user: int | None = None, limit: int | None = None) -> Started:
        """Start ``archrank WORDS``, as another user or with a limit on the size of its files."""
        self.count += 1
        output = self.folder / f"command{self.count}"
        for suffix in (".out", ".err"):
            output.with_suffix(suffix).touch()  # to be read before the command has begun
        order = {"words": [*map(str, words)], "output": str(output), "user": user, "limit": limit}
        return Started(self._ask(order), output)

    def wait(self, started: Started) -> int:
        """Its exit code; negative: the signal that ended it."""
        return self._ask({"pid": started.pid})

    def run(
        self, *words: object, user: int | None = None, limit: int | None = None
    ) -> tuple[int, Started]:
        """Start and wait."""
        started = self.start(*words, user=user, limit=limit)
        return self.wait(started), started

    def _ask(self, order: dict[str, object]) -> int:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


def serve() -> None:
    import archrank.cli.app
    from archrank.scoring import table_runs as runs
    from archrank.scoring.work import score_work

    settings = runs.settings_for("digits", sample=1)
    (arch,) = runs.sample_of(settings)
    # No backward: autograd would not let its forks run one.
    score_work(runs.work_on(settings, arch, 0, ("params", "naswot")))
    for line in sys.stdin:
        order = json.loads(line)
        if "pid" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["pid"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                become(archrank.cli.app.main, **order)
        print(answer, flush=True)


def become(main: object, words: list[str], output: str, user: int | None, limit: int | None):
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output + suffix, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if user is not None:
        os.setuid(user)
    sys.argv = ["archrank", *words]
    code = 70
    try:
        assert callable(main)
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
