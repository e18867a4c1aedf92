"""How a node is asked, and what becomes of what it says: over real TLS."""

import asyncio
import datetime
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.router.team import TeamNode, serving
from umad.clock import MonotonicClock
from umad.errors import BadConfig
from umad.router.asking import HttpsWatch, address_of
from umad.router.authority import TeamAuthority
from umad.router.haproxy import Tls
from umad.router.members import Member, NodeKind
from umad.router.seams import Heard

NOW = datetime.datetime.now(datetime.UTC)
VLLM = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model="m"} 3.0
vllm:num_requests_running{model="n"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model="m"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model="m"} 0.25
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    folder.chmod(0o700)
    authority = TeamAuthority.make(folder, now=NOW)
    for name in "ab":
        pair = authority.certified_pair(name, now=NOW)
        (folder / f"{name}.pem").write_bytes(pair.certificate + pair.key)
    return folder


@pytest.fixture
def node(folder: Path) -> Iterator[TeamNode]:
    with serving(TeamNode(name="a"), folder / "a.pem", folder / "ca.pem") as made:
        yield made


def tls(folder: Path) -> Tls:
    return Tls(own_path=str(folder / "own.pem"), authority_path=str(folder / "ca.pem"))


def member(node: TeamNode) -> Member:
    return Member(name="a", number=1, host="127.0.0.1", port=node.port)


def ask(folder: Path, one: Member, *, within_s: float = 30.0) -> Heard:
    async def once() -> Heard:
        watch = HttpsWatch(tls(folder), clock=MonotonicClock(), within_s=within_s)
        try:
            return await watch.ask(one)
        finally:
            await watch.close()

    return asyncio.run(once())


def test_a_node_tells_its_scorecard_and_its_models(folder: Path, node: TeamNode) -> None:
    node.kv_used = 0.25
    rows = [
        {"id": "m", "status": {"value": "loaded"}},
        {"id": "alias"},
        {"id": "big", "status": {"value": "unloaded"}, "meta": {"size": 5000}},
        {"id": "asleep", "status": {"value": "sleeping"}, "meta": None},
    ]
    node.instead["/v1/models"] = (200, json.dumps({"data": rows}).encode())

    heard = ask(folder, member(node))

    assert heard.problem == ""
    assert heard.reading is not None
    assert heard.host == "127.0.0.1"
    assert heard.reading.kv_used == 0.25
    assert heard.reading.loaded == {"m", "alias"}
    assert heard.reading.loadable == {"big": 5000, "asleep": 0}


def test_the_gauges_of_another_engine_are_summed_over_its_models(
    folder: Path, node: TeamNode
) -> None:
    node.instead["/metrics"] = (200, VLLM)

    heard = ask(folder, replace(member(node), kind=NodeKind.VLLM))

    assert heard.reading is not None
    assert (heard.reading.running, heard.reading.waiting, heard.reading.kv_used) == (4, 2, 0.25)
    assert heard.reading.loaded == {"m"}


@pytest.mark.parametrize(
    ("path", "status", "body", "says"),
    [
        ("/metrics", 403, b"", "--key-file"),
        ("/metrics", 500, b"", "answers /metrics with 500"),
        ("/metrics", 302, b"", "302"),
        ("/metrics", 200, b"[]", "no object"),
        ("/metrics", 200, b"{", "no JSON"),
        ("/metrics", 200, b'{"running": -1}', "running"),
        ("/metrics", 200, b'{"kv_cells_used": 9, "kv_cells_total": 1}', "kv_cells_used"),
        ("/v1/models", 200, b"{}", "no list of models"),
        ("/v1/models", 200, b'{"data": [{"id": ""}]}', "without a name"),
        ("/v1/models", 200, b'{"data": [7]}', "without a name"),
        ("/v1/models", 200, b'{"data": [%s 1]}' % (b'{"id": "x"},' * 513), "more than 512"),
        ("/v1/models", 200, b" " * (9 << 20), "more than 8 MiB"),
    ],
)
def test_what_makes_no_sense_is_told_and_no_reading(
    folder: Path, node: TeamNode, path: str, status: int, body: bytes, says: str
) -> None:
    node.instead[path] = (status, body)

    heard = ask(folder, member(node))

    assert heard.reading is None
    assert says in heard.problem


def test_a_node_under_anothers_name_is_asked_nothing(folder: Path, node: TeamNode) -> None:
    heard = ask(folder, replace(member(node), name="b"))

    assert "certificate is refused" in heard.problem
    assert node.asked == []


def test_nobody_there_and_nobody_who_answers_are_told_within_the_bound(folder: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        one = Member(name="a", number=1, host="127.0.0.1", port=silent.getsockname()[1])
        nobody = ask(folder, one)
        silent.listen()
        mute = ask(folder, one, within_s=0.3)

    assert nobody.reading is None
    assert nobody.problem
    assert mute.reading is None
    assert mute.problem


def test_a_key_is_sent_and_one_that_others_may_read_is_not(
    folder: Path, node: TeamNode, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("secret\n")
    file.chmod(0o644)
    with_key = replace(member(node), key_file=str(file))

    refused = ask(folder, with_key)
    file.chmod(0o600)
    asked = ask(folder, with_key)

    assert "chmod 600" in refused.problem
    assert asked.reading is not None
    assert set(node.keys) == {"Bearer secret"}
    assert len(node.keys) == len(node.asked), "each question has it"


def test_an_address_has_one_form_whatever_way_it_is_written() -> None:
    addresses = ("127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "FD00::A", "localhost")

    found = [asyncio.run(address_of(one)) for one in addresses]

    assert found[:4] == ["127.0.0.1", "::1", "::1", "fd00::a"]
    assert found[4] in ("127.0.0.1", "::1")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("nothing")])
def test_certificates_that_cannot_be_read_are_told_at_once(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    for name in ("own.pem", "ca.pem"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    spoil(tmp_path / "own.pem")

    with pytest.raises(BadConfig, match=r"own\.pem"):
        HttpsWatch(tls(tmp_path), clock=MonotonicClock())
