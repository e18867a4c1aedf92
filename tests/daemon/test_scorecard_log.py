"""The scorecard, written down."""

import asyncio
import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from umad.config import LoggingSettings
from umad.daemon.scorecard_log import write_scorecards
from umad.metrics.scorecard import Scorecard

INTERVAL_S = 0.01


def write(path: Path | None, cards: list[Mapping[str, Any]]) -> None:
    """Run the writer until it has asked for every card, and once more."""

    async def test() -> None:
        asked_again = asyncio.Event()

        async def next_card() -> Mapping[str, Any]:
            if cards:
                return cards.pop(0)
            asked_again.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        settings = LoggingSettings(
            scorecard_interval_s=INTERVAL_S, scorecard_csv=None if path is None else str(path)
        )
        task = asyncio.create_task(write_scorecards(next_card, settings, asyncio.Event()))
        await asyncio.wait_for(asked_again.wait(), 20)
        task.cancel()

    asyncio.run(test())


def card(*, busy: bool) -> Mapping[str, Any]:
    scorecard = Scorecard(latency_cap=1.2, budget_gbps=None)
    if busy:
        scorecard.accepted(1, "nano", "interactive", "editor", 10**9)
        scorecard.tokens(1, 1, 2 * 10**9)
    return scorecard.snapshot(3 * 10**9, {})


def test_the_file_gets_one_header_and_a_row_for_every_busy_interval(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.csv"

    write(path, [card(busy=True), card(busy=False)])
    write(path, [card(busy=True)])

    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["running"] for row in rows] == ["1", "1"]
    assert rows[0]["at"].endswith("+00:00")


def test_a_run_shorter_than_the_interval_leaves_its_row(tmp_path: Path) -> None:
    path = tmp_path / "scorecard.csv"
    settings = LoggingSettings(scorecard_interval_s=3600, scorecard_csv=str(path))

    async def stop_at_once() -> None:
        stopped = asyncio.Event()

        async def only_card() -> Mapping[str, Any]:
            return card(busy=True)

        task = asyncio.create_task(write_scorecards(only_card, settings, stopped))
        stopped.set()
        await asyncio.wait_for(task, 20)

    asyncio.run(stop_at_once())

    assert len(list(csv.DictReader(path.read_text().splitlines()))) == 1


def test_idle_intervals_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    write(None, [card(busy=False), card(busy=True), card(busy=False)])

    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in lines] == ["scorecard"]
    assert "running=1" in lines[0]


def test_a_file_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "nowhere" / "scorecard.csv", [card(busy=True), card(busy=True)])

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1


def test_a_disk_that_has_room_again_gets_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "later" / "scorecard.csv"
    settings = LoggingSettings(scorecard_interval_s=INTERVAL_S, scorecard_csv=str(path))

    async def test() -> None:
        n_cards, enough = 0, asyncio.Event()

        async def next_card() -> Mapping[str, Any]:
            nonlocal n_cards
            n_cards += 1
            if n_cards == 2:
                path.parent.mkdir()
            elif n_cards == 3:
                path.write_bytes(path.read_bytes() + b"half a ro")
            elif n_cards == 4:
                enough.set()
            return card(busy=True)

        task = asyncio.create_task(write_scorecards(next_card, settings, asyncio.Event()))
        await asyncio.wait_for(enough.wait(), 20)
        task.cancel()

    asyncio.run(test())

    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert rows[0]["running"] == "1"
    assert rows[1]["at"] == "half a ro"
    assert rows[2]["running"] == "1"
