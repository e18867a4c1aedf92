"""Which of llama.cpp's lines anybody gets to see."""

import logging

import pytest

from umad.engine.llamacpp.llama_log import LlamaLog

WARN, ERROR = 3, 4  # ggml_log_level


def said(log: LlamaLog, *lines: str, level: int = ERROR) -> None:
    for line in lines:
        log.callback(level, f"{line}\n".encode(), None)


def test_a_step_that_was_cut_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = LlamaLog()

    said(
        log,
        "graph_compute: ggml_backend_sched_graph_compute_async failed with error 1",
        "process_ubatch: failed to compute graph, compute status: 1",
        "llama_decode: failed to decode, ret = 2",
    )

    assert not [one for one in caplog.records if one.levelno > logging.DEBUG]
    assert log.reason() == "llama.cpp gave no reason"


def test_a_step_that_failed_is_a_warning_and_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    log = LlamaLog()
    lines = [
        "graph_compute: ggml_backend_sched_graph_compute_async failed with error -1",
        "llama_decode: failed to decode, ret = -3",
    ]

    said(log, "decode: chatty", level=WARN)
    said(log, *lines)

    assert [one.message for one in caplog.records if one.levelno == logging.WARNING] == lines
    assert log.reason() == "; ".join(lines)
