"""Several models under one daemon: loaded for requests, in turn, with nothing lost."""

import asyncio
import logging
import math
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.house import (
    House,
    Serve,
    Wire,
    asks,
    run,
    tokens_of,
    until,
    until_generating,
    wire_has_arrived,
)
from umad.asker import Asker
from umad.daemon import journal
from umad.daemon.rotation import Rotation
from umad.embedding import EmbedRequest
from umad.protocol.messages import (
    LOADING,
    Adapters,
    Cancel,
    Embed,
    Hello,
    Load,
    Models,
    Sessions,
    Tokenize,
    Unload,
)
from umad.service import Failed, Loading
from umad.testing import FakeModel

USER = Asker(owner="key:alice", role="user")


class HandClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at_ns = 10**12

    def now_ns(self) -> int:
        return self.at_ns


class Stage:
    """A daemon with models in its folder, whose time passes as a test says."""

    def __init__(self, house: House, clock: HandClock) -> None:
        self.house = house
        self.clock = clock

    @property
    def rotation(self) -> Rotation:
        return self.house.daemon._supervisor._rotation

    def wait(self, seconds: float) -> None:
        """Let time pass, and let the daemon see it."""
        self.clock.at_ns += round(seconds * 1e9)
        self.rotation.look()

    async def states(self) -> dict[str, str]:
        return {name: row["state"] for name, row in (await self.house.models()).items()}

    async def reaches(self, **states: str) -> None:
        """Wait until models are in these states."""

        async def they_are() -> bool:
            now = await self.states()
            return all(now.get(name) == state for name, state in states.items())

        await until(they_are)


def gated(folder: Path) -> dict[str, FakeModel]:
    """Two models. Requests of the first may wait for a file in the folder."""
    return {"a": FakeModel(gate=str(folder / "gate")), "b": FakeModel()}


async def made_to_yield(stage: Stage, wire: Wire) -> Wire:
    """Have model a work on a request that goes on once the gate opens, and yield to b. Returns the
    connection on which b is asked.
    """
    other = await stage.house.connect()
    wire.send(asks("long", "gate@5", model="a", max_tokens=20))
    await until_generating(stage.house, 1)
    stage.wait(10)
    other.send(asks("b", model="b"))
    await stage.reaches(b="waiting")
    assert (await stage.states())["a"] == "ready"
    stage.wait(11)
    await stage.reaches(a="yielding")
    return other


def on_stage(
    test: Callable[[Stage], Awaitable[None]],
    serve: Serve,
    folder: Path,
    models: Mapping[str, FakeModel] | None = None,
    loaded: tuple[str, ...] = (),
    **settings: Any,
) -> None:
    """Run a test with models a, b and c (or others) in a folder, none of them loaded but those that
    the configuration names.
    """
    for name, one in (models or dict.fromkeys("abc", FakeModel())).items():
        one.write(folder / f"{name}.gguf")
    clock = HandClock()
    named = tuple(str(folder / f"{name}.gguf") for name in loaded)
    several = {"model_folders": (str(folder),), "models": named, **settings}

    async def scene() -> None:
        async with serve(empty=True, clock=clock, several=several) as house:
            await test(Stage(house, clock))

    run(scene())


# -- loaded for a request ------------------------------------------------------------------------


