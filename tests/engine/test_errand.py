"""Work in a process of its own: its news, its answer, and every way in which it can end."""

from typing import Any

import psutil
import pytest

from umad.engine.errand import Errand
from umad.errors import EngineFailed, InternalError, ModelLoadFailed, ModelTooLarge

WAIT_S = 60.0


def errand(do: str, **more: Any) -> Errand:
    return Errand("tests.engine.errand_child", {"do": do, **more})


def is_gone(one: Errand) -> bool:
    return one.pid is not None and not psutil.pid_exists(one.pid)


def test_news_come_in_order_and_then_the_answer() -> None:
    heard: list[Any] = []

    answer = errand("answer", path="/x y/é").answer(timeout_s=WAIT_S, on_news=heard.append)

    assert heard == [{"done": 1}, {"done": 2}]
    assert answer == {"do": "answer", "path": "/x y/é"}


def test_an_error_of_the_child_is_raised_as_it_was() -> None:
    with pytest.raises(ModelTooLarge) as caught:
        errand("error").answer(timeout_s=WAIT_S)

    assert (caught.value.message, caught.value.field) == ("it needs 8 MB", "ctx_size")


def test_a_bug_in_the_child_is_an_error_and_no_silence() -> None:
    with pytest.raises(InternalError, match="ZeroDivisionError"):
        errand("bug").answer(timeout_s=WAIT_S)


def test_a_child_that_dies_is_reported_with_its_signal_and_last_words() -> None:
    with pytest.raises(ModelLoadFailed, match=r"SIGABRT\): GGML_ASSERT\(false\) failed"):
        errand("die").answer(timeout_s=WAIT_S)


def test_a_child_that_ends_without_an_answer_is_no_success() -> None:
    with pytest.raises(ModelLoadFailed, match="exit status 0"):
        errand("nothing").answer(timeout_s=WAIT_S)


def test_a_child_without_a_library_says_so_and_does_not_blame_the_file() -> None:
    with pytest.raises(EngineFailed) as caught:
        Errand("tests.engine.errand_refused", {}).answer(timeout_s=WAIT_S)

    assert caught.value.message == "llama_library /x is not used: it is no shared library"


def test_a_child_that_takes_too_long_is_ended() -> None:
    one = errand("hang")

    with pytest.raises(EngineFailed, match=r"not done within 0\.5 s"):
        one.answer(timeout_s=0.5)

    assert is_gone(one)


def test_a_child_that_is_killed_before_it_is_started_is_not_started() -> None:
    one = errand("answer")
    one.kill()

    with pytest.raises(EngineFailed, match="ended before it was done"):
        one.answer(timeout_s=WAIT_S)

    assert one.pid is None


def test_a_child_can_be_killed_while_it_works() -> None:
    one = errand("hang")

    with pytest.raises(EngineFailed, match="ended before it was done"):
        one.answer(timeout_s=WAIT_S, on_news=lambda _news: one.kill())

    assert is_gone(one)


def test_whoever_is_interrupted_leaves_no_process_behind() -> None:
    def interrupt(_news: object) -> None:
        raise KeyboardInterrupt

    one = errand("hang")
    with pytest.raises(KeyboardInterrupt):
        one.answer(timeout_s=WAIT_S, on_news=interrupt)

    assert is_gone(one)
