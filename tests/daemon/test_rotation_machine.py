"""Models in turn, driven at random: engines load, yield, are cut and die; requests come and go.

Everything of the daemon between the verbs and the engines' links is real. The engines' processes
are stand-ins in this process, so that a thousand turns take a second, and time is the test's own.
At any time no more models hold memory than may. In the end, every request has every token.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from umad.config import LimitSettings, Settings
from umad.daemon.admission import Admission
from umad.daemon.app_shares import AppShares
from umad.daemon.completions import Completions
from umad.daemon.engine import Engine
from umad.daemon.engine_process import EngineProcess
from umad.daemon.engine_state import EngineState
from umad.daemon.fanout import Fanout
from umad.daemon.generation import LiveGeneration
from umad.daemon.identity import Identity, LaneRules
from umad.daemon.names import ModelFile, ModelNames
from umad.daemon.room import Need
from umad.daemon.rotation import RotationRules
from umad.daemon.supervisor import LoadingRules, Supervisor
from umad.errors import EngineFailed
from umad.metrics.scorecard import Scorecard
from umad.protocol.frames import MAX_FRAME_BYTES, FrameReader, encode_frame
from umad.protocol.link import (
    CancelOrder,
    Drop,
    Emitted,
    Ended,
    EngineCall,
    EngineReady,
    EngineReply,
    FromEngine,
    StepReport,
    Stop,
    Submit,
    decode,
    encode,
)
from umad.protocol.messages import Generate, RequestId, parse_event
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens
from umad.testing import FakeModel, fake_token

MODELS = ("a", "b", "c")
MAX_MODELS = 2
MODEL_BYTES = 10 * 10**6
HOLDING = (
    EngineState.STARTING,
    EngineState.READY,
    EngineState.YIELDING,
    EngineState.SUSPENDING,
    EngineState.REOPENING,
    EngineState.DEAD,
)
_pids = itertools.count(1)


class HandClock:
    def __init__(self) -> None:
        self.at_ns = 10**12

    def now_ns(self) -> int:
        return self.at_ns


class StandIn:
    """An engine's process and its end of the link."""

    def __init__(self, name: str, link: Any, *, context_bytes: int = 0) -> None:
        self.name = name
        self._context_bytes = context_bytes
        self.pid = next(_pids)
        self.last_words = ""
        self.is_ready = False
        self._link = link
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._streams: dict[int, tuple[Submit, int]] = {}
        self._cancelled: list[int] = []
        self._calls: dict[int, EngineCall] = {}
        self._is_stopping = False

    # -- as the keeper sees it

    def kill(self) -> None:
        self._exit(-9)

    async def ends_with(self, lost: asyncio.Future[None]) -> None:
        either: set[asyncio.Future[Any]] = {self._ended, lost}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)

    async def end(self) -> int:
        self.kill()
        return self._ended.result()

    # -- as the link sees it

    def write(self, data: bytes) -> None:
        for body in self._reader.feed(data):
            match decode(body):
                case Submit() as submit:
                    self._streams[submit.rid] = (submit, len(submit.resume))
                case CancelOrder(rid=rid):
                    if self._streams.pop(rid, None) is not None:
                        self._cancelled.append(rid)
                case EngineCall() as call:
                    self._calls[call.call] = call
                case Drop(call=number):
                    self._calls.pop(number, None)
                case Stop():
                    self._is_stopping = True
                case _:
                    pass

    def is_closing(self) -> bool:
        return self._ended.done()

    def abort(self) -> None:
        self._exit(0)

    # -- as the test moves it

    def get_ready(self) -> None:
        if not self.is_ready and not self._ended.done():
            self.is_ready = True
            sizes = {"size_bytes": MODEL_BYTES, "context_bytes": self._context_bytes}
            self._say(EngineReady(facts={"backend": "stand-in", **sizes}))

    def step(self) -> None:
        """A token for every stream, and an answer to each call; a process that is to stop ends once
        it has no stream.
        """
        if self._ended.done() or not self.is_ready:
            return
        while self._calls:
            number, call = self._calls.popitem()
            self._say(EngineReply(call=number, value=call.args["number"]))
        emitted, ended = [], [_end(rid, "cancelled") for rid in self._cancelled]
        self._cancelled.clear()
        for rid, (submit, made) in list(self._streams.items()):
            token = fake_token(submit.sampling.seed or 0, made)
            emitted.append(Emitted(rid=rid, ids=(token,), text=""))
            self._streams[rid] = (submit, made + 1)
            if made + 1 == submit.sampling.max_tokens:
                del self._streams[rid]
                ended.append(_end(rid, "length"))
        if emitted or ended:
            self._say(StepReport(emitted=tuple(emitted), ended=tuple(ended)))
        if self._is_stopping and not self._streams:
            self._exit(0)

    def _say(self, message: FromEngine) -> None:
        self._link.data_received(encode_frame(encode(message)))

    def _exit(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)
            self._link.connection_lost(None)