def test_a_request_that_names_a_model_of_the_folder_loads_it(serve: Serve, tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        assert await stage.states() == {}

        stream = await wire.stream(asks(1, model="b"))
        words = await wire.ask(Tokenize(id=2, text="one two", model="c"))

        assert stream.ids == tokens_of(7, 5)
        assert words == [3, 3]
        assert await stage.states() == {"b": "ready", "c": "ready"}

    on_stage(test, serve, tmp_path)


@pytest.mark.parametrize(
    "asked", ["/nowhere/b.gguf", "{folder}/big-one.gguf", "qwen", "qw", "big-"], ids=str
)
def test_only_a_whole_name_loads_a_model(serve: Serve, tmp_path: Path, asked: str) -> None:
    """A beginning or a path might mean more than the one who writes it knows."""

    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        for asker in (None, USER):
            request = asks(1, model=asked.format(folder=tmp_path))
            wire.send(type(request)(id=1, request=request.request, asker=asker))
            stream = (await wire.collect(1))[1]

            assert stream.failed is not None
            assert stream.failed.code == "unknown_model"
        assert await stage.states() == {}

    on_stage(test, serve, tmp_path, {"qwen3-4b": FakeModel(), "big-one": FakeModel()})


def test_users_load_a_model_by_its_whole_name_in_any_letters(serve: Serve, tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        request = asks(1, model="Qwen3-4B:latest").request
        wire.send(type(asks(1))(id=1, request=request, asker=USER))

        assert (await wire.collect(1))[1].ids == tokens_of(7, 5)

    on_stage(test, serve, tmp_path, {"qwen3-4b": FakeModel()})


def test_a_name_that_fits_exactly_means_that_model_though_another_is_loaded(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await wire.stream(asks(1, model="qwen3-4b"))
        # Written so, it is the loaded one as long as no other has that name.
        await wire.stream(asks(2, model="Qwen3:4B"))
        assert await stage.states() == {"qwen3-4b": "ready"}

        await wire.stream(asks(3, model="qwen3.4b"))

        assert await stage.states() == {"qwen3-4b": "ready", "qwen3.4b": "ready"}

    on_stage(test, serve, tmp_path, {"qwen3-4b": FakeModel(), "qwen3.4b": FakeModel()})


def test_without_lazy_load_a_request_loads_nothing(serve: Serve, tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()

        stream = await wire.stream(asks(1, model="b"))

        assert stream.failed is not None
        assert stream.failed.code == "unknown_model"
        assert "umad load b" in stream.failed.message

    on_stage(test, serve, tmp_path, lazy_load=False)


def test_requests_for_a_loading_model_are_told_how_it_stands_and_none_is_lost(
    serve: Serve, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    async def test(stage: Stage) -> None:
        curious, plain = await stage.house.connect(greet=False), await stage.house.connect()
        curious.send(Hello(client="curious", capabilities=(LOADING,)))
        await curious.next()
        curious.send(*[asks(n, seed=n, model="slow") for n in range(1, 9)])
        plain.send(*[asks(n, seed=n, model="slow") for n in range(1, 9)])
        await stage.reaches(slow="starting")
        stage.wait(1.5)
        (row, *_) = await (await stage.house.connect()).ask(Sessions(id="live"))
        assert row["waits_for"] == "the engine is starting"

        gate.touch()

        for wire, is_told in ((curious, True), (plain, False)):
            streams = await wire.collect(*range(1, 9))
            assert [streams[n].ids for n in range(1, 9)] == [tokens_of(n, 5) for n in range(1, 9)]
            told = [one for one in streams[1].events if isinstance(one, Loading)]
            assert bool(told) is is_told
            *waited, last = [one.state for one in told] or ["starting"]
            assert {*waited} <= {"starting"}
            assert last == ("ready" if is_told else "starting")

    on_stage(test, serve, tmp_path, {"slow": FakeModel(wait_for=str(gate))})


# -- room ------------------------------------------------------------------------------------------


def test_the_model_used_longest_ago_makes_room_and_comes_back_when_it_is_asked(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        for name in ("a", "b"):
            assert (await wire.stream(asks(name, model=name))).ids == tokens_of(7, 5)
            stage.wait(10)

        assert (await wire.stream(asks("c", model="c"))).ids == tokens_of(7, 5)

        assert await stage.states() == {"a": "suspended", "b": "ready", "c": "ready"}
        row = (await stage.house.models())["a"]
        assert (row["pid"], row["suspended_for"]) == (None, "c needed its room")
        stage.wait(10)
        assert (await wire.stream(asks("again", model="a"))).ids == tokens_of(7, 5)
        assert await stage.states() == {"a": "ready", "b": "suspended", "c": "ready"}

    on_stage(test, serve, tmp_path, max_models=2)


def test_a_model_that_was_just_loaded_stays_until_its_load_was_worth_it(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire, watcher = await stage.house.connect(), await stage.house.connect()
        await wire.stream(asks("a", model="a"))
        wire.send(asks("b", model="b"))

        async def waits() -> bool:
            rows = await watcher.ask(Sessions(id="live"))
            return [row["waits_for"] for row in rows] == ["room: a was loaded just now"]

        await until(waits)
        assert (await stage.states())["a"] == "ready"
        stage.wait(2.5)

        assert (await wire.collect("b"))["b"].ids == tokens_of(7, 5)

    on_stage(test, serve, tmp_path, max_models=1)


def test_a_model_at_work_ends_what_runs_and_what_came_later_waits_for_its_next_turn(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        other = await made_to_yield(stage, wire)
        wire.send(asks("held", model="a", seed=3), Tokenize(id="words", text="one", model="a"))

        (tmp_path / "gate").touch()

        assert (await other.collect("b"))["b"].ids == tokens_of(7, 5)
        assert (await stage.states())["a"] == "waiting"
        stage.wait(10)
        streams = await wire.collect("long", "held")

        assert streams["long"].ids == tokens_of(7, 20)
        assert streams["held"].ids == tokens_of(3, 5)

    on_stage(test, serve, tmp_path, gated(tmp_path), max_models=1)


def test_a_model_that_is_loaded_again_is_the_librarys_as_before(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await wire.ask(Load(id="load", model="b"))
        supervisor = stage.house.daemon._supervisor
        assert supervisor.file("b").is_of_library

        await wire.ask(Unload(id="unload", model="b"))

        assert supervisor.file("b").is_of_library

    on_stage(test, serve, tmp_path)


def test_a_model_that_was_fetched_anew_while_it_rested_is_loaded_from_its_new_place(
    serve: Serve, tmp_path: Path
) -> None:
    """The hub's cache keeps each version of a file in a folder of its own."""
    versions = tmp_path / "first", tmp_path / "second"
    for folder in versions:
        folder.mkdir()

    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await wire.stream(asks(1, model="a"))
        stage.wait(61)
        await stage.reaches(a="suspended")
        (versions[0] / "a.gguf").unlink()
        new = FakeModel().write(versions[1] / "a.gguf")

        stream = await wire.stream(asks(2, model="a"))

        assert stream.ids == tokens_of(7, 5), stream.failed
        assert (await stage.house.models())["a"]["path"] == str(new)

    folders = tuple(map(str, versions))
    on_stage(
        test,
        serve,
        versions[0],
        {"a": FakeModel()},
        model_folders=folders,
        keep_alive=(("*", 60.0),),
    )


def test_prompts_in_flight_have_one_bound_for_all_models(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_PROMPT_BYTES", 100)

    async def test(stage: Stage) -> None:
        wire, other = await stage.house.connect(), await stage.house.connect()
        wire.send(asks("held", "gate@0 " + "x" * 60, model="a"))
        await stage.reaches(a="ready")

        refused = await other.stream(asks("b", "x" * 60, model="b"))
        assert refused.failed is not None
        assert refused.failed.code == "queue_full"

        (tmp_path / "gate").touch()
        await wire.collect("held")
        assert (await other.stream(asks("again", "x" * 60, model="b"))).done is not None

    on_stage(test, serve, tmp_path, gated(tmp_path))


def test_who_waits_for_the_facts_of_a_model_alone_wants_the_model_too(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire, other = await stage.house.connect(), await stage.house.connect()
        wire.send(asks("long", "gate@5", model="a", max_tokens=20))
        await until_generating(stage.house, 1)
        stage.wait(10)
        told = asyncio.create_task(other.ask(Adapters(id="list", model="b")))
        await stage.reaches(b="waiting")
        stage.wait(11)
        await stage.reaches(a="yielding", b="waiting")

        (tmp_path / "gate").touch()

        assert await told == []
        assert (await wire.collect("long"))["long"].ids == tokens_of(7, 20)

    on_stage(test, serve, tmp_path, gated(tmp_path), max_models=1)


def test_what_does_not_end_in_time_goes_on_in_the_next_turn_with_every_token(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        other = await made_to_yield(stage, wire)

        stage.wait(21)

        assert (await other.collect("b"))["b"].ids == tokens_of(7, 5)
        row = (await stage.house.models())["a"]
        assert (row["state"], row["restarts"]) == ("waiting", 0)
        (tmp_path / "gate").touch()
        stage.wait(10)
        assert (await wire.collect("long"))["long"].ids == tokens_of(7, 20)

    on_stage(test, serve, tmp_path, gated(tmp_path), max_models=1)


def test_a_model_that_dies_while_it_yields_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        other = await made_to_yield(stage, wire)

        os.kill((await stage.house.models())["a"]["pid"], signal.SIGKILL)

        assert (await other.collect("b"))["b"].ids == tokens_of(7, 5)
        (tmp_path / "gate").touch()
        stage.wait(10)
        assert (await wire.collect("long"))["long"].ids == tokens_of(7, 20)

    on_stage(test, serve, tmp_path, gated(tmp_path), max_models=1)


def test_a_request_that_waits_for_its_model_is_cancelled_at_once(
    serve: Serve, tmp_path: Path
) -> None:
    """And a model that nobody waits for any more makes nobody leave."""

    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await wire.stream(asks("a", model="a"))
        wire.send(asks("b", model="b"))
        await stage.reaches(b="waiting")

        wire.send(Cancel(id="stop", own_id="b"))
        stream = (await wire.collect("b"))["b"]
        stage.wait(60)

        assert stream.done is not None
        assert stream.done.finish_reason == "cancelled"
        assert await stage.states() == {"a": "ready", "b": "suspended"}

    on_stage(test, serve, tmp_path, max_models=1)


def test_a_held_request_of_a_model_that_yields_is_cancelled_at_once(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await made_to_yield(stage, wire)
        wire.send(asks("held", model="a"))

        wire.send(Cancel(id="stop", own_id="held"))
        stream = (await wire.collect("held"))["held"]

        assert stream.done is not None
        assert stream.done.finish_reason == "cancelled"
        assert (await stage.states())["a"] == "yielding"

    on_stage(test, serve, tmp_path, gated(tmp_path), max_models=1)


def test_where_all_are_pinned_a_request_is_refused_with_their_names(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        for name in ("a", "b"):
            await wire.stream(asks(name, model=name))
        stage.wait(10_000)

        stream = await wire.stream(asks("c", model="c"))

        assert stream.failed is not None
        assert stream.failed.code == "limit_exceeded"
        assert stream.failed.retryable
        assert "a and b are pinned (keep_alive -1)" in stream.failed.message
        # One that is unloaded makes room.
        await wire.ask(Unload(id="unload", model="a"))
        assert (await wire.stream(asks("again", model="c"))).ids == tokens_of(7, 5)

    on_stage(test, serve, tmp_path, max_models=2, keep_alive=(("[ab]", math.inf), ("*", 60.0)))


def test_a_wait_for_room_has_a_bound(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        wire.send(asks("slow", model="slow"))
        await stage.reaches(slow="starting")
        wire.send(asks("b", model="b"))
        await stage.reaches(b="waiting")

        stage.wait(601)

        stream = (await wire.collect("b"))["b"]
        assert stream.failed is not None
        assert stream.failed.retryable
        assert "b had no room within 600 s: slow is being loaded" in stream.failed.message

    models = {"slow": FakeModel(wait_for=str(gate)), "b": FakeModel()}
    on_stage(test, serve, tmp_path, models, max_models=1)


def test_a_load_that_is_asked_for_while_the_model_gives_way_is_answered(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire, boss = await stage.house.connect(), await stage.house.connect()
        other = await made_to_yield(stage, wire)
        loading = asyncio.create_task(boss.ask(Load(id="load", model="a")))
        await wire_has_arrived(stage.house)
        (tmp_path / "gate").touch()
        await other.collect("b")

        await stage.reaches(a="waiting")
        stage.wait(10)

        assert (await loading)["state"] == "ready"

    on_stage(test, serve, tmp_path, gated(tmp_path), max_models=1)


# -- how long they stay ----------------------------------------------------------------------------


def test_a_model_that_nobody_uses_rests_and_one_loaded_by_name_stays(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await wire.stream(asks("a", model="a"))
        await wire.ask(Load(id="b", model="b"))
        stage.wait(59)
        assert await stage.states() == {"a": "ready", "b": "ready"}

        stage.wait(2)

        await stage.reaches(a="suspended", b="ready")
        assert (await stage.house.models())["a"]["suspended_for"] == "nobody used it for 60 s"
        assert (await wire.stream(asks("again", model="a"))).ids == tokens_of(7, 5)

    on_stage(test, serve, tmp_path, keep_alive=(("*", 60.0),))


def test_a_request_says_how_long_its_model_stays_and_a_users_does_not(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        for number, (seconds, asker) in enumerate([(5.0, None), (9_000.0, USER)]):
            request = asks(number, model="a", keep_alive_s=seconds).request
            wire.send(type(asks(0))(id=number, request=request, asker=asker))
            await wire.collect(number)

        stage.wait(6)

        await stage.reaches(a="suspended")

        vectors = EmbedRequest(inputs=("x",), model="b", keep_alive_s=-1)
        await wire.ask(Embed(id="embed", request=vectors))
        assert (await stage.house.models())["b"]["pinned"]

    on_stage(test, serve, tmp_path, keep_alive=(("*", 60.0),))


def test_a_user_who_loads_a_model_does_not_undo_what_an_admin_said_of_it(
    serve: Serve, tmp_path: Path
) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        await wire.ask(Load(id="pin", model="a", keep_alive_s=-1))

        await wire.ask(Load(id="user", model="a", asker=USER))

        assert (await stage.house.models())["a"]["pinned"]
        await wire.ask(Load(id="admin", model="a"))
        assert not (await stage.house.models())["a"]["pinned"]

    on_stage(test, serve, tmp_path)


def test_a_model_that_may_stay_for_no_time_answers_first(serve: Serve, tmp_path: Path) -> None:
    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()

        stream = await wire.stream(asks(1, model="a", keep_alive_s=0))
        words = await wire.ask(Tokenize(id=2, text="one two", model="a"))
        stage.wait(1.5)

        assert stream.ids == tokens_of(7, 5)
        assert words == [3, 3]
        await stage.reaches(a="suspended")

    on_stage(test, serve, tmp_path)


# -- loads that fail -------------------------------------------------------------------------------


def test_a_failed_load_is_tried_again_after_a_while_and_not_before(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def n_starts() -> int:
        return sum("engine started model=a" in one.getMessage() for one in caplog.records)

    async def test(stage: Stage) -> None:
        wire = await stage.house.connect()
        first = await wire.stream(asks(1, model="a"))
        assert first.failed is not None
        assert first.failed.code == "model_load_failed"

        second = await wire.stream(asks(2, model="a"))
        assert second.failed is not None
        assert "a request in 10 s tries it again" in second.failed.message
        assert n_starts() == 1

        FakeModel().write(tmp_path / "a.gguf")
        stage.wait(10)
        assert (await wire.stream(asks(3, model="a"))).ids == tokens_of(7, 5)
        assert n_starts() == 2

    with caplog.at_level(logging.INFO):
        on_stage(test, serve, tmp_path, {"a": FakeModel(exit_status=3)})


# -- at the start ----------------------------------------------------------------------------------


def test_preloaded_models_are_there_without_being_asked_for_and_one_that_fails_stops_nothing(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(stage: Stage) -> None:
        await stage.reaches(b="ready", a="failed")

        assert (await (await stage.house.connect()).stream(asks(1))).ids == tokens_of(7, 5)

    models = {"a": FakeModel(exit_status=3), "b": FakeModel()}
    with caplog.at_level(logging.WARNING):
        on_stage(test, serve, tmp_path, models, preload=("a", "b"))

    assert "model cannot be preloaded model=a" in caplog.text


def test_no_model_leaves_for_one_that_is_preloaded(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(stage: Stage) -> None:
        await stage.reaches(c="ready", b="ready", a="suspended")

    with caplog.at_level(logging.WARNING):
        on_stage(test, serve, tmp_path, loaded=("c",), max_models=2, preload=("b", "a"))

    assert "model cannot be preloaded model=a" in caplog.text


# -- all at once -----------------------------------------------------------------------------------


def test_three_models_in_turn_answer_everything_that_four_apps_ask(
    serve: Serve, tmp_path: Path
) -> None:
    """Time runs as it does, but for the waits between turns."""

    async def app(wire: Wire, number: int) -> None:
        for turn in range(6):
            name = "abc"[(number * turn + number) % 3]
            lane = "background" if number == 3 else "interactive"
            seed = 100 * number + turn
            request = asks(f"{number}-{turn}", seed=seed, max_tokens=20, model=name, lane=lane)
            assert (await wire.stream(request)).ids == tokens_of(seed, 20)

    async def test(stage: Stage) -> None:
        async def clockwork() -> None:
            while True:
                states = (await stage.states()).values()
                assert len([one for one in states if one in HOLDING]) <= 2
                # A process takes as long as it takes, which is no wait for room.
                if not IN_BETWEEN & set(states):
                    stage.wait(1)
                await asyncio.sleep(0.005)

        time_passes = asyncio.create_task(clockwork())
        wires = [await stage.house.connect() for _ in range(4)]
        await asyncio.gather(*(app(wire, number) for number, wire in enumerate(wires)))
        assert not time_passes.done()
        time_passes.cancel()
        rows = await (await stage.house.connect()).ask(Models(id="models"))
        assert [row["restarts"] for row in rows] == [0, 0, 0]
        assert not isinstance(rows, Failed)

    on_stage(test, serve, tmp_path, max_models=2)


HOLDING = ("starting", "ready", "yielding", "suspending", "reopening", "dead")
IN_BETWEEN = {"starting", "suspending", "reopening", "dead"}
