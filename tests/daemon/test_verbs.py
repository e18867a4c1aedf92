"""Questions and orders beside streams: tokens, sessions, priority, metrics, ping."""

import asyncio
from pathlib import Path
from typing import Any

from tests.daemon.house import Serve, asks, run, until
from umad.config import AppRule
from umad.conversation import ChatMessage
from umad.protocol.messages import (
    Detokenize,
    Estimate,
    Metrics,
    Ping,
    Priority,
    Render,
    Sessions,
    Tokenize,
)
from umad.service import Accepted, Failed
from umad.testing import FakeModel


def test_tokenize_and_detokenize_are_answered_by_the_engine(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            assert await wire.ask(Tokenize(id=1, text="a bb ccc")) == [1, 2, 3]
            assert await wire.ask(Detokenize(id=2, ids=(4, 5))) == "4 5 "
            assert await wire.ask(Detokenize(id=3, ids=(4, 5), pieces=True)) == [b"4 ", b"5 "]

    run(test())


def test_a_chat_is_rendered_by_the_engine_and_its_template_told(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            turns = (ChatMessage(role="user", content="a bb"),)

            assert await wire.ask(Render(id=1)) == {"template": "{{ messages }}"}
            rendered = await wire.ask(Render(id=2, messages=turns))
            assert (rendered["text"], rendered["ids"]) == ("a bb", [1, 2])

    run(test())


def test_an_estimate_is_reckoned_beside_what_other_models_take(
    serve: Serve, nano_path: Path
) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            found = await wire.ask(Estimate(id=1, model="nano", ctx_size=8192, max_seqs=4))
            refused = await wire.ask(Estimate(id=2, model="/nowhere/model.gguf"))

        assert found["path"] == str(nano_path)
        assert (found["n_streams"], found["fits"]) == (4, True)
        assert found["total_bytes"] > found["cells_bytes"] > 8192 * found["token_bytes"]
        assert isinstance(refused, Failed)
        assert refused.code == "model_load_failed"

    run(test())


def test_an_estimate_with_figures_that_no_option_takes_is_refused(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            for field, value in (("ctx_size", 1), ("max_seqs", 500), ("kv_type", "q3")):
                asked: dict[str, Any] = {field: value}
                refused = await wire.ask(Estimate(id=1, model="nano", **asked))
                assert isinstance(refused, Failed)
                assert (refused.code, refused.field) == ("bad_request", field)

    run(test())


def test_sessions_lists_what_runs_and_for_whom(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire, observer = await house.connect(), await house.connect()
            wire.send(asks(1, "four words of prompt", max_tokens=2000, session="chat-1"))

            async def generates() -> bool:
                (row,) = await observer.ask(Sessions(id=1))
                return bool(row["generated"] > 2)

            await wire.next()
            await until(generates)
            (row,) = await observer.ask(Sessions(id=2))

            assert row["state"] == "generating"
            assert row["client"] == "test"
            assert row["session"] == "chat-1"
            assert row["prompt_tokens"] == 4
            assert (row["model"], row["lane"], row["n"]) == ("a", "interactive", 1)
            assert row["age_ms"] > 0

    run(test())


def test_priority_moves_a_session_now_and_for_its_next_turn(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire, boss = await house.connect(), await house.connect()
            wire.send(asks(1, max_tokens=2000, session="chat-1"))
            await wire.next()

            moved = await boss.ask(Priority(id=1, target="chat-1", lane="background"))

            (row,) = await boss.ask(Sessions(id=2))
            assert moved == 1
            assert row["lane"] == "background"
            next_turn = await boss.stream(asks(3, session="chat-1"))
            accepted = next_turn.events[0]
            assert isinstance(accepted, Accepted)
            assert accepted.lane == "background"

    run(test())


def test_priority_names_what_it_does_not_know(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            nobody = await wire.ask(Priority(id=1, target="nobody", lane="background"))
            nowhere = await wire.ask(Priority(id=2, target="nobody", lane="backgrund"))

            assert nobody.code == "unknown_request"
            assert "background" in nowhere.message

    run(test())


def test_a_rule_for_the_app_decides_its_lane(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), apps=(AppRule(app="*", lane="background"),)) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1))

            accepted = stream.events[0]
            assert isinstance(accepted, Accepted)
            assert accepted.lane == "background"

    run(test())


def test_metrics_count_what_was_served_and_the_memory_of_the_engine(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            await wire.stream(asks(1, max_tokens=30))

            card = await wire.ask(Metrics(id=2))

            assert card["requests"] == 1
            assert card["tokens_per_s"] > 0
            assert card["models"]["a"]["rss_gb"] > 0
            assert card["rss_gb"] > card["models"]["a"]["rss_gb"]  # the daemon counts too

    run(test())


def test_a_ping_is_answered_while_streams_run(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire, pinger = await house.connect(), await house.connect()
            wire.send(*(asks(i, max_tokens=200) for i in range(8)))
            await wire.next()

            answers = [await pinger.ask(Ping(id=i)) for i in range(20)]

            assert answers == [None] * 20
            await asyncio.wait_for(wire.collect(*range(8)), 30)

    run(test())
