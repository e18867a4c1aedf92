"""The ΣBMT budget and the device board, with real engines of two models."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.live import CACHE, POLL_S, Stream, collect, greedy, live_daemon
from umad.request import BACKGROUND, INTERACTIVE

# Few of the steps that nano could make, so that a busy machine keeps up, too.
GBPS = 0.1
HELD_S = 4.0
CAUGHT_UP_S = 60.0
LEAST_SHARE = 0.3


def two_models(folder: Path, nano_path: Path) -> tuple[str, str]:
    """The same weights under two names: two engines."""
    one, two = folder / "one.gguf", folder / "two.gguf"
    shutil.copyfile(nano_path, one)
    shutil.copyfile(nano_path, two)
    return str(one), str(two)


def shares_of(card: Mapping[str, Any]) -> list[float]:
    """What each engine has of the budget."""
    return [card["models"][name]["bmt_gbps"] / GBPS for name in ("one", "two")]


def test_background_work_of_two_engines_keeps_to_one_budget(
    short_tmp_path: Path, nano_path: Path
) -> None:
    models = two_models(short_tmp_path, nano_path)
    with live_daemon(
        short_tmp_path, *models, "--threads", "1", "--bmt-budget", f"{GBPS}GBps"
    ) as daemon:

        async def both() -> dict[str, Any]:
            async with daemon.client() as client:
                tasks = [
                    asyncio.create_task(
                        collect(client, greedy("x", 2000, model=name, lane=BACKGROUND))
                    )
                    for name in ("one", "two")
                ]
                await asyncio.sleep(HELD_S)
                card = dict(await client.metrics())
                async with asyncio.timeout(CAUGHT_UP_S):
                    # Never above it; as much, and each its part, as soon as the engines have had
                    # the cores for that.
                    while card["bmt_gbps"] < 0.9 * GBPS or min(shares_of(card)) <= LEAST_SHARE:
                        assert card["bmt_gbps"] <= 1.1 * GBPS
                        await asyncio.sleep(POLL_S)
                        card = dict(await client.metrics())
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                return card

        card = asyncio.run(both())

    assert card["bmt_budget_gbps"] == GBPS
    assert card["bmt_gbps"] == pytest.approx(GBPS, rel=0.1)
    assert min(shares_of(card)) > LEAST_SHARE, shares_of(card)
    assert all(card["models"][name]["bmt_budget_gbps"] == GBPS for name in ("one", "two"))


def test_an_engine_with_background_work_steps_back_for_another_ones_interactive_work(
    short_tmp_path: Path, nano_path: Path
) -> None:
    models = two_models(short_tmp_path, nano_path)
    with live_daemon(short_tmp_path, *models, "--threads", "1") as daemon:

        async def both() -> tuple[float, int]:
            async with daemon.client() as client:
                background = Stream(enough_tokens=5)
                task = asyncio.create_task(
                    collect(client, greedy("x", 2000, model="two", lane=BACKGROUND), background)
                )
                await background.enough.wait()
                (engine,) = [row for row in await client.models() if row["name"] == "two"]
                two = psutil.Process(engine["pid"] or 0)
                # From a token to a token of the other stream, well before its end: the engine may
                # be done long before a client without a core has read that it is.
                ahead = Stream(enough_tokens=20)
                other = asyncio.create_task(
                    collect(client, greedy("x", 2000, model="one", lane=INTERACTIVE), ahead)
                )
                await ahead.enough.wait()
                began_s, used_s = time.perf_counter(), sum(two.cpu_times()[:2])
                ahead.enough.clear()
                ahead.enough_tokens = 420
                await ahead.enough.wait()
                used_s = sum(two.cpu_times()[:2]) - used_s
                share = used_s / (time.perf_counter() - began_s)
                assert ahead.done is None
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)
                n_beside = len(background.ids)
                background.enough.clear()
                background.enough_tokens = n_beside + 100
                # It goes on by itself once the other engine is quiet.
                await asyncio.wait_for(background.enough.wait(), 60)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return share, len(background.ids) - n_beside

        share, after = asyncio.run(both())

    # A 25th of the time for its steps, and what looking for its turn costs; nearly all of a core
    # else. In its own processor time, for with few cores the other engine's tokens take longer.
    assert share < 0.15
    assert after >= 100


@pytest.mark.parametrize("budget", ["0", "-1GBps"])
def test_a_budget_that_cannot_be_is_refused_at_start_naming_the_line(
    short_tmp_path: Path, budget: str
) -> None:
    path = short_tmp_path / "umad.yaml"
    path.write_text(f"latency_cap: 1.5\nbmt_budget_gbps: {budget}\n")

    ended = subprocess.run(
        [
            *(sys.executable, "-m", "umad", "serve", "--config", str(path)),
            *("--socket", str(short_tmp_path / "u.sock")),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_CACHE_HOME": str(CACHE)},
    )

    assert ended.returncode == 2
    assert f"{path}:2: bmt_budget_gbps" in ended.stderr


def test_a_budget_on_the_command_line_is_refused_by_the_flags_name(short_tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "umad", "serve", "--bmt-budget", "-1GBps"),
            *("--socket", str(short_tmp_path / "u.sock")),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_CACHE_HOME": str(CACHE)},
    )

    assert ended.returncode == 2
    assert "--bmt-budget-gbps: bmt_budget_gbps must be auto, or a rate above zero" in ended.stderr
