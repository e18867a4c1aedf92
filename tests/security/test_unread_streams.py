"""Streams that nobody reads, by a client that goes on asking: others are served meanwhile."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from tests.live import LiveDaemon, live_daemon, wait_until
from umad.client import Client
from umad.protocol.frames import FrameReader, encode_frame
from umad.protocol.messages import Generate, Hello, encode_request, parse_event
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens

N_STREAMS = 40
N_TOKENS = 250
# Streams whose every token is the best by 0.04 nats and more. Cells that were given up come back
# in another order, and a sum in another order is another one: number 39 has a tie of 0.004.
CLEAR = (0, 5, 20)
# 12 s and more before; the cut-off for clients that do not read is 300 s. A machine that is so slow
# or so busy that ten whole answers take longer than that may take as long as they do.
SOON_S, SOON_ANSWERS = 5.0, 10
SAMPLING = SamplingParams(temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """Of a pool that a few such streams fill, and that notices soon that they are not read."""
    folder = tmp_path_factory.mktemp("unread")
    with live_daemon(
        folder,
        # As near to the same bits however tokens are batched as there is (bench/determinism.py).
        *("--ctx-size", "1200", "--threads", "2", "--kv-type", "q8"),
        environment={"UMAD_LIMITS_SEND_QUEUE_BYTES": "2048"},
    ) as one:
        yield one


def asked(at: int) -> GenerateRequest:
    return GenerateRequest(prompt=f"{at} bottles of", sampling=SAMPLING, app="deaf")


def deaf_client(daemon: LiveDaemon, n: int) -> socket.socket:
    """It asks for `n` streams and reads nothing of them."""
    deaf = socket.socket(socket.AF_UNIX)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.settimeout(60)
    deaf.connect(os.fspath(daemon.socket))
    deaf.sendall(encode_frame(encode_request(Hello(client="deaf"))))
    deaf.recv(4096)
    for at in range(n):
        deaf.sendall(encode_frame(encode_request(Generate(id=at, request=asked(at)))))
    return deaf


def answer_s(daemon: LiveDaemon) -> float:
    """Seconds that a whole answer takes while nobody else asks."""
    began_s = time.perf_counter()
    with Client(daemon.socket) as client:
        client.complete("green", sampling=SAMPLING)
    return time.perf_counter() - began_s


@pytest.mark.timeout(300)
def test_another_app_is_served_though_forty_streams_of_one_are_not_read(
    daemon: LiveDaemon,
) -> None:
    soon_s = max(SOON_S, SOON_ANSWERS * answer_s(daemon))
    with Client(daemon.socket) as client, deaf_client(daemon, N_STREAMS) as deaf:

        def is_paused() -> bool:
            rows = client.sessions()
            return len(rows) >= 4 and all(row["state"] == "paused" for row in rows)

        wait_until(is_paused, within_s=120, what="a pause")
        waited_s = []
        for at in range(4):
            began_s = time.perf_counter()
            for _ in client.text(f"{at} green", sampling=SAMPLING):
                waited_s.append(time.perf_counter() - began_s)
                break
        assert max(waited_s) < soon_s

        # And once it reads, every stream goes on with no token lost and none repeated.
        ids: dict[object, list[int]] = {at: [] for at in range(N_STREAMS)}
        ended, reader = 0, FrameReader(2**20)
        while ended < N_STREAMS:
            for body in reader.feed(deaf.recv(65536)):
                request_id, message = parse_event(body)
                assert not isinstance(message, Failed), message
                if isinstance(message, Tokens):
                    ids[request_id] += message.ids
                ended += isinstance(message, Done)
    with Client(daemon.socket) as alone:
        for at in CLEAR:
            undisturbed = [
                one
                for event in alone.generate(asked(at))
                if isinstance(event, Tokens)
                for one in event.ids
            ]
            assert ids[at] == undisturbed, at
            assert len(undisturbed) == N_TOKENS
