"""Sends the same requests to umad's gateway and over its socket, and records their answers.

As in `bench.exchange` bytes and times are stored while tokens arrive and read afterwards. Requests
are OpenAI's: a chat for one stream; completions that can say one token only for a crowd, so that
each stream's text is known beforehand. Owner: one task of the measuring loop for each connection.
"""

import bisect
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from bench.arrivals import Arrival
from bench.exchange import (
    Exchange,
    ServerConnection,
    UmadConnection,
    new_exchange,
    trace_of,
)
from bench.latency import Trace
from bench.peer_server import time_of_end
from umad.conversation import ChatMessage, ChatOptions
from umad.protocol.frames import encode_frame
from umad.protocol.messages import Generate, encode_request, parse_event
from umad.request import GenerateRequest, SamplingParams
from umad.service import Tokens

# Common words, a token each with the space before them, so that a prompt is text of some length.
_WORDS = ("of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on")
_EVENT = re.compile(rb"^data: (\{.*\})\r?$", re.MULTILINE)
_CERTAIN = 1000  # a bias that leaves no other token a chance


def words_of(prompt: Sequence[int]) -> str:
    """A text that differs with the ids in `prompt`, about a token for each."""
    return " ".join(_WORDS[token % len(_WORDS)] for token in prompt)


class SocketChat(UmadConnection):
    """A chat over the daemon's own socket."""

    @override
    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        request = GenerateRequest(
            messages=(ChatMessage(role="user", content=words_of(prompt)),),
            chat=ChatOptions(markup=True),
            sampling=SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True),
            lane=lane,
        )
        self._exchange = new_exchange(len(prompt), tokens)
        self._write(encode_frame(encode_request(Generate(id=0, request=request))))
        return self._exchange

    def steps(self, exchange: Exchange) -> list[int]:
        """When each frame with tokens came, text or not; ns."""
        return [
            at_ns for at_ns, body in exchange.pieces if isinstance(parse_event(body)[1], Tokens)
        ]


class HttpChat(ServerConnection):
    """`POST /v1/chat/completions`; a connection for each request, made before its clock starts."""

    def __init__(self, socket_path: Path) -> None:
        super().__init__(socket_path, progress=False)

    @override
    def request(self, prompt: Sequence[int], tokens: int) -> bytes:
        turns = [{"role": "user", "content": words_of(prompt)}]
        body = {"messages": turns, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        return _post("/v1/chat/completions", body)

    @override
    def trace(self, exchange: Exchange) -> Trace:
        ended = exchange.ended.done() and not exchange.ended.cancelled()
        arrivals: list[Arrival] = []
        for at_ns, choice in _choices(exchange):
            so_far = arrivals[-1].tokens if arrivals else 0
            if choice["delta"].get("content"):
                arrivals.append(Arrival(at_ns=at_ns, tokens=so_far + 1))
            elif choice["finish_reason"] == "length" and so_far < exchange.asked_tokens:
                # Half characters and spaces that were held back count at the end.
                arrivals.append(Arrival(at_ns=at_ns, tokens=exchange.asked_tokens))
        return trace_of(exchange, arrivals, [], ended=ended)

    def texts(self, exchange: Exchange) -> list[int]:
        """When each piece of text came; ns."""
        return [at_ns for at_ns, choice in _choices(exchange) if choice["delta"].get("content")]


class OneWord(ServerConnection):
    """`POST /v1/completions` of a stream that can say `token` only."""

    def __init__(self, socket_path: Path, token: int) -> None:
        super().__init__(socket_path, progress=False)
        self._token = token

    @override
    def request(self, prompt: Sequence[int], tokens: int) -> bytes:
        bias = {str(self._token): _CERTAIN}
        asked = {"prompt": list(prompt), "max_tokens": tokens, "logit_bias": bias}
        return _post("/v1/completions", {**asked, "temperature": 0, "ignore_eos": True})

    def text(self, exchange: Exchange) -> str:
        """All that was said."""
        return "".join(choice["text"] for _, choice in _choices(exchange))


def later_us(socket_ns: Sequence[int], http_ns: Sequence[int]) -> list[float]:
    """How much later than the nearest arrival over the socket each one over HTTP came.

    Of two streams that decode in the same steps. Those before and after the time in which both
    ran say nothing and are left out.
    """
    found = []
    for at_ns in http_ns:
        after = bisect.bisect_left(socket_ns, at_ns)
        if 0 < after < len(socket_ns):
            nearest = min(socket_ns[after - 1 : after + 1], key=lambda one: abs(at_ns - one))
            found.append((at_ns - nearest) / 1000)
    return found


def _post(path: str, body: dict[str, Any]) -> bytes:
    data = json.dumps({**body, "stream": True}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def _choices(exchange: Exchange) -> list[tuple[int, dict[str, Any]]]:
    return [
        (at_ns, choice)
        for at_ns, event in time_of_end(exchange.pieces, _EVENT)
        for choice in json.loads(event).get("choices", ())
    ]