def _end(rid: int, reason: Any) -> Ended:
    return Ended(rid=rid, reason=reason, prompt_tokens=1, cached_tokens=0, completion_tokens=0)


class Client:
    """A connection that reads everything."""

    paused = wants_loading = False
    client = "machine"
    identity = Identity(uid=0, pid=1, app="machine")

    def __init__(self) -> None:
        self.generations: dict[RequestId, LiveGeneration] = {}
        self.ids: dict[RequestId, list[int]] = {}
        self.ends: dict[RequestId, Done | Failed] = {}

    def send(self, body: bytes) -> None:
        self.queue(body)

    def queue(self, body: bytes) -> bool:
        request_id, event = parse_event(body)
        assert request_id is not None
        if isinstance(event, Tokens):
            self.ids[request_id] += event.ids
        elif isinstance(event, Done | Failed):
            assert request_id not in self.ends, "a request has one end"
            self.ends[request_id] = event
        return False

    def flush(self) -> None: ...

    def settled(self) -> None: ...


class TwoFit:
    """Needs of models, two of which fit into the memory."""

    memory_bytes = 25 * 10**6
    fills_memory = False

    def known(self, file: ModelFile, facts: Mapping[str, Any], *, held_bytes: int) -> Need | None:
        return _NEED if facts else None

    async def learn(self, file: ModelFile) -> Need:
        await asyncio.sleep(0)
        return _NEED


