"""What `bench trace` makes of spans: tracks, a budget of a step, Chrome's format, a picture."""

from typing import Any
from xml.etree import ElementTree

import pytest

from bench import trace, trace_picture
from bench.errors import BenchError
from bench.trace import Track
from umad.tracing import Span

US = 1000
STEP_US = 100


def spans_of_steps(n: int) -> list[Span]:
    """Steps of 100 µs: 70 of decode, then 10 of emit with 4 of detokenize in it, then a gap."""
    spans: list[Span] = []
    for at in range(n):
        begin = at * STEP_US
        for part, from_us, to_us in (
            ("decode call", 0, 70),
            ("emit", 70, 80),
            ("detokenize", 73, 77),
        ):
            spans.append(Span(part, 1, (begin + from_us) * US, (begin + to_us) * US))
    return spans


def record(process: str, spans: list[Span]) -> dict[str, Any]:
    return {"process": process, "pid": 7, "threads": {"1": "MainThread"}, "spans": spans}


def tracks(n_steps: int = 5) -> list[Track]:
    reads = [
        Span("tokens of a stream", 1, (at * STEP_US + 85) * US, (at * STEP_US + 90) * US)
        for at in range(n_steps)
    ]
    records = [record("engine", spans_of_steps(n_steps)), record("client", reads)]
    return trace.tracks_of(records, from_ns=0, to_ns=10**9)


def test_a_part_does_not_count_what_runs_inside_it() -> None:
    shares = {(one.process, one.part): one.us for one in trace.budget(tracks())}

    assert shares["engine", "decode call"] == pytest.approx(70)
    assert shares["engine", "emit"] == pytest.approx(6)
    assert shares["engine", "detokenize"] == pytest.approx(4)
    assert shares["client", "tokens of a stream"] == pytest.approx(5)


def test_what_no_part_takes_is_told_and_the_step_is_whole() -> None:
    shares = {(one.process, one.part): one for one in trace.budget(tracks())}

    assert shares["engine", "between"].us == pytest.approx(20)
    assert shares["engine", "a whole step"].us == pytest.approx(STEP_US)
    assert shares["engine", "between"].share == pytest.approx(0.2)


def test_a_second_with_hardly_a_step_is_refused() -> None:
    with pytest.raises(BenchError, match="fewer than three steps"):
        trace.budget(tracks(2))


def test_the_way_to_the_client_begins_with_the_end_of_the_decode() -> None:
    assert trace.way_us(tracks()) == [pytest.approx(20)] * 4


def test_spans_outside_of_the_second_are_left_out() -> None:
    found = trace.tracks_of([record("engine", spans_of_steps(5))], from_ns=0, to_ns=STEP_US * US)

    assert [span.part for span in found[0].spans] == ["decode call", "emit", "detokenize"]


def test_chromes_format_names_processes_and_threads_and_has_each_span() -> None:
    events = trace.chrome(tracks(), from_ns=0)["traceEvents"]

    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"engine", "client", "MainThread"} <= names
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == 5 * 3 + 5
    assert complete[0] == {
        "ph": "X",
        "name": "decode call",
        "cat": "engine",
        "ts": 0.0,
        "dur": 70.0,
        "pid": 7,
        "tid": 1,
    }


def test_the_picture_has_a_row_for_each_thread() -> None:
    drawn = ElementTree.fromstring(trace_picture.svg(tracks(), title="a model"))

    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "engine: MainThread" in texts
    assert "client: MainThread" in texts
    assert texts[0] == "3 steps of a model: 0.30 ms"
