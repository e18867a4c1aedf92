"""Traces a second of serving: one track for each thread of engine, daemon and client.

Writes a file for Chrome's chrome://tracing or https://ui.perfetto.dev, a picture of a few steps,
and prints what each part takes of a step, with the parts inside it taken off. The streams run to
their end on a daemon of its own. It is traced from its start, by spans around its parts
(`umad.tracing`). Each span costs about a microsecond, so the traced steps are a little longer: the
table says by how much. Not: llama.cpp's own nodes. `python -m bench trace --to DIR`
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import command, models, trace_picture
from bench.errors import BenchError
from bench.umad_daemon import DaemonSettings, UmadDaemon, greedy
from umad import tracing
from umad.client import AsyncClient
from umad.clock import MonotonicClock
from umad.tracing import Part, Span

CLIENT = (Part("tokens of a stream", "umad.client.connection:Connection", "buffer_updated"),)
# The parts of the step thread, which together are its time, and their tracks' process.
ENGINE, STEP, DECODE = "engine", "step", "decode call"
_SECOND_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One thread of one process, and its spans within the second."""

    process: str
    pid: int
    thread: str
    tid: int
    spans: tuple[Span, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one part of one process takes of a step, on average."""

    process: str
    part: str
    us: float
    share: float


def tracks_of(records: Iterable[dict[str, Any]], *, from_ns: int, to_ns: int) -> list[Track]:
    """The threads that did something between the two times."""
    found: list[Track] = []
    for record in records:
        threads: dict[int, list[Span]] = {}
        for span in tracing.read(record):
            if from_ns <= span.began_ns and span.ended_ns <= to_ns:
                threads.setdefault(span.thread, []).append(span)
        for ident, spans in threads.items():
            name = record["threads"].get(str(ident), "thread")
            found.append(
                Track(
                    process=record["process"],
                    pid=record["pid"],
                    thread=name,
                    tid=len(found) + 1,
                    spans=tuple(sorted(spans, key=lambda one: (one.began_ns, -one.ended_ns))),
                )
            )
    return found


def chrome(tracks: Sequence[Track], *, from_ns: int) -> dict[str, Any]:
    """The trace in Chrome's format: complete events, times in microseconds."""
    events: list[dict[str, Any]] = []
    for track in tracks:
        place = {"pid": track.pid, "tid": track.tid}
        for kind, name in (("process_name", track.process), ("thread_name", track.thread)):
            events.append({"ph": "M", "name": kind, "args": {"name": name}, **place})
        for span in track.spans:
            times = {
                "ts": (span.began_ns - from_ns) / 1000,
                "dur": (span.ended_ns - span.began_ns) / 1000,
            }
            events.append({"ph": "X", "name": span.part, "cat": track.process, **times, **place})
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def own_ns(spans: Sequence[Span]) -> list[int]:
    """How long each span ran without those inside it. spans: of one thread, by their begin; of two
    that begin at one time the longer one is first."""
    own = [span.ended_ns - span.began_ns for span in spans]
    around: list[int] = []
    for at, span in enumerate(spans):
        while around and spans[around[-1]].ended_ns <= span.began_ns:
            around.pop()
        if around:
            own[around[-1]] -= span.ended_ns - span.began_ns
        around.append(at)
    return own


def budget(tracks: Sequence[Track]) -> list[Share]:
    """What each part takes of a step, from one decode call to the next; then the time of the step
    thread that belongs to no part."""
    begins = [
        span.began_ns
        for track in tracks
        if track.process == ENGINE
        for span in track.spans
        if span.part == DECODE
    ]
    if len(begins) < 3:
        raise BenchError("the second had fewer than three steps; trace a smaller model")
    begins.sort()
    n_steps = len(begins) - 1
    step_us = (begins[-1] - begins[0]) / n_steps / 1000
    sums: dict[tuple[str, str], int] = {}
    for track in tracks:
        for span, ns in zip(track.spans, own_ns(track.spans), strict=True):
            if begins[0] <= span.began_ns < begins[-1]:
                key = track.process, span.part
                sums[key] = sums.get(key, 0) + ns
    shares = [
        Share(process=process, part=part, us=us, share=us / step_us)
        for (process, part), ns in sums.items()
        for us in (ns / n_steps / 1000,)
    ]
    shares.sort(key=lambda one: (one.process != ENGINE, one.process, -one.us))
    on_step = sum(one.us for one in shares if one.process == ENGINE and one.part != "mail")
    rest = Share(process=ENGINE, part="between", us=step_us - on_step, share=1 - on_step / step_us)
    whole = Share(process=ENGINE, part="a whole step", us=step_us, share=1.0)
    return [*shares, rest, whole]


def way_us(tracks: Sequence[Track]) -> list[float]:
    """Microseconds from the end of each decode call until the client has read its tokens."""
    ends = sorted(
        span.ended_ns
        for track in tracks
        if track.process == ENGINE
        for span in track.spans
        if span.part == DECODE
    )
    reads = sorted(
        span.ended_ns for track in tracks if track.process == "client" for span in track.spans
    )
    found: list[float] = []
    at = 0
    for end_ns, next_ns in itertools.pairwise(ends):
        while at < len(reads) and reads[at] <= end_ns:
            at += 1
        if at < len(reads) and reads[at] < next_ns:
            found.append((reads[at] - end_ns) / 1000)
    return found


async def _serve(path: Path, *, streams: int, tokens: int, seconds: float) -> tuple[int, int]:
    """Stream until the second is over; return when it began and ended."""
    clock = MonotonicClock()
    async with AsyncClient(str(path)) as client:
        prompts = [[5 + stream, 6, 7, 8] for stream in range(streams)]

        async def stream(prompt: list[int]) -> None:
            while True:
                async for _ in client.events(greedy(prompt, tokens)):
                    pass

        running = [asyncio.create_task(stream(prompt)) for prompt in prompts]
        await asyncio.sleep(seconds)
        from_ns = clock.now_ns()
        await asyncio.sleep(1.0)
        to_ns = clock.now_ns()
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return from_ns, to_ns


def record(
    model: Path, *, threads: int, streams: int, tokens: int, warm_s: float
) -> tuple[list[Track], int]:
    """The tracks of a second, and when it began."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        daemon = UmadDaemon(
            DaemonSettings(
                model=model,
                streams=streams,
                stream_context_tokens=2048,
                threads=threads,
                log_name="umad-trace",
                trace_folder=Path(folder),
            )
        )
        stack.callback(daemon.stop)
        daemon.start()
        tracer = tracing.Tracer("client")
        for part in CLIENT:
            stack.callback(tracer.wrap(part))
        served = _serve(daemon.socket_path, streams=streams, tokens=tokens, seconds=warm_s)
        from_ns, to_ns = asyncio.run(served)
        daemon.stop()
        records = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
        if {one["process"] for one in records} != {"engine", "daemon"}:
            raise BenchError(f"a process wrote no trace; see {daemon.log_path}")
        records.append(tracer.record())
        return tracks_of(records, from_ns=from_ns, to_ns=to_ns), from_ns


def table(shares: Sequence[Share]) -> Table:
    """To print."""
    drawn = Table(title="a step, by part", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("process", "part", "microseconds", "of the step"):
        drawn.add_column(name, justify="left" if name in ("process", "part") else "right")
    for one in shares:
        drawn.add_row(one.process, one.part, f"{one.us:.1f}", f"{100 * one.share:.2f} %")
    return drawn


def run(options: argparse.Namespace, console: Console) -> None:
    """Traces, writes the files and prints the budget of a step."""
    model = models.path(options.model)
    with console.status("serving"):
        tracks, from_ns = record(
            model,
            threads=options.threads,
            streams=options.streams,
            tokens=options.tokens,
            warm_s=options.warm,
        )
    shares, way = budget(tracks), way_us(tracks)
    console.print(table(shares))
    if way:
        line = f"from a decode to the client: {statistics.median(way):.0f} µs at the median"
        console.print(line, highlight=False)
    options.to.mkdir(parents=True, exist_ok=True)
    trace = json.dumps(chrome(tracks, from_ns=from_ns))
    (options.to / "trace.json").write_text(trace, encoding="utf-8")
    picture = trace_picture.svg(tracks, title=f"{model.stem}, streams: {options.streams}")
    (options.to / "trace.svg").write_text(picture, encoding="utf-8")
    console.print(f"wrote {options.to}/trace.json and trace.svg", highlight=False, markup=False)
    rows = [dataclasses.asdict(one) for one in shares]
    command.write(
        options,
        {"benchmark": "trace", "model": model.stem, "streams": options.streams, "rows": rows},
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("trace", __doc__, model="nano")
    add = parser.add_argument
    add("--streams", type=command.positive, default=1)
    add("--tokens", type=command.positive, default=400, help="of each answer")
    add("--warm", type=float, default=2.0, help="seconds of serving before the traced one")
    add("--to", type=Path, default=Path("trace"), metavar="DIR", help="where the files go")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
