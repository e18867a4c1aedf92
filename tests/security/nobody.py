"""A child of the test that is the user `nobody`: another user of this machine. Not a test.

It is a fork and imports nothing: the user may not be able to read Python's own files.
"""

import encodings.idna  # noqa: F401  (asked for by every connection; the child cannot read it)
import http.client
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import pytest

T = TypeVar("T")
NOBODY = 65534
CHILD_S = 100

needs_root = pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become another user, and these tests do not run as root"
)


def as_nobody(work: Callable[[], T]) -> T:
    """What `work` returns when `nobody` does it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_nobody(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told, "the child ended without a word"
    value: T | Exception = pickle.loads(told)
    if isinstance(value, Exception):
        raise value
    return value


def _be_nobody(work: Callable[[], T], writing: int) -> NoReturn:
    """Ends the process."""
    value: object
    try:
        signal.alarm(CHILD_S)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        value = work()
    except Exception as error:  # noqa: BLE001  (a child has nobody to raise to)
        value = RuntimeError(f"{type(error).__name__}: {error}")
    os.write(writing, pickle.dumps(value))
    sys.stdout.flush()
    os._exit(0)


def ask(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    host: str = "127.0.0.1",
) -> tuple[int, str]:
    """Status and text of one request."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        raw = None if body is None else json.dumps(body)
        connection.request(method, path, raw, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def say_and_go(port: int, said: list[bytes]) -> int:
    """On a connection for each, send bytes and be gone before anybody looks; how many."""
    for one in said:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(one)
    return len(said)
