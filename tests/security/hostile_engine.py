"""An engine gone mad, as a program: `hostile_engine.py FD ATTACK`. Not a test.

ATTACK is a file with the attack's name. It is ready, and answers a completion by what that says;
one that it is to be given up for, in its first life only: in the next it ends it as it should.
"""

import math
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack

from umad.protocol.events import tokens_tail
from umad.protocol.frames import MAX_FRAME_BYTES, FrameReader, encode_frame
from umad.protocol.link import (
    STEP_TOKENS,
    CancelOrder,
    Emitted,
    Ended,
    EngineReady,
    EngineReply,
    Fatal,
    Prefilled,
    Rejected,
    StepReport,
    StepStats,
    Submit,
    decode,
    encode,
    encode_step_tokens,
)

END = Ended(rid=0, reason="stop", prompt_tokens=1, cached_tokens=0, completion_tokens=0)
Attack = Callable[[int], bytes]


def raw(value: Any) -> Attack:
    return lambda rid: encode_frame(msgpack.packb(value))


def report(**fields: Any) -> Attack:
    """A step report with fields that no engine has."""
    return lambda rid: encode_frame(encode(StepReport(**fields)))


def ended(**fields: Any) -> Attack:
    return lambda rid: report(ended=(replace(END, rid=rid, **fields),))(rid)


def emitted(**fields: Any) -> Attack:
    news: dict[str, Any] = {"ids": (1,), "text": "x", **fields}
    return lambda rid: report(emitted=(Emitted(**{"rid": rid, **news}),))(rid)


def tokens(token: Any = 5, tail: Any = None, solo_ms: Any = 1.0, carried: Any = False) -> Attack:
    row = tokens_tail("x", 5) if tail is None else tail
    return lambda rid: encode_frame(encode_step_tokens(solo_ms, [rid, token, row], carried=carried))


# What the daemon gives an engine up for.
GIVEN_UP: dict[str, Attack] = {
    "no message": raw(7),
    "an empty message": raw([]),
    "a kind that is not there": raw([STEP_TOKENS + 1, 1]),
    "a kind that is a map": raw([{}, 1]),
    "too few fields": raw([11]),
    "what only a daemon says": lambda rid: encode_frame(encode(CancelOrder(rid=rid))),
    "not msgpack": lambda rid: encode_frame(b"\xc1" * 64),
    "msgpack nested deeply": lambda rid: encode_frame(b"\x91" * 100_000),
    "an array of 2**32 items": lambda rid: encode_frame(b"\xdd\xff\xff\xff\xff"),
    "rid a map": report(emitted=(Emitted(rid={}, ids=(1,), text="x"),)),  # type: ignore[arg-type]
    "ids no list": emitted(ids=7),
    "ids of text": emitted(ids=("a",)),
    "ids too large": emitted(ids=(2**31,)),
    "text no text": emitted(text=7),
    "logprobs no list": emitted(logprobs=7),
    "logprobs of text": emitted(logprobs=(("a", ()),)),
    "logprobs that are no number": emitted(logprobs=((math.nan, ()),)),
    "a reason that is none": ended(reason="explosion"),
    "a reason that is a map": ended(reason={}),
    "negative counts": ended(completion_tokens=-1),
    "stop a number": ended(stop=7),
    "an error without words": lambda rid: report(
        rejected=(Rejected(rid=rid, code=7, message={}),)  # type: ignore[arg-type]
    )(rid),
    "an endless error": lambda rid: report(
        rejected=(Rejected(rid=rid, code="bad_request", message="x" * 10**6),)
    )(rid),
    "progress of text": lambda rid: report(
        prefilled=(Prefilled(rid=rid, done_tokens="a", total_tokens=1),)  # type: ignore[arg-type]
    )(rid),
    "stats of text": report(stats=StepStats(bytes_moved="many")),  # type: ignore[arg-type]
    "stats without end": report(stats=StepStats(device_ms=math.inf)),
    "stats that are no number": report(stats=StepStats(coreless_ms=math.nan)),
    "a change of adapters that never ends": report(stats=StepStats(adapter_switch_ms=math.inf)),
    "a gain that is no number": report(stats=StepStats(speculation_gain=math.nan)),
    "stats too large": report(stats=StepStats(sampled_total=2**63)),
    "lanes of text": report(stats=StepStats(waiting={"interactive": "x"})),  # type: ignore[dict-item]
    "a thousand lanes more": report(stats=StepStats(waiting={str(n): n for n in range(2000)})),
    "reasons to wait of numbers": report(stats=StepStats(waits={1: 7})),  # type: ignore[dict-item]
    "solo of text": report(solo_ms="x"),
    "solo of a step's tokens of text": tokens(solo_ms="x"),
    "solo of a step's tokens without end": tokens(solo_ms=math.inf),
    "carried of text": report(carried="x"),
    "carried that no step carries": report(carried=16),
    "carried of a step's tokens of text": tokens(carried="x"),
    "carried of a step's tokens that no step carries": tokens(carried=2**40),
    "a token of text": tokens(token="x"),
    "a token too large": tokens(token=2**40),
    "a tail that is a number": tokens(tail=7),
    "half a row": lambda rid: encode_frame(msgpack.packb([STEP_TOKENS, 1.0, False, rid, 5])),
    "a reply's error of one word": lambda rid: encode_frame(
        encode(EngineReply(call=1, error=("a",)))  # type: ignore[arg-type]
    ),
    "readiness of text": lambda rid: encode_frame(encode(EngineReady(facts="x"))),  # type: ignore[arg-type]
    "a fatal number": lambda rid: encode_frame(encode(Fatal(code=7, message=8))),  # type: ignore[arg-type]
    "a frame of 4 GiB": lambda rid: MAX_FRAME_BYTES.to_bytes(4, "big") + bytes(1000),
    "noise": lambda rid: encode_frame(os.urandom(100_000)),
}
# What is for nobody, and is let pass.
LET_PASS: dict[str, Attack] = {
    "tokens for a completion that is not there": emitted(rid=10**9),
    "hot tokens for one": lambda rid: tokens()(10**9),
    "the end of one": lambda rid: ended()(10**9),
    "an answer that nobody asked for": lambda rid: encode_frame(
        encode(EngineReply(call=10**9, value="x"))
    ),
    "readiness once more": lambda rid: encode_frame(encode(EngineReady(facts={"name": "other"}))),
}
# What only its own client can notice.
TAILS: dict[str, bytes] = {
    "nothing": b"",
    "noise": b"\xc1\xc1\xc1",
    "another request's id": b"\xa2id\xa1b" + b"\xa4text\xa1x",
    "another kind": b"\xa4type\xa5error" + b"\xa2id\xa1b",
    "text that is no text": b"\xa4text\x07" + b"\xa3ids\x91\x05",
    "text that is no UTF-8": b"\xa4text\xa1\xff" + b"\xa3ids\x91\x05",
    "more than one map": tokens_tail("x", 5) + b"\x07",
}

