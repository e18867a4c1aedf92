"""One client, one daemon, tokens."""

from tests.daemon.house import Serve, asks, run, tokens_of, until
from umad.protocol.messages import (
    Cancel,
    Generate,
    Sessions,
)
from umad.request import ChatMessage, GenerateRequest, SamplingParams
from umad.service import Accepted, Done, Failed, Progress
from umad.testing import FakeModel, fake_text


def test_a_request_is_accepted_reports_its_prefill_and_streams_to_its_end(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks("mine", "three words here", seed=3, max_tokens=6))

            accepted, progress, *_, done = stream.events
            assert isinstance(accepted, Accepted)
            assert (accepted.model, accepted.lane) == ("a", "interactive")
            assert progress == Progress(index=0, done_tokens=3, total_tokens=3)
            assert stream.ids == tokens_of(3, 6)
            assert stream.text == "".join(fake_text(token) for token in stream.ids)
            assert isinstance(done, Done)
            assert done.finish_reason == "length"
            assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (3, 6)
            assert 0 < done.timings.queued_ms <= done.timings.first_token_ms
            assert done.timings.first_token_ms <= done.timings.total_ms

    run(test())


def test_a_chat_reaches_the_engine_as_messages(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            messages = (
                ChatMessage(role="system", content="be brief"),
                ChatMessage(role="user", content="hello you there"),
            )
            sampling = SamplingParams(seed=1, max_tokens=2)

            stream = await wire.stream(
                Generate(id=1, request=GenerateRequest(messages=messages, sampling=sampling))
            )

            assert stream.done is not None
            assert stream.done.usage.prompt_tokens == 5

    run(test())


def test_n_completions_draw_with_seeds_that_count_up(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            wire.send(asks(1, seed=40, max_tokens=4, n=3))
            ids: dict[int, list[int]] = {0: [], 1: [], 2: []}
            done: set[int] = set()

            while len(done) < 3:
                _, message = await wire.next()
                if isinstance(message, Done):
                    done.add(message.index)
                elif hasattr(message, "ids"):
                    ids[message.index] += message.ids

            assert ids == {index: tokens_of(40 + index, 4) for index in range(3)}

    run(test())


def test_a_request_without_a_seed_draws_another_one_each_time(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            request = GenerateRequest(prompt="x", sampling=SamplingParams(max_tokens=3))

            # Two seeds in fifty thousand draw the same tokens of a fake model; not four.
            drawn = [await wire.stream(Generate(id=number, request=request)) for number in range(4)]

            assert len({tuple(one.ids) for one in drawn}) > 1

    run(test())


def test_a_request_without_max_tokens_is_given_the_limit(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(pace_ms=0), max_tokens=9) as house:
            wire = await house.connect()

            stream = await wire.stream(Generate(id=1, request=GenerateRequest(prompt="x")))

            assert len(stream.ids) == 9

    run(test())


def test_streams_of_one_connection_do_not_mix(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            wire.send(*(asks(seed, seed=seed, max_tokens=20) for seed in range(1, 9)))
            streams = await wire.collect(*range(1, 9))

            for seed, stream in streams.items():
                assert isinstance(seed, int)
                assert stream.ids == tokens_of(seed, 20)

    run(test())


def test_a_cancelled_request_ends_as_cancelled_and_frees_its_id(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            wire.send(asks("long", max_tokens=2000))
            while not hasattr((await wire.next())[1], "ids"):
                pass

            wire.send(Cancel(id="stop", own_id="long"))
            stream = (await wire.collect("long"))["long"]
            again = await wire.stream(asks("long", max_tokens=2))

            assert stream.done is not None
            assert stream.done.finish_reason == "cancelled"
            assert again.ids == tokens_of(7, 2)

    run(test())


def test_another_connection_may_cancel_by_the_daemons_name(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            worker, boss = await house.connect(), await house.connect()
            worker.send(asks(1, max_tokens=2000))
            _, accepted = await worker.next()
            assert isinstance(accepted, Accepted)

            answer = await boss.ask(Cancel(id=1, request=accepted.request))

            stream = (await worker.collect(1))[1]
            assert answer is None
            assert stream.done is not None
            assert stream.done.finish_reason == "cancelled"

    run(test())


def test_cancelling_what_is_not_there_is_an_error_that_says_so(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            by_name = await wire.ask(Cancel(id=1, request="r99"))
            by_id = await wire.ask(Cancel(id=2, own_id="nothing"))

            assert by_name.code == by_id.code == "unknown_request"

    run(test())


def test_a_request_that_waits_for_a_loading_model_can_be_cancelled(
    serve: Serve, tmp_path: object
) -> None:
    async def test() -> None:
        async with serve(FakeModel(wait_for=f"{tmp_path}/never"), wait=False) as house:
            wire = await house.connect()
            wire.send(asks(1), Cancel(id=2, own_id=1))

            stream = (await wire.collect(1))[1]

            assert stream.done is not None
            assert stream.done.finish_reason == "cancelled"
            assert stream.ids == []

    run(test())


def test_a_rejected_prompt_fails_that_request_alone(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            wire.send(asks(1, "reject", n=2), asks(2, seed=5))

            streams = await wire.collect(1, 2)

            assert streams[1].failed == Failed(
                code="bad_request", message="told to", field="prompt", retryable=False
            )
            assert streams[2].ids == tokens_of(5, 5)

    run(test())


def test_a_deadline_ends_a_request_that_takes_too_long(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, max_tokens=2000, deadline_ms=150))

            assert stream.failed is not None
            assert stream.failed.code == "deadline_exceeded"
            assert stream.ids == tokens_of(7, len(stream.ids))
            assert await wire.ask(Sessions(id=2)) == []

    run(test())


def test_a_deadline_that_is_met_does_nothing(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, deadline_ms=60_000))

            assert stream.done is not None

    run(test())


def test_closing_a_connection_cancels_its_requests_and_no_others(serve: Serve) -> None:
    async def test() -> None:
        # The leaver's request would take twice as long as anything here waits.
        async with serve(FakeModel(pace_ms=60)) as house:
            leaver, stayer = await house.connect(), await house.connect()
            observer = await house.connect()
            leaver.send(asks(1, max_tokens=2000))
            _, accepted = await leaver.next()
            assert isinstance(accepted, Accepted)
            stayer.send(asks(1, seed=9, max_tokens=30))

            await leaver.close()

            async def is_gone() -> bool:
                rows = await observer.ask(Sessions(id=1))
                return accepted.request not in [row["request"] for row in rows]

            await until(is_gone)
            stream = (await stayer.collect(1))[1]
            assert stream.ids == tokens_of(9, 30)

    run(test())
