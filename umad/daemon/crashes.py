"""Decides whether an engine whose process died is started again, and when a failed load is tried
again. Pure.

A process that fails by itself before its model was ever ready has failed to load. A process killed
from outside is started again even then. After the model was ready once, every death is a crash.
Three crashes within a minute, or three in a row without the model becoming ready, end the engine.
A load that failed is tried again for a request, but not at once: most would fail again, and each
takes the machine's time.
Owner: the keeper of the engine.
"""

import signal
from collections import deque
from dataclasses import dataclass

from umad.errors import EngineFailed, ModelLoadFailed, UmadError
from umad.model_names import load_command
from umad.protocol.errors import error_of
from umad.protocol.link import Fatal

CRASHES = 3
CRASH_WINDOW_NS = 60 * 10**9
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
# What ggml's backend for Vulkan says last: an exception ends the process, and nothing catches it.
_DEVICE_LOST = "ErrorDeviceLost"
# llama.cpp is compiled for the processor it is built on, so a copy from elsewhere may not run.
_OTHER_BUILD = (
    "llama.cpp uses an instruction that does not work on this machine; build it here: pip install "
    "--force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The end of one process."""

    # The exit status as `subprocess` gives it; None where the process could not be reaped.
    status: int | None
    # Whether the process's model was ready.
    was_ready: bool
    now_ns: int
    # What the engine said about its end, or the daemon that killed it.
    fatal: Fatal | None = None
    # The last line that the process wrote.
    last_words: str = ""

    @property
    def how(self) -> str:
        """The cause of death in words, for the log and for error messages."""
        if self.fatal is not None:
            return self.fatal.message
        how = _status_in_words(self.status)
        if _DEVICE_LOST in self.last_words:
            # As after a driver's reset. The next process opens the device anew.
            return f"its device was lost ({how}: {self.last_words.strip()})"
        if self.last_words:
            how = f"{how} ({self.last_words})"
        return f"{how}: {_OTHER_BUILD}" if self.status == -signal.SIGILL else how


class CrashRecord:
    """The deaths of one engine since it was loaded."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._crashes_ns: deque[int] = deque(maxlen=CRASHES)
        self._starts_in_vain = 0
        # Whether the model was ready at any time since it was loaded.
        self.ever_ready = False

    def ready(self) -> None:
        """The model is ready: from now on a death is a crash."""
        self.ever_ready = True
        self._starts_in_vain = 0

    def died(self, death: Death) -> UmadError | None:
        """Note a death. Returns None where another process is to be started, else the reason why
        not.
        """
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


# How long a failed load is not tried again: so long after the first one, and twice as long after
# each further one.
FIRST_COOL_DOWN_NS = 10 * 10**9
MOST_COOL_DOWN_NS = 600 * 10**9


class CoolDown:
    """The loads of one model that failed in a row."""

    def __init__(self) -> None:
        self._n_failed = 0
        self._until_ns: int | None = None

    def failed(self, now_ns: int) -> None:
        """A load has failed."""
        long_ns = min(MOST_COOL_DOWN_NS, FIRST_COOL_DOWN_NS * 2**self._n_failed)
        # The longest is reached after a few; a number that grows for ever would grow too large.
        self._n_failed += long_ns < MOST_COOL_DOWN_NS
        self._until_ns = now_ns + long_ns

    def over(self) -> None:
        """A load went well, or somebody asks for one: what failed before does not count."""
        self._n_failed, self._until_ns = 0, None

    def left_ns(self, now_ns: int) -> int | None:
        """The time until a request may try again, 0 where it may now; None where no load failed."""
        return None if self._until_ns is None else max(0, self._until_ns - now_ns)


def _status_in_words(status: int | None) -> str:
    """Words such as "exit status 1" or "signal SIGKILL"."""
    if status is None:
        return "no exit status"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
