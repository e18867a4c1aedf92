"""HAProxy's configuration and commands, as text."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.router.proxies import HAPROXY, OPENSSL, Authority
from umad.errors import BadRequest
from umad.router.haproxy import (
    Front,
    Pool,
    Proxy,
    Server,
    StatusPage,
    Tls,
    commands,
    render,
    render_models,
)

A = Server(name="a", number=1, host="10.0.0.1", port=8443, weight=100)
B = Server(name="b", number=2, host="fd00::2", port=8443, certified_name="b.team")
TLS = Tls(own_path="/etc/umad/router.pem", authority_path="/etc/umad/ca.pem")
KEY = "0123456789ABCDEF" * 4
PROXY = Proxy(
    front=Front(host="0.0.0.0", port=443, certificate_path="/etc/umad/front.pem"),
    tls=TLS,
    admin_path="/run/umad/admin.sock",
    models_path="/etc/umad/models.map",
    pools=(Pool(name="p0", servers=(A, B)), Pool(name="p1", servers=(B,))),
    default_pool="p0",
    status=StatusPage(host="127.0.0.1", port=8404, authorization_digest=KEY),
)


def lines(start: str) -> list[str]:
    return [line.strip() for line in render(PROXY).splitlines() if re.match(rf"\s*{start}", line)]


def test_every_server_is_reached_and_checked_with_certificates_on_both_sides() -> None:
    servers = [line for line in lines("server ") if " disabled " not in line]

    assert len(servers) == 3
    for line in servers:
        assert "ssl verify required ca-file '/etc/umad/ca.pem' crt '/etc/umad/router.pem'" in line
        assert re.search(r" check check-ssl check-sni \S+", line)
        assert re.search(r" verifyhost (a|b\.team)( |$)", line)


def test_there_is_no_way_for_a_weight_in_plain_text() -> None:
    assert "agent" not in render(PROXY)


def test_a_request_is_sent_again_only_where_no_connection_came_about() -> None:
    assert lines("retry-on") == ["retry-on conn-failure"]


def test_a_dead_node_ends_its_streams_and_health_is_asked_over_http() -> None:
    assert all(line.endswith(" on-marked-down shutdown-sessions") for line in lines("server [ab] "))
    assert lines("option httpchk") == ["option httpchk GET /health"] * 2


def test_the_table_has_the_policys_bounds() -> None:
    assert lines("stick-table") == ["stick-table type string len 64 size 1000000 expire 3600s"]


def test_the_number_of_a_node_is_the_same_in_all_pools() -> None:
    with pytest.raises(BadRequest, match="the number 2 is of b and of c"):
        replace(
            PROXY,
            pools=(PROXY.pools[0], Pool(name="p1", servers=(replace(B, name="c"),))),
        )


def test_no_secret_is_written() -> None:
    """Keys stand in files that HAProxy reads; of the page's key there is only a digest."""
    text = render(PROXY)

    assert "PRIVATE" not in text
    assert f"-m str {KEY}" in text


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert any(line.startswith("server b [fd00::2]:8443 id 2 ") for line in lines("server b"))


def test_the_same_values_give_the_same_text() -> None:
    assert render(PROXY) == render(replace(PROXY))


@pytest.mark.parametrize(
    "name", ["", "a b", "a\nserver x", "a;b", "A", "-a", "a" * 64, "a/b", "ä", "$HOME", "a'b", "a#"]
)
def test_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        replace(A, name=name)
    with pytest.raises(BadRequest):
        Pool(name=name)
    with pytest.raises(BadRequest):
        commands.set_weight("p0", name, 1)


