"""Spans of a process's parts: recorded where a trace is asked for, and nothing at all elsewhere."""

import json
from pathlib import Path

import pytest

from umad import tracing
from umad.daemon import traced as of_daemon
from umad.engine import traced as of_engine
from umad.tracing import Part, Tracer, begin_if_asked


class Kitchen:
    """What is traced here."""

    def cook(self, dish: str) -> str:
        return self.taste(dish).upper()

    def taste(self, dish: str) -> str:
        if not dish:
            raise ValueError("nothing to taste")
        return dish


PARTS = (
    Part("cooking", f"{__name__}:Kitchen", "cook"),
    Part("tasting", f"{__name__}:Kitchen", "taste"),
)


@pytest.mark.parametrize(
    "part", [*of_engine.PARTS, *of_daemon.PARTS], ids=lambda part: f"{part.owner}.{part.method}"
)
def test_each_part_of_engine_and_daemon_is_there(part: Part) -> None:
    assert callable(getattr(part.resolve(), part.method))


def test_without_a_folder_nothing_is_wrapped_and_nothing_written(tmp_path: Path) -> None:
    plain = Kitchen.cook

    write = begin_if_asked("kitchen", PARTS, {})
    write()

    assert Kitchen.cook is plain
    assert not list(tmp_path.iterdir())


def test_a_traced_part_does_what_it_did_and_leaves_a_span_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in PARTS:
        monkeypatch.setattr(Kitchen, part.method, getattr(Kitchen, part.method))
    write = begin_if_asked("kitchen", PARTS, {tracing.VARIABLE: str(tmp_path)})

    assert Kitchen().cook("soup") == "SOUP"
    with pytest.raises(ValueError, match="nothing to taste"):
        Kitchen().cook("")
    write()

    (path,) = tmp_path.iterdir()
    spans = tracing.read(json.loads(path.read_text()))
    assert [span.part for span in spans] == ["tasting", "cooking", "tasting", "cooking"]
    inner, outer = spans[0], spans[1]
    assert outer.began_ns <= inner.began_ns <= inner.ended_ns <= outer.ended_ns


def test_what_ends_a_wrap_puts_the_part_back() -> None:
    plain, tracer = Kitchen.cook, Tracer("kitchen")

    end = tracer.wrap(PARTS[0])
    Kitchen().cook("soup")
    end()
    Kitchen().cook("soup")

    assert Kitchen.cook is plain
    assert len(tracer.record()["spans"]) == 1
