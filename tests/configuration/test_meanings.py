"""Options by their published words: what means less here says so at start."""

from umad.config import EngineSettings, SchedulerSettings, Settings
from umad.configuration.meanings import said_at_start


def test_the_defaults_need_no_word() -> None:
    assert said_at_start(Settings(), ipc="uds") == ()


def test_head_major_packing_says_that_it_means_unified() -> None:
    settings = Settings(engine=EngineSettings(kv_pack="head-major"))

    (line,) = said_at_start(settings, ipc="uds")

    assert "kv_pack head-major means unified here" in line


def test_preempt_at_token_false_says_that_it_changes_nothing() -> None:
    settings = Settings(scheduler=SchedulerSettings(preempt_at_token=False))

    (line,) = said_at_start(settings, ipc="uds")

    assert "scheduler.preempt_at_token false changes nothing" in line


def test_a_pipe_says_that_clients_connect_over_the_socket() -> None:
    (line,) = said_at_start(Settings(), ipc="pipe")

    assert "--ipc pipe is not offered" in line
