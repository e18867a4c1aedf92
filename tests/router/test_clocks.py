"""Machines of a team whose clocks are wrong: certificates have times, and scorecards need none."""

import asyncio
import datetime
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.router.team import TeamNode, serving
from umad.clock import MonotonicClock
from umad.router.asking import HttpsWatch
from umad.router.authority import TeamAuthority
from umad.router.haproxy import Tls
from umad.router.members import Member
from umad.router.seams import Heard

NOW = datetime.datetime.now(datetime.UTC)


@contextmanager
def node(folder: Path, *, made: datetime.timedelta) -> Iterator[TeamNode]:
    """A node whose certificate, and the team's, were made by a clock that is wrong by so much."""
    folder.chmod(0o700)
    authority = TeamAuthority.make(folder, now=NOW + made)
    pair = authority.certified_pair("a", now=NOW + made)
    (folder / "a.pem").write_bytes(pair.certificate + pair.key)
    with serving(TeamNode(name="a"), folder / "a.pem", folder / "ca.pem") as one:
        yield one


def ask(folder: Path, one: TeamNode) -> Heard:
    async def once() -> Heard:
        tls = Tls(own_path=str(folder / "own.pem"), authority_path=str(folder / "ca.pem"))
        watch = HttpsWatch(tls, clock=MonotonicClock(), within_s=30)
        try:
            return await watch.ask(Member(name="a", number=1, host="127.0.0.1", port=one.port))
        finally:
            await watch.close()

    return asyncio.run(once())


@pytest.mark.parametrize("hours", [-11, 11])
def test_clocks_that_differ_by_hours_keep_nobody_out(tmp_path: Path, hours: int) -> None:
    with node(tmp_path, made=datetime.timedelta(hours=hours)) as one:
        heard = ask(tmp_path, one)

    assert heard.problem == ""
    assert heard.reading is not None


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (datetime.timedelta(hours=14), "not yet valid"),
        (datetime.timedelta(days=-900), "expired"),
    ],
)
def test_a_certificate_of_another_time_is_refused_with_a_word_about_clocks(
    tmp_path: Path, made: datetime.timedelta, says: str
) -> None:
    with node(tmp_path, made=made) as one:
        heard = ask(tmp_path, one)

    assert heard.reading is None
    assert says in heard.problem
    assert "clocks" in heard.problem
    assert one.asked == []


@pytest.mark.parametrize(
    "made", [datetime.timedelta(hours=14), datetime.timedelta(days=-900)], ids=["late", "early"]
)
def test_a_node_whose_clock_refuses_the_router_is_told_so(
    tmp_path: Path, made: datetime.timedelta
) -> None:
    with node(tmp_path, made=datetime.timedelta()) as one:
        TeamAuthority(tmp_path).renew_own(now=NOW + made)
        heard = ask(tmp_path, one)

    assert heard.reading is None
    assert re.search("refuses? the router's certificate", heard.problem)
    assert "clocks" in heard.problem
    assert one.asked == []


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 2100 23:59:59 GMT", "noon"]
)
def test_what_a_node_says_the_time_is_makes_its_scorecard_no_older(
    tmp_path: Path, date: str
) -> None:
    with node(tmp_path, made=datetime.timedelta()) as one:
        before_ns = MonotonicClock().now_ns()
        one.date = date
        heard = ask(tmp_path, one)
        after_ns = MonotonicClock().now_ns()

    assert heard.problem == ""
    assert before_ns <= heard.asked_ns <= after_ns
