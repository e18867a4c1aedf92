"""Every option that umad writes is one of the pinned engine's own parser.

engine_flags.json was read from the wheels (`python -m tests.scale.engine_flags`), and `make
scale-test` reads them anew.
"""

import json
from typing import Any

import pytest

from tests.scale.engine_flags import FLAGS
from tests.scale.test_seed_examples import ROWS, Row, plan_of
from umad.scale.engines import VERSIONS
from umad.scale.launch.engine_line import engine_line
from umad.scale.plan import Plan

KNOWN: dict[str, Any] = json.loads(FLAGS.read_text())


def options(words: tuple[str, ...], flags: dict[str, str]) -> dict[str, int]:
    """Options, and how many words follow each."""
    found: dict[str, int] = {}
    last = ""
    for word in words:
        if word.startswith("--"):
            last = word
            found[last] = 0
        elif last:
            found[last] += 1
    return found


def check(plan: Plan, words: tuple[str, ...]) -> None:
    flags = KNOWN[plan.wish.engine]["flags"]
    for name, n_words in options(words, flags).items():
        assert name in flags, f"{plan.wish.engine} has no {name}"
        assert n_words == (0 if flags[name] == "switch" else 1), name


def test_the_list_is_of_the_versions_that_plans_follow() -> None:
    assert {name: one["version"] for name, one in KNOWN.items()} == VERSIONS
    # A parser that was not understood would give few of them.
    assert all(len(one["flags"]) > 250 for one in KNOWN.values())


@pytest.mark.parametrize("row", [one for one in ROWS if one.split], ids=lambda row: row.model)
@pytest.mark.parametrize("logs_requests", [False, True])
def test_each_engine_knows_all_that_it_is_told(row: Row, logs_requests: bool) -> None:
    plan = plan_of(row)

    check(plan, plan.command)
    check(plan, engine_line(plan, logs_requests=logs_requests))


def test_requests_are_logged_only_where_somebody_asks() -> None:
    for engine in ("vllm", "sglang"):
        plan = plan_of(next(one for one in ROWS if one.split and one.engine == engine))

        quiet = engine_line(plan)
        loud = engine_line(plan, logs_requests=True)

        assert not {"--enable-log-requests", "--log-requests"} & set(quiet)
        assert {"--enable-log-requests", "--log-requests"} & set(loud)


def test_an_option_that_an_engine_lost_would_be_seen() -> None:
    # Gone from vLLM 0.33.0, which logs no requests unless it is told to.
    assert "--disable-log-requests" not in KNOWN["vllm"]["flags"]
    assert KNOWN["vllm"]["flags"]["--enable-log-requests"] == "switch"
    assert KNOWN["sglang"]["flags"]["--log-requests"] == "switch"