_NEED = Need(good_bytes=MODEL_BYTES, least_bytes=MODEL_BYTES // 2)


class Machine(RuleBasedStateMachine):
    """Three models, two of which may be loaded."""

    folder: Path
    max_models: int | None = MAX_MODELS
    needs: Any = None
    # The contexts of models that are larger than what they need.
    context_bytes: ClassVar[Mapping[str, int]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        self.processes: dict[str, StandIn] = {}
        self.asked: dict[RequestId, tuple[int, int]] = {}
        self.cancelled: set[RequestId] = set()
        # Work on texts, and its engine.
        self.works: dict[int, tuple[Engine, asyncio.Future[Any]]] = {}
        # Whatever ran on a model that was unloaded.
        self.unloaded: set[RequestId] = set()
        self.n_crashes = 0
        self.client = Client()
        self._unloads: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(EngineProcess, "linked", self._linked)
        self._do(self._build)

    def _do(self, act: Callable[[], Any]) -> Any:
        """Do something on the loop, and let everything follow that follows at once."""

        async def done() -> Any:
            result = act()
            if isinstance(result, Coroutine):
                result = await result
            for _ in range(12):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(done())

    def _build(self) -> None:
        limits, defaults = LimitSettings(), Settings()
        lanes = LaneRules(lanes=defaults.qos, rules=(), default="interactive")
        scorecard = Scorecard(latency_cap=1.2, budget_gbps=None)
        self.completions = Completions(
            admission=Admission(lanes=lanes, limits=limits, shares_prefixes=False),
            shares=AppShares(limits),
            scorecard=scorecard,
            clock=self.clock,
        )
        fanout = Fanout(completions=self.completions, scorecard=scorecard, clock=self.clock)
        # Longer than all the time that can pass here: engines load when the machine says so.
        rules = RotationRules(max_models=self.max_models, load_s=100_000.0)
        self.supervisor = Supervisor(
            launcher=lambda file, fd: (),
            limits=limits,
            clock=self.clock,
            events=fanout,
            names=ModelNames(folders=[str(self.folder)]),
            rules=LoadingRules(lazy_load=True, keep_alive=(("*", 600.0),), rotation=rules),
            needs=self.needs,
        )

    async def _linked(
        self, name: str, link: Any, command: Callable[[int], Sequence[str]], _inherited: Any = ()
    ) -> StandIn:
        command(3)
        context_bytes = self.context_bytes.get(name, 0)
        process = self.processes[name] = StandIn(name, link, context_bytes=context_bytes)
        link.connection_made(process)
        return process

    # -- what may happen ---------------------------------------------------------------------------

    @rule(
        model=st.sampled_from(MODELS),
        lane=st.sampled_from(("interactive", "background")),
        n=st.integers(1, 6),
    )
    def ask(self, model: str, lane: str, n: int) -> None:
        number = next(self._numbers)
        sampling = SamplingParams(seed=number, max_tokens=n)
        request = GenerateRequest(prompt="x", sampling=sampling, model=model, lane=lane)
        self.asked[number] = (number, n)
        self.client.ids[number] = []

        def accept() -> None:
            engine = self._found(model)
            if engine is None:
                del self.asked[number]
                return
            self.completions.accept(self.client, engine, Generate(id=number, request=request))

        self._do(accept)

    @rule(model=st.sampled_from(MODELS), lane=st.sampled_from(("interactive", "background")))
    def embed(self, model: str, lane: str) -> None:
        number = next(self._numbers)

        def work() -> None:
            engine = self._found(model)
            if engine is not None:
                args = {"lane": lane, "number": number}
                work = self.loop.create_task(engine.work("embed", args))
                self.works[number] = (engine, work)

        self._do(work)

    def _found(self, model: str) -> Engine | None:
        try:
            return self.supervisor.find(model)
        except EngineFailed as error:
            if error.message != f"{model} is being unloaded; try again":
                raise
            return None

    @rule(model=st.sampled_from(MODELS))
    def unload(self, model: str) -> None:
        engine = self.supervisor.get(model)
        if engine is None or engine.state in (EngineState.STOPPED, EngineState.DRAINING):
            return
        live = self.client.generations.items()
        self.unloaded |= {number for number, one in live if one.engine is engine}
        self.unloaded |= {number for number, (one, _) in self.works.items() if one is engine}
        self._do(lambda: self._unloads.append(self.loop.create_task(self.supervisor.unload(model))))

    @rule(model=st.sampled_from(MODELS))
    def memory_is_short(self, model: str) -> None:
        self._do(lambda: self.supervisor.suspend(model, "memory was short"))

    @rule()
    def step(self) -> None:
        for process in list(self.processes.values()):
            self._do(process.step)

    @rule(model=st.sampled_from(MODELS))
    def loaded(self, model: str) -> None:
        if model in self.processes:
            self._do(self.processes[model].get_ready)

    @rule(seconds=st.sampled_from((0.1, 1.0, 3.0, 11.0, 25.0, 61.0, 700.0)))
    def time_passes(self, seconds: float) -> None:
        self.clock.at_ns += round(seconds * 1e9)
        self._do(self.supervisor._rotation.look)

    @rule(choice=st.randoms(use_true_random=False))
    def cancel(self, choice: Any) -> None:
        if self.client.generations:
            number = choice.choice(sorted(self.client.generations, key=str))
            self.cancelled.add(number)
            live = self.client.generations[number]
            self._do(lambda: self.completions.cancel(live))

    @rule(model=st.sampled_from(MODELS))
    def crash(self, model: str) -> None:
        if model in self.processes and self.n_crashes < 2:
            self.n_crashes += 1
            self._do(self.processes[model].kill)

    @rule(model=st.sampled_from(MODELS))
    def load(self, model: str) -> None:
        self._do(lambda: self.supervisor.start(model))

    # -- what must hold ----------------------------------------------------------------------------

    def holding(self) -> list[str]:
        return sorted(one.name for one in self.supervisor if one.state in HOLDING)

    @invariant()
    def no_more_models_hold_memory_than_may(self) -> None:
        assert len(self.holding()) <= MAX_MODELS, self.holding()

    @invariant()
    def no_token_is_wrong(self) -> None:
        for number, (seed, n) in self.asked.items():
            ids = self.client.ids[number]
            assert ids == [fake_token(seed, at) for at in range(n)][: len(ids)]

    @override
    def teardown(self) -> None:
        try:
            for _ in range(300):
                if not self.client.generations and all(
                    one.done() for _, one in self.works.values()
                ):
                    break
                self.time_passes(1.0)
                for model in MODELS:
                    self.loaded(model)
                self.step()
                self.no_more_models_hold_memory_than_may()
            for number, (seed, n) in self.asked.items():
                end = self.client.ends.get(number)
                if number in self.unloaded and isinstance(end, Failed):
                    assert "was unloaded" in end.message
                    continue
                assert isinstance(end, Done), f"{number}: {end}"
                if number not in self.cancelled:
                    assert end.finish_reason == "length"
                    assert self.client.ids[number] == [fake_token(seed, at) for at in range(n)]
            for number, (_, work) in self.works.items():
                assert work.done(), number
                if number in self.unloaded and work.exception() is not None:
                    continue
                assert work.result() == number
        finally:
            self._do(self._end)
            self.loop.close()
            self._patch.undo()

    async def _end(self) -> None:
        self.supervisor.kill()
        await asyncio.wait_for(self.supervisor.stop(), 30)


class ByMemory(Machine):
    """Three models, two of which fit into the memory."""

    max_models = None
    needs = TwoFit()


@pytest.mark.parametrize("machine", [Machine, ByMemory])
def test_whatever_happens_nothing_is_lost(tmp_path: Path, machine: type[Machine]) -> None:
    for name in MODELS:
        FakeModel().write(tmp_path / f"{name}.gguf")
    Machine.folder = tmp_path

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


class WithALargeContext(ByMemory):
    """Model a has filled what was free when it was loaded."""

    context_bytes: ClassVar[Mapping[str, int]] = {"a": MODEL_BYTES}


@pytest.fixture
def large(tmp_path: Path) -> Iterator[WithALargeContext]:
    """Model a works and yields to b, which needs its room."""
    for name in MODELS:
        FakeModel().write(tmp_path / f"{name}.gguf")
    Machine.folder = tmp_path
    machine = WithALargeContext()
    machine.ask("a", "interactive", 3)
    machine.loaded("a")
    machine.step()
    machine.ask("b", "interactive", 1)
    machine.time_passes(11.0)
    assert machine.holding() == ["a"]
    yield machine
    machine.teardown()


def test_a_model_that_was_cut_gets_as_much_room_as_it_had_before_it_goes_on(
    large: WithALargeContext,
) -> None:
    """What was begun in its pool has to fit into its next pool, which is then as large."""
    large.time_passes(25.0)
    large.step()
    assert large.holding() == ["b"]
    large.loaded("b")

    large.time_passes(1.0)

    # b is at work, and both together would take more than there is.
    assert large.holding() == ["b"]


def test_a_model_that_has_begun_nothing_starts_where_there_is_room_for_a_smaller_pool(
    large: WithALargeContext,
) -> None:
    large.ask("a", "interactive", 1)  # it waits for the next process
    for _ in range(3):
        large.step()
    assert "b" in large.holding()
    large.loaded("b")

    large.time_passes(1.0)

    assert large.holding() == ["a", "b"]
