"""The second-turn benchmark, small, on a real daemon with the model that ships."""

import asyncio
from pathlib import Path

from bench.turns import Conversation, converse
from tests.live import live_daemon


def test_a_turn_after_others_is_put_back_and_starts_in_a_fraction_of_the_cold_time(
    short_tmp_path: Path, nano_path: Path
) -> None:
    with live_daemon(short_tmp_path, str(nano_path), "--ctx-size", "1280") as daemon:
        (engine,) = daemon.engines()

        def processor_s() -> float:
            """The engine's own: what is not computed costs none, whoever has the cores."""
            return sum(engine.cpu_times()[:2])

        async def one() -> Conversation:
            async with daemon.client() as client:
                return await converse(
                    client,
                    number=0,
                    tokens=800,
                    others=3,
                    other_tokens=500,
                    now_s=processor_s,
                )

        found = asyncio.run(one())

    assert found.parked >= 1
    assert found.n_tokens - found.n_cached < 30, "the last question, and the answer's last token"
    # A tenth; half where the client is so late that the engine has computed the whole answer.
    assert found.after_others_ms < 0.7 * found.cold_ms
