"""Logits in shared memory, end to end: clients that read, choose, stall, die and talk nonsense."""

import asyncio
import contextlib
import mmap
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon, wait_until
from tests.wire import RawConnection
from umad.client import AsyncClient, Client
from umad.client.logits import LogitsRow, read_logits, read_logits_async
from umad.errors import BadRequest, DeadlineExceeded, UnknownRequest
from umad.request import GenerateRequest, LogitsUse, SamplingParams
from umad.sampling.ring import SLOTS, RowOverwritten
from umad.service import Accepted, Tokens

ROOT = Path(__file__).parents[2]
PROMPT = "def add(a, b):\n    return"
CHOICE_S = 2.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """One as it comes: patient enough for a machine with other things to do."""
    folder = tmp_path_factory.mktemp("u")
    with live_daemon(folder, "nano", "--ctx-size", "4096", "--kv-type", "q8") as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """One that waits for a client for two seconds only."""
    folder = tmp_path_factory.mktemp("u")
    patience = {"UMAD_LIMITS_CHOICE_S": str(CHOICE_S)}
    with live_daemon(folder, "nano", "--ctx-size", "4096", environment=patience) as running:
        yield running


def asking(use: LogitsUse | None, max_tokens: int = 12, prompt: str = PROMPT) -> GenerateRequest:
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    return GenerateRequest(prompt=prompt, logits=use, sampling=sampling)


def drawn(client: Client, max_tokens: int = 12) -> list[int]:
    """What the engine draws by itself."""
    events = list(client.generate(asking(None, max_tokens)))
    return [token for event in events if isinstance(event, Tokens) for token in event.ids]


