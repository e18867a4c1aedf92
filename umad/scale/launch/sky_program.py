"""Finds SkyPilot's Python and asks it. What it prints is shown without secrets.

SkyPilot 0.14.1 wants click below 8.2, and huggingface-hub, which umad needs, click from 8.4.2 on:
no environment holds both, so SkyPilot has one of its own (`pipx install 'skypilot[aws]'`). Found
are what UMAD_SKY names (its Python or its program `sky`), or else the program `sky` on the PATH,
whose first line names its Python.

Blocks until SkyPilot has answered, which takes minutes where it rents. Owner: anybody's thread.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from umad.errors import FetchFailed, Unsupported
from umad.scale.launch.prices import Offer, offers_of
from umad.scale.launch.scrubbing import scrubbed
from umad.scale.launch.tending import Seen, seen_of

VARIABLE: Final = "UMAD_SKY"
# SkyPilot tries place after place; it has timeouts of its own for each.
_LAUNCHED_WITHIN_S = 4 * 3600.0
_ANSWERED_WITHIN_S = 600.0
_MOST_SHEBANG_BYTES = 512
_DRIVER = Path(__file__).with_name("sky_driver.py")


class SkyProgram:
    """SkyPilot, as a program that answers questions."""

    def __init__(self, python: str, *, show: Callable[[str], None]) -> None:
        """show gets each line that SkyPilot prints, without secrets."""
        self._python = python
        self._show = show

    @classmethod
    def found(cls, *, show: Callable[[str], None]) -> "SkyProgram":
        """The one of this machine. Raises `Unsupported`, which says how to get it."""
        return cls(sky_python(), show=show)

    def prices(self, task: str) -> tuple[Offer, ...]:
        """What a task would be rented for, the cheapest first."""
        return offers_of(self._asked({"do": "prices", "task": task}))

    def launch(
        self, task: str, name: str, kind: str, secrets: Mapping[str, str], *, is_dry: bool
    ) -> None:
        """Rent, install and start. is_dry: everything but renting."""
        question = {
            "do": "launch", "task": task, "name": name, "kind": kind, "secrets": dict(secrets),
            "is_dry": is_dry,
        }  # fmt: skip
        self._asked(question, within_s=_LAUNCHED_WITHIN_S)

    def status(self, tasks: Sequence[str], services: Sequence[str]) -> dict[str, Seen]:
        """How those are that there are; a name that is not in it is gone."""
        answer = self._asked({"do": "status", "tasks": list(tasks), "services": list(services)})
        return seen_of(answer)

    def down(self, name: str, kind: str) -> None:
        """Give it back. What is gone already is no error."""
        self._asked({"do": "down", "name": name, "kind": kind}, within_s=_LAUNCHED_WITHIN_S)

    def _asked(
        self, question: dict[str, Any], *, within_s: float = _ANSWERED_WITHIN_S
    ) -> dict[str, Any]:
        """The answer. Raises `FetchFailed` with SkyPilot's own words where it refuses."""
        hidden = list(question.get("secrets", {}).values())
        asked = json.dumps(question)
        lines, line_end = os.pipe()
        with (
            open(lines, encoding="utf-8", errors="replace") as printed,
            subprocess.Popen(
                [self._python, str(_DRIVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=line_end,
                text=True,
            ) as child,
        ):
            os.close(line_end)
            shown = threading.Thread(target=self._show_all, args=(printed, hidden))
            shown.start()
            try:
                text, _ = child.communicate(asked, timeout=within_s)
            except subprocess.TimeoutExpired:
                raise FetchFailed(f"SkyPilot did not answer within {within_s:.0f} s") from None
            finally:
                child.kill()
                shown.join()
        try:
            answer = json.loads(text)
        except ValueError:
            raise FetchFailed(f"SkyPilot ended with {child.returncode} and no answer") from None
        if "error" in answer:
            raise FetchFailed("SkyPilot: " + _line(scrubbed(str(answer["error"]), hidden)))
        return dict(answer)

    def _show_all(self, lines: Any, hidden: Sequence[str]) -> None:
        for line in lines:
            self._show(scrubbed(line.rstrip("\n"), hidden))


def sky_python() -> str:
    """The Python that has SkyPilot. Raises `Unsupported`."""
    named = os.environ.get(VARIABLE)
    if named:
        return _python_of(named)
    program = shutil.which("sky")
    if program is not None:
        return _python_of(program)
    raise Unsupported(
        "SkyPilot is not here: pipx install 'skypilot[aws]' (or another cloud's extra), or name "
        f"its Python in {VARIABLE}"
    )


def _python_of(program: str) -> str:
    """A Python as it is; of a script, the Python that its first line names."""
    path = Path(shutil.which(program) or program)
    try:
        with open(path, "rb") as file:
            head = file.read(_MOST_SHEBANG_BYTES).split(b"\n")[0]
    except OSError as error:
        raise Unsupported(f"{program[:120]}: {error.strerror}") from None
    if not head.startswith(b"#!"):
        return str(path)
    words = head[2:].decode("utf-8", "replace").split()
    python = words[-1] if words else ""
    if not os.access(python, os.X_OK):
        raise Unsupported(
            f"{program[:120]} does not name a Python in its first line: put SkyPilot's Python "
            f"into {VARIABLE}"
        )
    return python


def _line(text: str) -> str:
    return " ".join(text.split())[:1000]
