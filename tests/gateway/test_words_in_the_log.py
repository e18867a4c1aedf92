"""What people write and are answered stays out of the log, unless UMAD_VERBOSE asks for it."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.gateways import LiveGateway, live_gateway
from tests.live import wait_until
from umad.stderr_log import DiscreetFormatter

SECRET = "the-prompts-own-words"
TURNS = [{"role": "user", "content": SECRET}]
# Each dialect's way to ask, and what makes it wrong.
ASKED: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": SECRET, "max_tokens": 2},
    "/v1/chat/completions": {"messages": TURNS, "max_tokens": 2},
    "/v1/responses": {"input": SECRET, "max_output_tokens": 16, "store": False},
    "/v1/messages": {"model": "nano", "messages": TURNS, "max_tokens": 2},
    "/api/chat": {"model": "nano", "messages": TURNS, "options": {"num_predict": 2}},
    "/api/generate": {"model": "nano", "prompt": SECRET, "options": {"num_predict": 2}},
    "/generate": {"prompt": SECRET, "max_tokens": 2},
    "/tokenize": {"content": SECRET},
}
WRONG: tuple[dict[str, Any], ...] = (
    {SECRET: SECRET},
    {"model": SECRET},
    {"model": [SECRET]},
    {"messages": [{"role": SECRET, "content": SECRET}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "text": SECRET}]}]},
    {"prompt": {SECRET: SECRET}, "input": {SECRET: SECRET}, "content": [SECRET]},
    {"stop": [SECRET, 1], "temperature": SECRET, "options": {"temperature": SECRET}},
    {"response_format": {"type": SECRET}, "format": SECRET, "grammar": SECRET},
    {"tools": [{"type": "function", "function": {"name": 7, "parameters": SECRET}}]},
    {"logit_bias": {SECRET: 1}, "json_schema": {"type": SECRET}},
)


@pytest.fixture(scope="module")
def discreet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("discreet")
    with live_gateway(folder, "--log-level", "debug") as one:
        yield one


def said_after(gateway: LiveGateway, request_id: str) -> str:
    """The whole log, once a request with that id is in it."""
    with gateway.http() as http:
        http.get("/v1/models", headers={"x-request-id": request_id})
    wait_until(lambda: f"id={request_id}" in gateway.daemon.log, what="the last line")
    return gateway.daemon.log


@pytest.mark.parametrize("path", ASKED)
def test_neither_good_nor_bad_requests_leave_a_word_of_theirs(
    discreet: LiveGateway, path: str
) -> None:
    with discreet.http() as http:
        good = http.post(path, json=ASKED[path])
        cut = http.post(path, content=json.dumps(ASKED[path])[:-1])
        bad = [http.post(path, json={**ASKED[path], **wrong}) for wrong in WRONG]
        nowhere = http.post(f"{path}/{SECRET}", json=ASKED[path])

    assert (good.status_code, cut.status_code) == (200, 400)
    assert all(one.status_code < 500 for one in bad)
    assert nowhere.status_code in (404, 405)
    log = said_after(discreet, f"after{path.replace('/', '-')}")
    assert SECRET not in log
    assert bad[0].headers["x-request-id"] in log


@pytest.mark.parametrize("path", [path for path in ASKED if path != "/tokenize"])
def test_with_verbose_both_are_there_under_the_requests_id(verbose: LiveGateway, path: str) -> None:
    with verbose.http() as http:
        answer = http.post(path, json=ASKED[path], headers={"x-request-id": f"id{path}"})
        request_id = answer.headers["x-request-id"]

    assert answer.status_code == 200
    wait_until(
        lambda: f"completion id={request_id} index=0 " in verbose.daemon.log, what="its completion"
    )
    prompts = [
        line for line in verbose.daemon.log.splitlines() if f"prompt id={request_id}" in line
    ]
    assert SECRET in prompts[0]


@pytest.fixture(scope="module")
def verbose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    folder = tmp_path_factory.mktemp("verbose")
    with live_gateway(folder, environment={"UMAD_VERBOSE": "1"}) as one:
        yield one


def test_with_verbose_a_completion_is_what_the_client_got(verbose: LiveGateway) -> None:
    body = {"prompt": "def f(x):\n", "max_tokens": 12, "temperature": 0}
    with verbose.http() as http:
        answer = http.post("/v1/completions", json=body, headers={"x-request-id": "whole"})

    text = answer.json()["choices"][0]["text"]
    line = f"completion id=whole index=0 {json.dumps(text, ensure_ascii=False)}"
    wait_until(lambda: line in verbose.daemon.log, what="its line")


def broken_record(folder: Path) -> logging.LogRecord:
    """Of an error that quotes what it tripped over."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"no {SECRET}") from error
    except ValueError as error:
        caught = (type(error), error, error.__traceback__)
    return logging.LogRecord("umad", logging.ERROR, str(folder), 1, "broken id=1", (), caught)


def test_an_unexpected_error_tells_where_and_what_it_was_but_not_what_it_quotes(
    tmp_path: Path,
) -> None:
    line = DiscreetFormatter(verbose=False).format(broken_record(tmp_path))

    assert "broken_record" in line
    assert "builtins.ValueError" in line
    assert "builtins.KeyError" in line
    assert f"no {SECRET}" not in line.replace('raise ValueError(f"no {SECRET}")', "")


def test_with_verbose_an_unexpected_error_tells_all(tmp_path: Path) -> None:
    line = DiscreetFormatter(verbose=True).format(broken_record(tmp_path))

    assert f"ValueError: no {SECRET}" in line