@pytest.mark.parametrize("host", ["", "a b", "x\ny", "a:b", "fe80::1%eth0", "1.2.3.4 ssl", "a;b"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(BadRequest):
        replace(A, host=host)


@pytest.mark.parametrize("path", ["relative", "/a'b", "/a\nb", "", "/a\x00b"])
def test_a_path_that_would_end_its_quotes_is_refused(path: str) -> None:
    with pytest.raises(BadRequest):
        replace(PROXY, admin_path=path)
    with pytest.raises(BadRequest):
        replace(TLS, own_path=path)


def test_a_path_with_blanks_is_one_word_in_the_file_and_on_the_socket() -> None:
    """The file knows quotes, the socket backslashes."""
    tls = Tls(own_path="/Library/Application Support/r;s.pem", authority_path="/ca.pem")
    moved = replace(PROXY, tls=tls)

    assert "crt '/Library/Application Support/r;s.pem' " in render(moved)
    added = commands.add_server("p0", A, moved)
    assert r"crt /Library/Application\ Support/r\;s.pem " in added[0]


@pytest.mark.parametrize(
    ("field", "number", "port", "weight"),
    [
        ("weight", 1, 443, 257),
        ("weight", 1, 443, -1),
        ("number", 0, 443, 1),
        ("number", 1 << 31, 443, 1),
        ("port", 1, 0, 1),
        ("port", 1, 65536, 1),
    ],
)
def test_a_number_that_haproxy_does_not_take_is_refused(
    field: str, number: int, port: int, weight: int
) -> None:
    with pytest.raises(BadRequest) as refused:
        replace(A, number=number, port=port, weight=weight)

    assert refused.value.field == field


def test_a_front_without_certificate_is_for_this_machine_only() -> None:
    Front(host="127.0.0.1", port=80)
    with pytest.raises(BadRequest, match="needs a certificate"):
        Front(host="0.0.0.0", port=80)
    with pytest.raises(BadRequest, match="loopback only"):
        StatusPage(host="10.0.0.1", port=80, authorization_digest=KEY)


@pytest.mark.parametrize(
    "pools",
    [
        (),
        (Pool(name="p1"),),
        (Pool(name="p0"), Pool(name="p0")),
        (Pool(name="p0"), Pool(name="front")),
    ],
)
def test_pools_that_do_not_fit_together_are_refused(pools: tuple[Pool, ...]) -> None:
    with pytest.raises(BadRequest):
        replace(PROXY, pools=pools)


def test_two_servers_of_one_name_or_number_in_a_pool_are_refused() -> None:
    with pytest.raises(BadRequest, match="name a"):
        Pool(name="p", servers=(A, replace(A, number=5)))
    with pytest.raises(BadRequest, match="number 1"):
        Pool(name="p", servers=(A, replace(A, name="c")))


def test_commands_are_what_the_admin_socket_takes() -> None:
    assert commands.set_weight("p0", "a", 64) == "set server p0/a weight 64"
    assert commands.pin(KEY, 3) == (
        f"clear table sessions key {KEY}",
        f"set table sessions key {KEY} data.server_id 3",
    )
    assert commands.one_line([commands.drain("p0", "a"), commands.ready("p0", "b")]) == (
        "set server p0/a state drain; set server p0/b state ready\n"
    )


def test_a_model_has_a_line_in_the_map() -> None:
    assert render_models({"qwen3:8b": "p1", "hf:org/repo": "p0"}) == "hf:org/repo p0\nqwen3:8b p1\n"
    assert commands.give_model("qwen3:8b", "p1", PROXY, is_new=True) == (
        "add map /etc/umad/models.map qwen3:8b p1"
    )


@pytest.mark.parametrize("model", ["", "a b", "#a", "a\nb p1", "a;b", "a\\b", "x" * 257])
def test_a_model_whose_name_is_no_plain_word_gets_no_line(model: str) -> None:
    with pytest.raises(BadRequest):
        render_models({model: "p0"})
    with pytest.raises(BadRequest):
        commands.give_model(model, "p0", PROXY, is_new=False)


@pytest.mark.parametrize("key", ["", "x", KEY.lower(), KEY + "; shutdown sessions server p0/a"])
def test_a_key_that_is_none_is_never_sent(key: str) -> None:
    with pytest.raises(BadRequest):
        commands.pin(key, 1)


@pytest.mark.skipif(
    HAPROXY is None or OPENSSL is None, reason="haproxy and openssl are not installed"
)
def test_haproxy_finds_nothing_wrong(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "models.map").write_text("m p1\n")
    real = replace(
        PROXY,
        front=Front(
            host="127.0.0.1",
            port=18443,
            certificate_path=str(authority.certify("front")),
            clients_authority_path=str(authority.path),
        ),
        tls=Tls(own_path=str(authority.certify("router")), authority_path=str(authority.path)),
        admin_path=str(tmp_path / "admin.sock"),
        models_path=str(tmp_path / "models.map"),
    )
    (tmp_path / "haproxy.cfg").write_text(render(real))

    checked = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(tmp_path / "haproxy.cfg")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr
