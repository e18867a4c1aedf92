"""When an engine's silence is held against it; on timers that go off as the test says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umad.daemon.engine import Engine
from umad.daemon.engine_state import EngineEvent
from umad.daemon.watchdog import Watchdog
from umad.protocol import lifecycle
from umad.protocol.link import Submit
from umad.request import SamplingParams

STALL_S = 10.0


class Timer:
    def __init__(self, due_ns: int, call: Callable[[], None]) -> None:
        self.due_ns = due_ns
        self.call = call
        self.live = True

    def cancel(self) -> None:
        self.live = False


class Kennel:
    """A watchdog, the engine it watches, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time_ns = 0
        self.hung_after_s: list[float] = []
        self.engine: Any = Engine("m", Path("m.gguf"))
        self.engine.advance(EngineEvent.READY)
        self._timers: list[Timer] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)
        self.watchdog = Watchdog(
            self.engine, clock=self, stall_s=STALL_S, hangs=self.hung_after_s.append
        )

    def now_ns(self) -> int:
        return self.time_ns

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.time_ns + round(delay_s * 1e9), call))
        return self._timers[-1]

    def wait(self, seconds: float) -> None:
        until_ns = self.time_ns + round(seconds * 1e9)
        while due := [one for one in self._timers if one.live and one.due_ns <= until_ns]:
            timer = min(due, key=lambda one: one.due_ns)
            self._timers.remove(timer)
            self.time_ns = timer.due_ns
            timer.call()
        self.time_ns = until_ns

    def stand_still(self, seconds: float) -> None:
        """The daemon does not run for so long: its timers go off late, and before it reads."""
        self.time_ns += round(seconds * 1e9)
        due = [one for one in self._timers if one.live and one.due_ns <= self.time_ns]
        for timer in due:
            self._timers.remove(timer)
            timer.call()

    def give_work(self) -> Any:
        entry = self.engine.journal.add(
            Submit(rid=1, sampling=SamplingParams(), lane="interactive", app="a", prompt="x"),
            owner=None,
            index=0,
        )
        self.watchdog.watch()
        return entry

    def news(self) -> None:
        self.engine.last_news_ns = self.time_ns


def watched(monkeypatch: pytest.MonkeyPatch, test: Callable[[Kennel], None]) -> None:
    async def main() -> None:
        with monkeypatch.context() as patch:
            test(Kennel(patch))

    asyncio.run(main())


def test_an_engine_with_work_that_says_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def test(kennel: Kennel) -> None:
        kennel.give_work()
        kennel.wait(STALL_S - 0.1)
        assert kennel.hung_after_s == []

        kennel.wait(0.2)

        assert kennel.hung_after_s == [STALL_S]

    watched(monkeypatch, test)


def test_every_word_of_it_begins_its_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def test(kennel: Kennel) -> None:
        kennel.give_work()
        for _ in range(20):
            kennel.wait(0.9 * STALL_S)
            kennel.news()

        assert kennel.hung_after_s == []

    watched(monkeypatch, test)


def test_a_daemon_that_stood_still_hears_first_what_was_said_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def test(kennel: Kennel) -> None:
        kennel.give_work()
        kennel.wait(0.5 * STALL_S)

        kennel.stand_still(5 * STALL_S)
        kennel.news()
        kennel.wait(0.9 * STALL_S)
        kennel.news()
        kennel.wait(0.9 * STALL_S)

        assert kennel.hung_after_s == []

    watched(monkeypatch, test)


def test_a_daemon_that_stood_still_waits_once_more_for_an_engine_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def test(kennel: Kennel) -> None:
        kennel.give_work()

        kennel.stand_still(5 * STALL_S)
        assert kennel.hung_after_s == []
        kennel.stand_still(5 * STALL_S)

        assert kennel.hung_after_s == [10 * STALL_S]

    watched(monkeypatch, test)


def test_an_idle_engine_is_not_taken_for_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    def test(kennel: Kennel) -> None:
        entry = kennel.give_work()
        kennel.engine.journal.advance(entry, lifecycle.LifecycleEvent.ENDED)

        kennel.wait(100 * STALL_S)

        assert kennel.hung_after_s == []

    watched(monkeypatch, test)


def test_an_engine_whose_only_client_does_not_read_is_not_taken_for_hanging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def test(kennel: Kennel) -> None:
        entry = kennel.give_work()
        kennel.engine.journal.advance(entry, lifecycle.LifecycleEvent.TOKENS)
        kennel.engine.journal.advance(entry, lifecycle.LifecycleEvent.PAUSE)
        kennel.wait(100 * STALL_S)
        assert kennel.hung_after_s == []

        kennel.engine.journal.advance(entry, lifecycle.LifecycleEvent.RESUME)
        kennel.engine.journal.advance(entry, lifecycle.LifecycleEvent.TOKENS)
        kennel.watchdog.watch()
        kennel.wait(2 * STALL_S)

        assert kennel.hung_after_s == [STALL_S], "it reads again, so silence counts again"

    watched(monkeypatch, test)


def test_an_engine_that_was_given_up_is_watched_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def test(kennel: Kennel) -> None:
        kennel.give_work()

        kennel.watchdog.stop()
        kennel.wait(100 * STALL_S)

        assert kennel.hung_after_s == []

    watched(monkeypatch, test)
