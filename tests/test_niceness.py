"""Processes that step back, also where each session has its own share of the cores."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from umad import niceness

ROOT = Path(__file__).parents[1]
ITSELF = "from umad.niceness import *; step_back(5)"
SAYS = "print(os.nice(0), AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else os.nice(0))"
CHILD = f"from umad.niceness import *; session_steps_back(); {SAYS}"


def said(script: str, *, own_session: bool = True) -> list[str]:
    """The niceness of a process that runs a script, and that of its session."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        start_new_session=own_session,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_a_process_with_a_session_of_its_own_steps_back_with_the_session() -> None:
    assert said(f"{ITSELF}; {SAYS}") == [str(min(19, os.nice(0) + 5))] * 2


def test_a_session_that_such_a_process_begins_for_a_child_steps_back_too() -> None:
    begins = f"subprocess.run([sys.executable, '-c', {CHILD!r}], start_new_session=True)"
    assert said(f"{ITSELF}; import subprocess, sys; {begins}") == [str(min(19, os.nice(0) + 5))] * 2


@pytest.mark.skipif(not niceness.AUTOGROUP.exists(), reason="sessions have no niceness here")
def test_a_session_with_others_in_it_stays_as_it_is() -> None:
    before = niceness.AUTOGROUP.read_text()  # nothing, for a session that the kernel itself began
    said(ITSELF, own_session=False)
    assert niceness.AUTOGROUP.read_text() == before


class FakeFile:
    """A session's file that refuses what is written, some times."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)
        self.written: list[str] = []

    def write_text(self, text: str, **_: Any) -> None:
        self.written.append(text)
        if self.errors:
            raise OSError(self.errors.pop(0), "refused")


@pytest.mark.parametrize(
    ("errors", "n_writes"),
    [
        pytest.param((), 1, id="taken at once"),
        pytest.param((errno.EAGAIN, errno.EAGAIN), 3, id="too soon after another"),
        pytest.param((errno.EAGAIN,) * 9, 5, id="always too soon"),
        pytest.param((errno.ENOENT,), 1, id="no such file"),
        pytest.param((errno.EACCES,), 1, id="not to be written"),
    ],
)
def test_a_session_that_refuses_is_asked_again_only_where_it_was_too_soon(
    monkeypatch: pytest.MonkeyPatch, errors: tuple[int, ...], n_writes: int
) -> None:
    file = FakeFile(*errors)
    monkeypatch.setattr(niceness, "AUTOGROUP", file)
    monkeypatch.setattr(niceness, "_AGAIN_S", 0.0)
    monkeypatch.setattr(os, "nice", lambda _: 5)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())

    niceness.session_steps_back()

    assert file.written == ["5"] * n_writes
