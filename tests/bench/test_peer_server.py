"""The streaming client of llama-server, against a server that answers from a script."""

import asyncio
import json
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.peer_server import arrivals_in, complete

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(tokens: int, *, stop: bool = False) -> bytes:
    body = json.dumps(
        {"content": "x", "stop": stop, "tokens_predicted": tokens}, separators=(",", ":")
    )
    data = f"data: {body}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_an_event_counts_from_the_read_that_completed_it() -> None:
    cut = event(2).index(b"predicted") + 3
    pieces = [
        (10, HEAD + event(1)),
        (20, event(2)[:cut]),
        (30, event(2)[cut:] + event(3)),
        (40, event(3, stop=True) + b"0\r\n\r\n"),
    ]

    arrivals = arrivals_in(pieces)

    assert [(arrival.at_ns, arrival.tokens) for arrival in arrivals] == [(10, 1), (30, 2), (30, 3)]


def test_a_refusal_is_told_in_the_servers_words() -> None:
    refusal = b'HTTP/1.1 400 Bad Request\r\n\r\n{"error":{"message":"prompt too long"}}'

    with pytest.raises(BenchError, match="prompt too long"):
        arrivals_in([(1, refusal)])


async def answer(path: Path, *, tokens: int, prompts: list[object]) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        prompts.append(json.loads(await reader.readexactly(length))["prompt"])
        writer.write(HEAD)
        for so_far in range(1, tokens + 1):
            writer.write(event(so_far))
            await writer.drain()
        writer.write(event(tokens, stop=True) + b"0\r\n\r\n")
        writer.close()

    return await asyncio.start_unix_server(handle, str(path))


def test_all_prompts_are_streamed_at_once(short_tmp_path: Path) -> None:
    prompts: list[object] = []

    async def scenario() -> list[int]:
        async with await answer(short_tmp_path / "s.sock", tokens=8, prompts=prompts):
            streams = await complete(short_tmp_path / "s.sock", [[1, 2], [3], [4]], tokens=8)
        return [stream[-1].tokens for stream in streams]

    assert asyncio.run(scenario()) == [8, 8, 8]
    assert sorted(map(str, prompts)) == ["[1, 2]", "[3]", "[4]"]


def test_a_stream_that_ends_early_is_an_error(short_tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await answer(short_tmp_path / "s.sock", tokens=3, prompts=[]):
            await complete(short_tmp_path / "s.sock", [[1], [2]], tokens=8)

    with pytest.raises(BenchError, match="after 3 of 8 tokens"):
        asyncio.run(scenario())


def test_a_missing_server_is_an_error(short_tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no llama-server answers"):
        asyncio.run(complete(short_tmp_path / "none.sock", [[1]], tokens=2))