# Facts that the daemon itself uses.
BAD_FACTS: dict[str, dict[str, Any]] = {
    "facts: backends": {"backends": 7},
    "facts: memory": {"size_bytes": 10**6, "context_bytes": "much"},
    "facts: less than none": {"size_bytes": 10**6, "park_bytes": -(10**12)},
}


def main(fd: int, path: Path) -> None:
    attack = path.read_text()
    sock = socket.socket(fileno=fd)
    if attack in BAD_FACTS:
        facts: Any = {"name": "a", **BAD_FACTS[attack]}
        sock.sendall(encode_frame(encode(EngineReady(facts=facts))))
    sock.sendall(
        encode_frame(encode(EngineReady(facts={"name": "b", "n_cells": 64, "max_seqs": 8})))
    )
    if attack == "flood":
        try:
            while True:
                sock.sendall(encode_frame(encode(StepReport())) * 100)
        except OSError:
            return
    reader = FrameReader(MAX_FRAME_BYTES)
    while data := sock.recv(65536):
        for body in reader.feed(data):
            message = decode(body)
            if isinstance(message, Submit):
                _answer(sock, attack, message.rid, path.with_suffix(".lived"))


def _answer(sock: socket.socket, attack: str, rid: int, lived: Path) -> None:
    kind, _, name = attack.partition(": ")
    try:
        match kind:
            case "given up" if not lived.exists():
                lived.touch()
                sock.sendall(GIVEN_UP[name](rid))
            case "given up":
                sock.sendall(ended()(rid))
            case "let pass":
                sock.sendall(LET_PASS[name](rid) + ended()(rid))
            case "tail":
                sock.sendall(tokens(tail=TAILS[name])(rid))
            case "half a frame":
                sock.sendall((2**27).to_bytes(4, "big") + bytes(2**20))
            case "never ending":
                while True:
                    sock.sendall(tokens()(rid) * 100)
            case "never ending reports":
                while True:
                    sock.sendall(emitted()(rid) * 100)
            case _:
                pass
    except OSError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
