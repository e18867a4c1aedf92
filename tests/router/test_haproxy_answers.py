"""What HAProxy 2.6.12 answered on its admin socket, as it was recorded, and what is read of it."""

import pytest

from umad.errors import ProxyFailed
from umad.router.haproxy.answers import (
    facts_of,
    models_of,
    places_of,
    refusal_of,
    servers_of,
    work_of,
)

HEAD = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state "
    "srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl "
    "srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)
SERVERS = (
    f"1\n{HEAD}\n"
    "3 sessions 1 files 127.0.0.1 0 5 1 1 0 1 0 0 8 0 0 0 - 1 - 1 0 - - 0\n"
    "4 all 1 a 10.0.0.1 2 0 100 100 0 15 3 4 6 0 0 1 - 42185 - 1 0 - - 0\n"
    "4 all 9 b fd00::2 2 8 0 100 0 1 0 2 6 0 0 1 - 39083 - 1 0 - - 0\n\n"
)
KEY = "AADB184039F98AC71085F68018E92B4080BF6CB2D0626F3CFC08A4CCBEB31B86"
TABLE = (
    "# table: sessions, type: string, size:1000, used:2\n"
    f"0x7fc5d4070e00: key={KEY} use=0 exp=3599794 server_id=3 server_key=c\n"
    f"0x55f8c35240b0: key={KEY[::-1]} use=0 exp=12 shard=0 server_id=1 server_key=-\n\n"
)
STAT = (
    "# pxname,svname,qcur,scur,stot,econ,eresp,status,type,req_tot,rtime,\n"
    "front,FRONTEND,,0,2,,,OPEN,0,,,\n"
    "all,a,1,2,30,4,5,UP 1/3,2,28,504,\n"
    "all,b,0,0,0,0,0,DOWN 1/2,2,0,0,\n"
    "all,c,0,0,0,0,0,DRAIN,2,0,0,\n"
    "all,BACKEND,0,0,30,4,5,UP,1,28,504,\n\n"
)


def test_servers_are_read_with_what_the_operator_wants_of_them() -> None:
    files, a, b = servers_of(SERVERS)

    assert (files.pool, files.is_stopped, files.is_draining) == ("sessions", True, False)
    assert (a.pool, a.name, a.number, a.host, a.port, a.weight) == (
        ("all", "a", 1, "10.0.0.1", 42185, 100)
    )
    assert (b.number, b.host, b.weight, b.is_draining, b.is_stopped) == (9, "fd00::2", 0, True, 0)


def test_a_column_that_a_later_version_adds_changes_nothing() -> None:
    later = SERVERS.replace("srv_name srv_addr", "srv_name srv_new srv_addr")
    later = later.replace(" a 10.0.0.1", " a x 10.0.0.1").replace(" b fd00", " b x fd00")
    later = later.replace(" files 127", " files x 127")

    assert servers_of(later) == servers_of(SERVERS)


def test_work_is_of_servers_alone_and_a_check_that_begins_is_no_death() -> None:
    a, b, c = work_of(STAT)

    assert (a.open_requests, a.sent, a.failed_connections, a.failed_answers) == (3, 30, 4, 5)
    assert [one.is_down for one in (a, b, c)] == [False, True, False]


def test_places_have_the_key_the_number_and_the_time_that_is_left() -> None:
    first, second = places_of(TABLE)

    assert (first.key, first.number, first.expires_ms) == (KEY, 3, 3599794)
    assert (second.number, second.expires_ms) == (1, 12)


def test_models_and_the_process_are_read() -> None:
    assert models_of("0x55f8c31dbb50 hf:org/repo m1\n0x1 b all\n\n") == {
        "hf:org/repo": "m1",
        "b": "all",
    }
    facts = facts_of("Name: HAProxy\nVersion: 2.6.12\nPid: 52\nMaxconn: 200\nCurrConns: 3\n\n")
    assert (facts.pid, facts.version, facts.open_connections) == (52, "2.6.12", 3)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\n",
        "New server registered.\n",
        "Server deleted.\n",
        "IP changed from '10.0.0.1' to '10.0.0.2' by 'stats socket command'\n",
        "no need to change the addr, port changed from '1' to '2' by 'stats socket command'\n",
    ],
)
def test_what_was_done_is_no_refusal(answer: str) -> None:
    assert refusal_of("set server all/a weight 1", answer) == ""


def test_a_refusal_keeps_haproxys_words_and_no_more_than_a_line() -> None:
    weight = "set server all/a weight 1"

    assert refusal_of(weight, "No such server.\n\n") == "No such server."
    assert refusal_of(weight, "Unknown command, but:\n  show fd\n") == "Unknown command, but:"


def test_what_is_to_go_and_is_gone_is_done() -> None:
    assert refusal_of("del server all/a", "No such server.\n\n") == ""
    assert refusal_of("del map /m.map m", "Key not found.\n\n") == ""
    assert refusal_of("del server nope/a", "No such backend.\n\n") == "No such backend."


@pytest.mark.parametrize(
    "answer", ["", "Unknown command\n", "1\n", "No such table\n", "Permission denied\n"]
)
def test_an_answer_of_another_kind_is_never_read_as_an_empty_one(answer: str) -> None:
    """An empty list would mean that all servers are gone, and that all of them have to be added."""
    for read in (servers_of, work_of, lambda text: tuple(places_of(text)), facts_of):
        with pytest.raises(ProxyFailed):
            read(answer)
    if answer.strip():
        with pytest.raises(ProxyFailed):
            models_of(answer)


@pytest.mark.parametrize(
    "broken", [SERVERS.replace("42185", "?"), SERVERS.replace(" 100 100", " x 1")]
)
def test_a_line_that_cannot_be_read_is_told_with_the_line(broken: str) -> None:
    with pytest.raises(ProxyFailed, match=r"all 1 a 10\.0\.0\.1"):
        servers_of(broken)
