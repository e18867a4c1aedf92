"""Tells the service manager how the daemon is, as sd_notify(3) describes it: one datagram a fact.

    READY=1                    the models are loaded; `systemctl start` returns
    STATUS=…                   a line that `systemctl status` and `umad service status` show
    WATCHDOG=1                 the daemon's loop runs; without it the manager ends and restarts us
    EXTEND_TIMEOUT_USEC=…      a large model still loads, or answers still end: wait on
    STOPPING=1                 the daemon drains

Without a service manager nothing is sent. What cannot be sent is said again a moment later: a
manager that never hears of READY would end a daemon that serves well. No answer to a client depends
on it. Not: when it is told (`umad.daemon.server`).
Owner: the daemon's loop. Nothing here blocks.
"""

import asyncio
import enum
import logging
import os
import socket
import weakref
from collections.abc import Callable, MutableMapping, Sequence
from typing import Self

log = logging.getLogger(__name__)

# Three chances to be heard within the watchdog's time: the loop may be late once.
_PER_WATCHDOG = 3
# Without a watchdog: the time between two looks at the daemon's words.
_EVERY_S = 5.0
_SHORTEST_S = 0.05
# A loop that has hung for this long while a model loads will not come back.
_MORE_S = 60.0
# They are true at their moment only.
_OF_NOW = ("WATCHDOG", "EXTEND_TIMEOUT_USEC")
# systemd's "infinity" of a time in microseconds (USEC_INFINITY), which watches nobody.
_INFINITE_USEC = 2**64 - 1


class Phase(enum.Enum):
    """What the daemon does, as far as a service manager cares."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Notifier:
    """One daemon's words to its service manager."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        """address: a Unix datagram socket's path, an abstract one with @ first; None for no
        manager. watchdog_s: the time within which the manager wants to hear of us.
        """
        self._address = None if address is None else _address(address)
        self._watchdog_s = watchdog_s
        self._phase = Phase.STARTING
        self._said = ""
        # Facts that the manager has not taken yet, by their names.
        self._owed: dict[str, str] = {}
        # Made once: a daemon that has no descriptor left for a moment is to be heard all the same.
        self._sock: socket.socket | None = None
        if address is not None:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)
            weakref.finalize(self, self._sock.close)

    @classmethod
    def of(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """The notifier of the process `pid`. The variables are removed: no child speaks for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, of_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        # Other kinds of addresses (vsock) are of virtual machines' own managers.
        if not address.startswith(("/", "@")):
            return cls(None)
        of_us = of_pid in ("", str(pid))
        return cls(address, _watchdog_s(usec) if of_us else None)

    @property
    def every_s(self) -> float:
        """Seconds between two words of `attend`."""
        if self._watchdog_s is None:
            return _EVERY_S
        return max(_SHORTEST_S, min(_EVERY_S, self._watchdog_s / _PER_WATCHDOG))

    def ready(self, words: str) -> None:
        """The daemon answers, and its models are loaded."""
        self._phase, self._said = Phase.READY, words
        self._tell("READY=1", f"STATUS={_line(words)}")

    def stopping(self, words: str) -> None:
        """The daemon takes no new work."""
        self._phase, self._said = Phase.STOPPING, words
        self._tell("STOPPING=1", f"STATUS={_line(words)}", _more())

    async def attend(self, words: Callable[[], str]) -> None:
        """Say that the loop runs, and `words` where they changed, until cancelled."""
        if self._address is None:
            return
        while True:
            facts = []
            if self._phase is not Phase.READY:
                facts.append(_more())
            if self._watchdog_s is not None:
                facts.append("WATCHDOG=1")
            if (said := words()) != self._said:
                self._said = said
                facts.append(f"STATUS={_line(said)}")
            if facts or self._owed:
                self._tell(*facts)
            await asyncio.sleep(self.every_s)

    def _tell(self, *facts: str) -> None:
        """Send facts, after those that could not be sent before."""
        if self._sock is None or self._address is None:
            return
        told = {**self._owed, **{one.partition("=")[0]: one for one in facts}}
        try:
            self._sock.sendto("\n".join(told.values()).encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.debug("service manager not told facts=%s reason=%s", facts, error)
            self._owed = {name: one for name, one in told.items() if name not in _OF_NOW}
        else:
            self._owed = {}


def daemon_words(models: Sequence[str], n_live: int, *, is_loaded: bool, is_ending: bool) -> str:
    """The daemon's state in words. n_live: requests that run or wait."""
    at_work = f"; {n_live} {'request' if n_live == 1 else 'requests'} at work" if n_live else ""
    if is_ending:
        return f"ending{at_work}"
    return f"{'ready' if is_loaded else 'loading'}: {', '.join(models) or 'no model'}{at_work}"


def _address(text: str) -> str | bytes:
    return b"\0" + os.fsencode(text[1:]) if text.startswith("@") else text


def _watchdog_s(usec: str) -> float | None:
    """The watchdog's time; None for what is no number of microseconds."""
    if not (usec.isascii() and usec.isdecimal() and len(usec) <= len(str(_INFINITE_USEC))):
        return None
    return int(usec) / 1e6 if 0 < int(usec) < _INFINITE_USEC else None


def _line(words: str) -> str:
    """One line: a name with a newline in it must not become a fact of its own."""
    return " ".join(words.split())


def _more() -> str:
    return f"EXTEND_TIMEOUT_USEC={round(_MORE_S * 1e6)}"
