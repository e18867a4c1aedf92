"""When an engine that dies is started again, and when not."""

import signal

from umad.daemon.crashes import CRASH_WINDOW_NS, CoolDown, CrashRecord, Death
from umad.errors import EngineFailed, ModelLoadFailed, ModelTooLarge
from umad.protocol.link import Fatal

SECOND_NS = 10**9


def death(
    at_s: float,
    *,
    status: int = -signal.SIGSEGV,
    was_ready: bool = True,
    fatal: Fatal | None = None,
    last_words: str = "",
) -> Death:
    return Death(
        status=status,
        was_ready=was_ready,
        now_ns=int(at_s * SECOND_NS),
        fatal=fatal,
        last_words=last_words,
    )


def ready_record() -> CrashRecord:
    record = CrashRecord("nano")
    record.ready()
    return record


def test_the_third_crash_within_a_minute_is_the_last() -> None:
    record = ready_record()

    assert record.died(death(0)) is None
    assert record.died(death(30)) is None
    error = record.died(death(59))

    assert isinstance(error, EngineFailed)
    assert "3 times within 60 s, last by signal SIGSEGV" in error.message
    assert "umad load nano" in error.message


def test_crashes_that_are_spread_out_go_on_for_ever() -> None:
    record = ready_record()

    for number in range(20):
        record.ready()
        assert record.died(death(number * (CRASH_WINDOW_NS / SECOND_NS / 2 + 1))) is None


def test_slow_loads_that_never_succeed_again_are_not_tried_for_ever() -> None:
    """A load may take minutes: the window alone would never see three."""
    record = ready_record()

    assert record.died(death(0)) is None
    assert record.died(death(600, was_ready=False)) is None
    assert record.died(death(1200, was_ready=False)) is None
    error = record.died(death(1800, was_ready=False))

    assert isinstance(error, EngineFailed)
    assert "before it was ready" in error.message


def test_a_first_load_that_fails_by_itself_is_not_tried_again() -> None:
    error = CrashRecord("nano").died(
        death(0, status=-signal.SIGABRT, was_ready=False, last_words="GGML_ASSERT(n > 0) failed")
    )

    assert isinstance(error, ModelLoadFailed)
    assert "signal SIGABRT (GGML_ASSERT(n > 0) failed)" in error.message


def test_a_device_that_was_lost_is_named_as_the_cause() -> None:
    words = "  what():  vk::Queue::submit: ErrorDeviceLost"

    how = death(0, status=-signal.SIGABRT, last_words=words).how

    assert how == f"its device was lost (signal SIGABRT: {words.strip()})"


def test_a_first_load_that_is_killed_from_outside_is_tried_again() -> None:
    assert CrashRecord("nano").died(death(0, status=-signal.SIGKILL, was_ready=False)) is None


def test_an_engines_own_word_on_a_first_load_keeps_its_code() -> None:
    fatal = Fatal(code="model_too_large", message="needs 96 GiB")

    error = CrashRecord("nano").died(death(0, status=1, was_ready=False, fatal=fatal))

    assert isinstance(error, ModelTooLarge)
    assert error.message == "nano: needs 96 GiB"


def test_the_same_word_later_is_a_crash_like_any_other() -> None:
    fatal = Fatal(code="model_load_failed", message="the file has gone")

    assert ready_record().died(death(0, status=1, was_ready=False, fatal=fatal)) is None


def test_a_signal_without_a_name_is_given_by_number() -> None:
    assert death(0, status=-99).how == "signal 99"


def test_an_instruction_that_does_not_work_here_is_explained_in_one_line() -> None:
    error = CrashRecord("nano").died(death(0, status=-signal.SIGILL, was_ready=False))

    assert isinstance(error, ModelLoadFailed)
    assert error.message.startswith(
        "nano: the engine ended while loading: signal SIGILL: llama.cpp"
    )
    assert "build it here: pip install" in error.message
    assert "\n" not in error.message


def test_a_failed_load_is_tried_again_later_each_time_up_to_ten_minutes() -> None:
    cool_down, waits_s = CoolDown(), []
    assert cool_down.left_ns(0) is None
    for _ in range(12):
        cool_down.failed(5 * SECOND_NS)
        waits_s.append((cool_down.left_ns(5 * SECOND_NS) or 0) // SECOND_NS)

    assert waits_s[:7] == [10, 20, 40, 80, 160, 320, 600]
    assert set(waits_s[7:]) == {600}
    assert cool_down.left_ns(700 * SECOND_NS) == 0


def test_a_load_that_goes_well_ends_all_cooling_down() -> None:
    cool_down = CoolDown()
    for _ in range(5):
        cool_down.failed(0)

    cool_down.over()
    assert cool_down.left_ns(0) is None
    cool_down.failed(0)

    assert cool_down.left_ns(0) == 10 * SECOND_NS