def test_choosing_the_likeliest_is_what_a_greedy_request_gets(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client:
        expected = drawn(client)
        ids: list[int] = []
        rows = 0
        for item in read_logits(client, asking("choose")):
            if isinstance(item, LogitsRow):
                assert item.position == len(ids) == rows
                rows += 1
                item.choose(int(item.values.argmax()))
            elif isinstance(item, Tokens):
                ids += item.ids

    assert ids == expected
    assert rows == 12


def test_rows_are_seen_in_place_and_cannot_be_written(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client:
        for item in read_logits(client, asking("choose", 1)):
            if isinstance(item, LogitsRow):
                values = item.values
                assert values.dtype == np.float32
                assert not values.flags.owndata
                with pytest.raises(ValueError, match="read-only"):
                    values[0] = 0.0
                item.choose(5)


def test_a_reader_sees_the_row_of_every_token_and_says_when_it_was_too_late(
    daemon: LiveDaemon,
) -> None:
    n = 4 * SLOTS
    with Client(daemon.socket) as client:
        items = list(read_logits(client, asking("read", n)))
        rows = [item for item in items if isinstance(item, LogitsRow)]
        expected = drawn(client, n)

    assert [row.position for row in rows] == list(range(n))
    kept = rows[-(SLOTS - 1) :]
    assert [int(row.values.argmax()) for row in kept] == expected[-(SLOTS - 1) :]
    for row in rows[: -(SLOTS - 1)]:
        with pytest.raises(RowOverwritten, match=f"position {row.position} "):
            row.check()


def test_the_scorecard_tells_which_tokens_were_drawn_from_a_copy(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        live_daemon(tmp_path_factory.mktemp("u"), "nano", "--ctx-size", "1024") as daemon,
        Client(daemon.socket) as client,
    ):
        drawn(client, 30)
        assert client.metrics()["copy_free_ratio"] == 1.0
        for item in read_logits(client, asking("choose", 10)):
            if isinstance(item, LogitsRow):
                item.choose(7)

        wait_until(lambda: client.metrics()["copy_free_ratio"] == 0.75, what="books of 40 tokens")


def test_nobody_waits_for_a_client_that_stalls_and_it_loses_its_request_alone(
    impatient: LiveDaemon,
) -> None:
    async def run() -> tuple[Stream, DeadlineExceeded]:
        async with impatient.client() as client, impatient.client() as other:
            items = read_logits_async(client, asking("choose"))
            while not isinstance(await anext(items), LogitsRow):
                pass
            # Says nothing more; meanwhile somebody else is served from end to end.
            peer = await collect(other, greedy(PROMPT, 30))
            with pytest.raises(DeadlineExceeded) as caught:
                await anext(items)
            return peer, caught.value

    peer, error = asyncio.run(run())

    assert peer.done is not None
    assert len(peer.ids) == 30
    assert error.message == f"no token was chosen for position 0 within {CHOICE_S:g} s"
    assert error.field == "logits"


@pytest.mark.parametrize(
    ("position", "token", "field"),
    [(0, 10**6, "token"), (3, 5, "position"), (2**31 - 1, 2**31 - 1, "position")],
)
def test_nonsense_ends_its_own_request_and_no_other(
    daemon: LiveDaemon, position: int, token: int, field: str
) -> None:
    async def run() -> tuple[Stream, BadRequest]:
        async with daemon.client() as client:
            peer = Stream(enough_tokens=1)
            task = asyncio.create_task(collect(client, greedy(PROMPT, 60), peer))
            await asyncio.wait_for(peer.enough.wait(), 60)
            items, name, item = read_logits_async(client, asking("choose")), "", None
            while not isinstance(item, LogitsRow):
                item = await anext(items)
                if isinstance(item, Accepted):
                    name = item.request
            client.choose(name, position, token)
            with pytest.raises(BadRequest) as caught:
                await anext(items)
            await asyncio.wait_for(task, 60)
            return peer, caught.value

    peer, error = asyncio.run(run())

    assert error.field == field
    assert len(peer.ids) == 60


def test_a_request_may_be_attached_to_while_it_runs(impatient: LiveDaemon) -> None:
    with Client(impatient.socket) as client:
        events = client.generate(asking(None, 2000))
        name = next(event.request for event in events if isinstance(event, Accepted))
        attached = client.attach(name, choose=True)
        os.close(attached.fd)
        with pytest.raises(DeadlineExceeded):
            list(events)

    assert attached.layout["n_vocab"] > 1000


def _attach_from_elsewhere(
    path: str, names: "multiprocessing.Queue[str]", said: "multiprocessing.Queue[str]"
) -> None:
    with Client(path) as client:
        said.put("connected")
        try:
            os.close(client.attach(names.get(timeout=60)).fd)
            said.put("attached")
        except UnknownRequest as error:
            said.put(error.message)


def test_another_process_is_not_shown_them(daemon: LiveDaemon) -> None:
    spawn = multiprocessing.get_context("spawn")
    names: multiprocessing.Queue[str] = spawn.Queue()
    said: multiprocessing.Queue[str] = spawn.Queue()
    process = spawn.Process(target=_attach_from_elsewhere, args=(str(daemon.socket), names, said))
    process.start()
    assert said.get(timeout=60) == "connected"
    with Client(daemon.socket) as client:
        events = client.generate(asking(None, 2000))
        name = next(event.request for event in events if isinstance(event, Accepted))
        names.put(name)
        answer = said.get(timeout=60)
        process.join(60)
        events.close()

    assert f"{name} is another process's" in answer


def test_a_request_that_is_not_there_cannot_be_attached_to(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client, pytest.raises(UnknownRequest, match="r999999"):
        client.attach("r999999")


def test_a_client_that_dies_takes_its_request_and_nothing_else_with_it(
    daemon: LiveDaemon,
) -> None:
    program = (
        "import os, signal, sys; sys.path[:0] = [sys.argv[2]]\n"
        "from umad.client import Client; from umad.client.logits import *\n"
        "from tests.e2e.test_logits import asking\n"
        "for item in read_logits(Client(sys.argv[1]), asking('choose', 50)):\n"
        "    if isinstance(item, LogitsRow) and item.position == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    elif isinstance(item, LogitsRow):\n"
        "        item.choose(7)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", program, str(daemon.socket), str(ROOT)], timeout=60, check=False
    )

    assert died.returncode == -signal.SIGKILL
    wait_until(lambda: daemon.cells_used() == 0, what="giving back its cells")
    with Client(daemon.socket) as client:
        assert client.sessions() == []
        assert len(drawn(client)) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_rings_do_not_pile_up_in_the_engine(daemon: LiveDaemon) -> None:
    (engine,) = daemon.engines()

    def held() -> int:
        n_held = 0
        for one in Path(f"/proc/{engine.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                n_held += "umad-logits" in os.readlink(one)
        return n_held

    def mapped() -> bool:
        return "umad-logits" in Path(f"/proc/{engine.pid}/maps").read_text()

    with Client(daemon.socket) as client:
        for _ in range(5):
            for _item in read_logits(client, asking("read", 2)):
                pass
    wait_until(lambda: held() == 0 and not mapped(), what="closing the rings")


def test_a_stranger_needs_two_sockets_a_mapping_and_what_the_readme_says(
    daemon: LiveDaemon,
) -> None:
    with RawConnection(daemon.socket) as main, RawConnection(daemon.socket) as second:
        main.hello()
        second.hello()
        request = {"type": "generate", "id": 1, "prompt": PROMPT, "logits": "read"}
        main.send(msgpack.packb({**request, "temperature": 0, "max_tokens": 2}))
        name = main.read()["request"]
        assert main.read() == {"type": "logits", "id": 1, "index": 0, "position": None}
        second.send(msgpack.packb({"type": "logits.attach", "id": "a", "request": name}))
        data, (fd,), _, _ = socket.recv_fds(second.socket, 4096, 1)
        ring = msgpack.unpackb(data[4:])["value"]
        with mmap.mmap(fd, ring["n_bytes"], prot=mmap.PROT_READ) as memory:
            os.close(fd)
            row = main.read_past("progress")
            assert (row["type"], row["position"]) == ("logits", 0)
            (mark,) = struct.unpack_from("=q", memory, ring["marks_at"])
            assert mark == 2
            values = struct.unpack_from(f"={ring['n_vocab']}f", memory, ring["rows_at"])
            (token,) = main.read()["ids"]
    assert values[token] == max(values)


def test_a_descriptor_asked_for_on_a_busy_connection_tears_no_frame(daemon: LiveDaemon) -> None:
    with RawConnection(daemon.socket) as client:
        client.hello()
        generate = {"type": "generate", "prompt": PROMPT, "max_tokens": 150, "ignore_eos": True}
        client.send(msgpack.packb({**generate, "id": 1}))
        name = client.read()["request"]
        for n in range(40):
            attach = {"type": "logits.attach", "id": f"a{n}", "request": name}
            client.send(msgpack.packb(attach))
        seen = [client.read()]
        while seen[-1]["type"] != "done":
            seen.append(client.read())

    answers = [one for one in seen if str(one["id"]).startswith("a")]
    assert sum(len(one["ids"]) for one in seen if one["type"] == "tokens") == 150
    assert {one["type"] for one in answers} <= {"result", "error"}
    assert {one["code"] for one in answers if one["type"] == "error"} <= {"limit_exceeded"}


def test_an_unknown_use_is_refused_by_name(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client:
        with pytest.raises(BadRequest, match="read or choose") as refused:
            list(client.generate(asking("write")))  # type: ignore[arg-type]
        assert refused.value.field == "logits"
        with pytest.raises(BadRequest, match="n must be 1"):
            list(client.generate(GenerateRequest(prompt="x", n=2, logits="read")))
        with pytest.raises(BadRequest, match="logits"):
            next(iter(read_logits(client, asking(None))))


def test_a_killed_engine_costs_a_chosen_stream_a_pause_and_a_new_ring(daemon: LiveDaemon) -> None:
    (engine,) = daemon.engines()
    ids: list[int] = []
    with Client(daemon.socket) as client:
        expected = drawn(client)
        for item in read_logits(client, asking("choose")):
            if isinstance(item, LogitsRow):
                token = int(item.values.argmax())
                if item.position == 5 and engine.is_running():
                    engine.kill()
                    engine.wait(30)
                    continue
                item.choose(token)
            elif isinstance(item, Tokens):
                ids += item.ids

    assert ids == expected


def test_the_example_prints_what_it_chose(daemon: LiveDaemon) -> None:
    def run(alpha: str) -> str:
        ended = subprocess.run(
            [
                *(sys.executable, str(ROOT / "examples" / "contrastive.py")),
                *("def add(first, second):", "    return ", "--alpha", alpha),
                *("--max-tokens", "12", "--socket", str(daemon.socket)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert (ended.stderr, ended.returncode) == ("", 0)
        return ended.stdout

    with Client(daemon.socket) as client:
        prompt = "def add(first, second):\n    return "
        greedy_text = client.complete(prompt, sampling=SamplingParams(temperature=0, max_tokens=12))

    assert run("0") == greedy_text + "\n", "no contrast: the likeliest token"
    assert run("0.9").strip()


def test_the_example_says_what_is_wrong(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX):
        ended = subprocess.run(
            [
                *(sys.executable, str(ROOT / "examples" / "contrastive.py"), "x", "y"),
                *("--socket", str(tmp_path / "none")),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    assert ended.returncode == 1
    assert ended.stderr.startswith("no_daemon: ")


def test_many_chosen_streams_run_side_by_side(daemon: LiveDaemon) -> None:
    async def one(client: AsyncClient, prompt: str) -> list[int]:
        ids: list[int] = []
        async for item in read_logits_async(client, asking("choose", 10, prompt)):
            if isinstance(item, LogitsRow):
                item.choose(int(item.values.argmax()))
            elif isinstance(item, Tokens):
                ids += item.ids
        return ids

    async def run() -> list[list[int]]:
        async with daemon.client() as client:
            return await asyncio.gather(*(one(client, f"# part {n}\nx = ") for n in range(6)))

    assert [len(ids) for ids in asyncio.run(run())] == [10] * 6
