"""Ten thousand malformed inputs: the daemon lives, others notice nothing, memory does not grow."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import psutil

from tests.live import LiveDaemon, Stream, collect, greedy, live_daemon, wait_until
from tests.wire import RawConnection

N_INPUTS = 10_000
# What one connection's buffers and a few log lines may leave behind; 10,000 leaked frames of
# even 2 KB would be more.
GROWTH_BYTES = 16 * 2**20
GENERATION_VERBS = ("generate", "chat", "cancel", "priority")
OTHER_VERBS = ("embed", "rerank", "tokenize", "detokenize", "load", "unload", "models", "sessions")
LOGITS_VERBS = ("logits.attach", "logits.choose")
VERBS = (*GENERATION_VERBS, *OTHER_VERBS, *LOGITS_VERBS, "metrics", "ping", "hello", "no_such")


def anything(rng: random.Random, depth: int = 0) -> Any:
    """A value of any type msgpack knows."""
    kind = rng.randrange(12 if depth < 3 else 8)
    match kind:
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2:
            return rng.choice([0, -1, 2**63, -(2**63), 2**64 - 1, rng.randrange(1000)])
        case 3:
            return rng.choice([float("nan"), float("inf"), -0.0, 1e308, rng.random()])
        case 4 | 5:
            letters = [chr(rng.choice([0, 34, 65, 233, 0x1F600])) for _ in range(rng.randrange(9))]
            return "".join(letters)
        case 6:
            return rng.randbytes(rng.randrange(40))
        case 7:
            return msgpack.ExtType(rng.randrange(100), rng.randbytes(5))
        case 8 | 9:
            return [anything(rng, depth + 1) for _ in range(rng.randrange(5))]
        case _:
            n = rng.randrange(4)
            return {str(anything(rng, 3)): anything(rng, depth + 1) for _ in range(n)}


def body(rng: random.Random) -> bytes:
    """A whole frame's body that is wrong in one way or another."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return b"\x91" * rng.randrange(1, 5000)  # deep nesting
    if kind == 2:
        return struct.pack(">BI", 0xDD, 2**32 - 1)  # a list of four thousand million
    if kind == 3:
        return bytes(msgpack.packb(anything(rng)))
    if kind == 4:
        whole = msgpack.packb({"type": "generate", "id": 1, "prompt": "x" * 50})
        return bytes(whole[: rng.randrange(len(whole))])
    wrong = {"type": rng.choice(VERBS), "id": anything(rng)}
    fields = ["prompt", "prompt_ids", "messages", "temperature", "stop", "model", "text", "ids"]
    fields += ["logits", "choose", "position", "token"]
    fields += ["request", "target", "lane", "n", "logit_bias", "seed", "protocol", "max_tokens"]
    for name in rng.sample(fields, rng.randrange(5)):
        wrong[name] = anything(rng)
    return bytes(msgpack.packb(wrong))


def frame(rng: random.Random) -> tuple[bytes, bool]:
    """Bytes to send, and whether the connection is of no use after them."""
    kind = rng.randrange(12)
    if kind == 0:
        return struct.pack(">I", rng.randrange(2**28, 2**32)) + rng.randbytes(20), True
    if kind == 1:
        return struct.pack(">I", 1000) + rng.randbytes(rng.randrange(900)), True
    if kind == 2:
        return rng.randbytes(rng.randrange(1, 60)), True
    inner = body(rng)
    return struct.pack(">I", len(inner)) + inner, False


def bombard(path: Path, n_inputs: int, seed: int) -> int:
    """Send that many malformed inputs over as many connections as it takes."""
    rng = random.Random(seed)
    sent = 0
    while sent < n_inputs:
        with contextlib.suppress(OSError), RawConnection(path) as wire:
            if rng.random() < 0.9:
                wire.hello()
            wire.socket.settimeout(0.0)
            for _ in range(rng.randrange(1, 30)):
                raw, ends = frame(rng)
                sent += 1
                wire.socket.send(raw)
                with contextlib.suppress(BlockingIOError):
                    while wire.socket.recv(65536):
                        pass
                if ends:
                    break
            if rng.random() < 0.2:
                wire.socket.shutdown(socket.SHUT_WR)
    return sent


@contextlib.contextmanager
def valid_clients(daemon: LiveDaemon) -> Iterator[list[list[int]]]:
    """Two clients that generate over and over meanwhile; what each round of them brought."""
    ending = threading.Event()
    rounds: list[list[int]] = []

    async def go_on(i: int) -> None:
        async with daemon.client() as client:
            while not ending.is_set():
                stream: Stream = await collect(client, greedy("def add(a, b):\n", 24))
                rounds.append(stream.ids)

    async def both() -> None:
        await asyncio.gather(go_on(0), go_on(1))

    thread = threading.Thread(target=lambda: asyncio.run(both()))
    thread.start()
    try:
        yield rounds
    finally:
        ending.set()
        thread.join(60)
        assert not thread.is_alive()


def test_ten_thousand_malformed_inputs_harm_nobody(short_tmp_path: Path) -> None:
    # With a Q8_0 cache, whose answers do not hang on whom they are computed with.
    options = ("--ctx-size", "4096", "--kv-type", "q8", "--log-level", "error")
    with live_daemon(short_tmp_path, "nano", *options) as daemon:
        process = psutil.Process(daemon.process.pid)
        engine = daemon.engines()[0].pid
        bombard(daemon.socket, 1_000, seed=1)
        before = process.memory_info().rss

        with valid_clients(daemon) as rounds:
            sent = bombard(daemon.socket, N_INPUTS, seed=2)

        after = process.memory_info().rss
        assert daemon.process.poll() is None
        assert [one.pid for one in daemon.engines()] == [engine]
        assert sent >= N_INPUTS
        assert len(rounds) >= 2
        assert all(len(ids) == 24 for ids in rounds)
        assert len({tuple(ids) for ids in rounds}) == 1
        assert after - before < GROWTH_BYTES
        wait_until(lambda: daemon.cells_used() == 0, what="giving back the last cells")
