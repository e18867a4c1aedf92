"""Records when the parts of a process begin and end, for a trace of a second of serving.

A process that may be traced names its parts once, as methods (`Part`). Where the environment asks
for a trace, each of them is wrapped when the process starts. Where it does not, nothing is wrapped,
and a method costs what it always does. The spans of the last seconds stay in memory. At its end the
process writes them to a file of its own, which `python -m bench trace` reads.

A span has a part, a thread and two times of the monotonic clock, which all processes of a machine
share. It has nothing of what is asked or answered. Owner: the process that is traced.
"""

import functools
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from umad.clock import MonotonicClock

# The folder that spans are written to. It is no option: only the benchmark sets it.
VARIABLE = "UMAD_TRACE_FOLDER"
# A step has about a dozen spans, so these are some seconds of the smallest model.
MOST_SPANS = 200_000


class Part(NamedTuple):
    """One part of a process's work: what a class or a module calls `method`."""

    name: str
    # `module:Class`, or `module:` for a function. It is imported only where a trace is asked for.
    owner: str
    method: str

    def resolve(self) -> Any:
        """The class or the module."""
        module, _, name = self.owner.partition(":")
        found = import_module(module)
        return getattr(found, name) if name else found


class Span(NamedTuple):
    """One time that a part ran."""

    part: str
    thread: int
    began_ns: int
    ended_ns: int


class Tracer:
    """The spans of one process. name: what the process is called in the trace."""

    def __init__(self, name: str) -> None:
        self._name = name
        # A tuple, not a `Span`: it is made many times a step, and an append is atomic.
        self._spans: deque[tuple[str, int, int, int]] = deque(maxlen=MOST_SPANS)

    def wrap(self, part: Part) -> Callable[[], None]:
        """Record each run of a part from now on. Return what ends that."""
        name, append, now_ns, thread = (
            part.name,
            self._spans.append,
            MonotonicClock().now_ns,
            threading.get_ident,
        )
        owner = part.resolve()
        plain = getattr(owner, part.method)

        @functools.wraps(plain)
        def traced(*arguments: Any, **keywords: Any) -> Any:
            began_ns = now_ns()
            try:
                return plain(*arguments, **keywords)
            finally:
                append((name, thread(), began_ns, now_ns()))

        setattr(owner, part.method, traced)
        return functools.partial(setattr, owner, part.method, plain)

    def record(self) -> dict[str, Any]:
        """All spans as plain values: `read` takes them."""
        names = {one.ident: one.name for one in threading.enumerate()}
        return {
            "process": self._name,
            "pid": os.getpid(),
            "threads": {str(ident): name for ident, name in names.items()},
            "spans": list(self._spans),
        }


def read(record: Mapping[str, Any]) -> list[Span]:
    """The spans of a record, in the order in which they ended."""
    return [Span(*one) for one in record["spans"]]


def begin_if_asked(
    name: str, parts: Sequence[Part], environ: Mapping[str, str]
) -> Callable[[], None]:
    """Trace this process if the environment asks for it. Call what is returned at its end."""
    folder = environ.get(VARIABLE)
    if not folder:
        return _nothing
    tracer = Tracer(name)
    for part in parts:
        tracer.wrap(part)

    def write() -> None:
        path = Path(folder) / f"{name}-{os.getpid()}.json"
        path.write_text(json.dumps(tracer.record()), encoding="utf-8")

    return write


def _nothing() -> None:
    """There is no trace to write."""
