"""A request that cannot be served is refused at once, with the field's name, and nothing else."""

import asyncio
import math
from typing import Any

import msgpack
import psutil
import pytest

from tests.live import LiveDaemon
from tests.wire import RawConnection

# Of their processor's time, which nobody else on the machine can take from them.
AT_ONCE_S = 2.0


def processor_s(daemon: LiveDaemon) -> float:
    """What the daemon and its engine have used."""
    processes = [psutil.Process(daemon.process.pid), *daemon.engines()]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt_ids": []}, "prompt_ids", "empty"),
        ({}, "prompt", "exactly one"),
        ({"prompt": "x", "prompt_ids": [1]}, "prompt_ids", "exactly one"),
        ({"prompt": "word " * 20_000}, "prompt", "--ctx-size"),
        ({"prompt": "x", "temperature": -1.0}, "temperature", "between"),
        ({"prompt": "x", "temperature": math.nan}, "temperature", "finite"),
        ({"prompt": "x", "top_p": math.inf}, "top_p", "finite"),
        ({"prompt": "x", "top_p": 1.5}, "top_p", "between"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens", "between"),
        ({"prompt": "x", "max_tokens": -5}, "max_tokens", "between"),
        ({"prompt": "x", "max_tokens": "many"}, "max_tokens", "integer"),
        ({"prompt": "x", "max_tokens": True}, "max_tokens", "integer"),
        ({"prompt": "x", "max_tokens": 10**9}, "max_tokens", "10000000"),
        ({"prompt": "x", "seed": -1}, "seed", "between 0 and 18446744073709551615"),
        ({"prompt": "x", "stop": [""]}, "stop", "stop"),
        ({"prompt": "x", "tempratur": 0.5}, "tempratur", "temperature"),
        ({"prompt": "x", "lane": "interactiv"}, "lane", "interactive"),
        ({"prompt": "x", "model": "nono"}, "model", "nano"),
        ({"prompt": 5}, "prompt", "string"),
        ({"prompt_ids": [99_999_999]}, "prompt_ids", ""),
        ({"prompt_ids": [-1]}, "prompt_ids", ""),
        ({"prompt": "x", "n": 0}, "n", "between"),
        ({"prompt": "x", "deadline_ms": 0}, "deadline_ms", "at least 1"),
        ({"prompt": "x", "logit_bias": [[99_999_999, 1.0]]}, "logit_bias", ""),
    ],
)
def test_a_bad_request_names_its_field_at_once(
    daemon: LiveDaemon, fields: dict[str, Any], field: str, says: str
) -> None:
    with RawConnection(daemon.socket) as wire:
        wire.hello()
        before_s = processor_s(daemon)
        wire.send(msgpack.packb({"type": "generate", "id": 7, **fields}))
        answer = wire.read_past("accepted", "progress")
        took_s = processor_s(daemon) - before_s

    assert answer["type"] == "error"
    assert answer["id"] == 7
    assert answer["field"] == field
    assert says in answer["message"]
    assert took_s < AT_ONCE_S


def test_a_refused_request_leaves_its_connection_as_good_as_new(daemon: LiveDaemon) -> None:
    with RawConnection(daemon.socket) as wire:
        wire.hello()
        wire.send(msgpack.packb({"type": "generate", "id": 1, "prompt": ""}))
        refused = wire.read()
        wire.send(msgpack.packb({"type": "generate", "id": 1, "prompt": "x", "max_tokens": 3}))
        answers = [wire.read()]
        while answers[-1]["type"] not in ("done", "error"):
            answers.append(wire.read())

    assert refused["type"] == "error"
    assert answers[-1]["type"] == "done"


def test_what_this_model_cannot_do_is_said_so(daemon: LiveDaemon) -> None:
    async def run() -> None:
        async with daemon.client() as client:
            await client.ping()

    with RawConnection(daemon.socket) as wire:
        wire.hello()
        wire.send(msgpack.packb({"type": "rerank", "id": 3, "query": "x", "documents": ["y"]}))
        answer = wire.read()

    assert answer["type"] == "error"
    assert answer["code"] == "unsupported"
    asyncio.run(run())
