"""Ctrl-C: what is said, and how a command ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from archrank.cli.shared.console import INTERRUPTED, errors
from archrank.cli.shared.interruption import kept_in, listen

INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"
LISTEN = "from archrank.cli.shared.interruption import listen\nlisten()\n"


def ended(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )


def test_during_an_import_it_ends_the_process_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "halfway.py").write_text(INTERRUPT + "print('imported')\n")
    done = ended(
        f"{LISTEN}try:\n    import halfway\nexcept BaseException as e:\n    print(e)", tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "interrupted\n")


def test_elsewhere_it_is_an_exception(tmp_path: Path) -> None:
    done = ended(
        f"{LISTEN}try:\n    {INTERRUPT}except KeyboardInterrupt:\n    print('cleaned up')", tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "cleaned up\n", "")


@pytest.mark.parametrize(
    ("exists", "said"),
    [
        (None, "interrupted: nothing was kept; name a place\n"),
        (False, "interrupted: nothing was kept; name a place\n"),
        (True, "interrupted: what was finished is in {}; run the same command to go on\n"),
    ],
)
def test_what_is_kept_is_said(
    exists: bool | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "mü dir.sqlite"
    if exists:
        place.touch()
    with (
        pytest.raises(typer.Exit) as stopped,
        kept_in(None if exists is None else place, "name a place"),
    ):
        raise KeyboardInterrupt
    assert stopped.value.exit_code == INTERRUPTED
    assert capsys.readouterr().err == said.format(place)


def test_a_command_that_keeps_nothing_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stopped, errors():
        raise KeyboardInterrupt
    assert stopped.value.exit_code == INTERRUPTED
    with pytest.raises(typer.Exit), errors(), kept_in(None, "name a place"):
        raise KeyboardInterrupt
    first, second = capsys.readouterr().err.splitlines()
    assert (first, second) == ("interrupted", "interrupted: nothing was kept; name a place")


def test_the_listener_of_the_caller_comes_back() -> None:
    import signal

    before = listen()
    try:
        own = signal.getsignal(signal.SIGINT)
        with kept_in(None):
            assert signal.getsignal(signal.SIGINT) is not own
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
