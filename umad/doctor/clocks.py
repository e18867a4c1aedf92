"""Checks the time of day, which certificates and files go by, and the clock of the steps."""

import ctypes
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import umad
from umad.clock import MonotonicClock
from umad.doctor.finding import Finding, good, note, wrong
from umad.doctor.surroundings import Surroundings

CHECK = "clock"
# A step reads the clock some dozen times. 30 ns is usual; a clock of the board takes a microsecond.
_SLOW_NS = 500
_READS = 2_000
# A file may be made by a machine whose clock goes a little ahead.
_AHEAD_S = 86_400.0
_UNSYNCHRONISED = 0x40  # STA_UNSYNC, linux/timex.h
_TIMEX_BYTES = 208  # sizeof(struct timex) on 64 bits
_STATUS_AT = 40  # its field `status`, after five longs


def check(around: Surroundings) -> list[Finding]:
    """Look at both clocks."""
    # umad was installed in the past, if the clock is right.
    installed_s = Path(umad.__file__).stat().st_mtime
    found = [time_of_day(datetime.now(UTC).timestamp(), installed_s, _is_synchronised(around))]
    found.append(step_clock(_read_ns(MonotonicClock().now_ns)))
    return found


def time_of_day(now_s: float, installed_s: float, is_synchronised: bool | None) -> Finding:
    """is_synchronised: None where the system does not tell."""
    shown = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    if now_s < installed_s - _AHEAD_S:
        return wrong(
            CHECK,
            f"it is {shown} by this clock, before umad was installed: downloads will fail",
            mend="sudo timedatectl set-ntp true, or on macOS: sudo sntp -sS time.apple.com",
        )
    if is_synchronised is False:
        return note(
            CHECK,
            f"it is {shown}, and nothing keeps the clock right",
            mend="sudo timedatectl set-ntp true",
        )
    return good(CHECK, f"it is {shown}")


def step_clock(read_ns: float) -> Finding:
    """read_ns: how long one reading takes."""
    if read_ns <= _SLOW_NS:
        return good(CHECK, f"reading the clock takes {read_ns:.0f} ns")
    return note(
        CHECK,
        f"reading the clock takes {read_ns:.0f} ns, so each token is measured slowly",
        mend="see /sys/devices/system/clocksource/clocksource0/current_clocksource: tsc and "
        "kvm-clock are quick",
    )


def _read_ns(now_ns: Callable[[], int]) -> float:
    """The least of some rounds: others may have the core in between."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter_ns()
        for _ in range(_READS):
            now_ns()
        best = min(best, (time.perf_counter_ns() - began) / _READS)
    return best


def _is_synchronised(around: Surroundings) -> bool | None:
    """Ask adjtimex(2), which any user may. None elsewhere, and where it is refused."""
    if around.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        result = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except AttributeError:
        return None
    if result < 0:
        return None
    status = ctypes.c_int.from_buffer(timex, _STATUS_AT).value
    return not status & _UNSYNCHRONISED
