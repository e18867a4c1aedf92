"""What the death of an engine's process means: another one, or the end. Pure.

A process that fails on its own account before its model was ever ready has failed to load. A kill
from outside is tried again even then. After that every death is a crash, and three within a
minute, or three in a row with no readiness between them, are enough.
Owner: the keeper of the engine.
"""

import signal
from collections import deque
from dataclasses import dataclass

from umad.daemon.names import load_command
from umad.errors import EngineFailed, ModelLoadFailed, UmadError
from umad.protocol.errors import error_of
from umad.protocol.link import Fatal

CRASHES = 3
CRASH_WINDOW_NS = 60 * 10**9
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
# It is compiled for the processor it is built on, so a copy from elsewhere may not run at all.
_OTHER_BUILD = (
    "llama.cpp uses an instruction that does not work on this machine; build it here: pip install "
    "--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """One process's end. status: as `subprocess` has it, None where it could not be reaped.

    was_ready: its model was. fatal: what the engine said of it, or the daemon that killed it.
    """

    status: int | None
    was_ready: bool
    now_ns: int
    fatal: Fatal | None = None
    last_words: str = ""

    @property
    def how(self) -> str:
        """In words, for the log and for error messages."""
        if self.fatal is not None:
            return self.fatal.message
        how = _status_in_words(self.status)
        if self.last_words:
            how = f"{how} ({self.last_words})"
        return f"{how}: {_OTHER_BUILD}" if self.status == -signal.SIGILL else how


class CrashRecord:
    """The deaths of one engine since it was loaded. ever_ready: it was, since then."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._crashes_ns: deque[int] = deque(maxlen=CRASHES)
        self._starts_in_vain = 0
        self.ever_ready = False

    def ready(self) -> None:
        """The model is ready: from now on a death is a crash."""
        self.ever_ready = True
        self._starts_in_vain = 0

    def died(self, death: Death) -> UmadError | None:
        """None where another process is to be started, else why not."""
        model, fatal = self._model, death.fatal
        self._crashes_ns.append(death.now_ns)
        self._starts_in_vain += not death.was_ready
        if not self.ever_ready:
            if fatal is not None:
                return error_of(fatal.code, f"{model}: {fatal.message}", "model")
            if death.status not in FROM_OUTSIDE:
                return ModelLoadFailed(
                    f"{model}: the engine ended while loading: {death.how}", field="model"
                )
        if self._starts_in_vain >= CRASHES:
            when = f"{CRASHES} times before it was ready"
        elif self._too_many(death.now_ns):
            when = f"{CRASHES} times within {CRASH_WINDOW_NS // 10**9} s"
        else:
            return None
        return EngineFailed(
            f"{model}: the engine crashed {when}, last by {death.how}; "
            f"load it again with: {load_command(model)}"
        )

    def _too_many(self, now_ns: int) -> bool:
        crashes_ns = self._crashes_ns
        return len(crashes_ns) == CRASHES and now_ns - crashes_ns[0] <= CRASH_WINDOW_NS


def _status_in_words(status: int | None) -> str:
    """exit status 1, signal SIGKILL."""
    if status is None:
        return "no exit status"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
