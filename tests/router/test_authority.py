"""The team's own authority: who is let in with its certificates, by TLS itself."""

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest

from umad.errors import AlreadyRunning, BadConfig, BadRequest
from umad.router.authority import (
    TeamAuthority,
    certificate_request,
    days_left,
    fingerprint_of,
)
from umad.router.members import ROUTER

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def authority(folder: Path) -> TeamAuthority:
    return TeamAuthority.make(folder, now=NOW)


def node_files(authority: TeamAuthority, name: str, folder: Path) -> Path:
    """Certificate and key of a node, in one file."""
    pair = authority.certified_pair(name, now=NOW)
    path = folder / f"{name}.pem"
    path.write_bytes(pair.certificate + pair.key)
    return path


def shake_hands(server: Path, client: Path, ca: Path, *, name: str) -> str:
    """ "": both sides are content. Else what one of them says."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server)
    serving.load_verify_locations(ca)
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.load_cert_chain(client)
    asking.load_verify_locations(ca)
    near, far = socket.socketpair()
    problems: list[str] = []

    def serve() -> None:
        try:
            with serving.wrap_socket(far, server_side=True) as tls:
                tls.sendall(b"in")
        except (ssl.SSLError, OSError) as error:
            problems.append(str(error))
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    near.settimeout(30)
    try:
        with asking.wrap_socket(near, server_hostname=name) as tls:
            if tls.recv(2) != b"in":
                problems.append("the server closed")
    except (ssl.SSLError, OSError) as error:
        problems.append(str(error))
        near.close()
    thread.join(30)
    return "; ".join(problems)


def test_the_router_asks_a_node_and_both_are_content(
    authority: TeamAuthority, folder: Path
) -> None:
    node = node_files(authority, "a", folder)

    assert shake_hands(node, folder / "own.pem", folder / "ca.pem", name="a") == ""


def test_a_node_that_shows_anothers_name_is_refused(authority: TeamAuthority, folder: Path) -> None:
    node = node_files(authority, "a", folder)

    said = shake_hands(node, folder / "own.pem", folder / "ca.pem", name="b")

    assert "mismatch" in said


def test_a_node_cannot_ask_another_node(authority: TeamAuthority, folder: Path) -> None:
    """Its certificate is for serving: one machine that is taken over does not reach the others."""
    a, b = (node_files(authority, name, folder) for name in "ab")

    said = shake_hands(a, b, folder / "ca.pem", name="a")

    assert "purpose" in said.lower() or "certificate" in said.lower()


def test_a_certificate_of_another_team_is_refused(
    authority: TeamAuthority, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("other")
    other = TeamAuthority.make(elsewhere, now=NOW)
    stranger = node_files(other, "a", elsewhere)

    assert shake_hands(stranger, folder / "own.pem", folder / "ca.pem", name="a")
    assert shake_hands(
        node_files(authority, "a", folder), elsewhere / "own.pem", folder / "ca.pem", name="a"
    )


def test_a_certificate_that_has_run_out_is_refused(folder: Path) -> None:
    long_ago = NOW - datetime.timedelta(days=900)
    authority = TeamAuthority.make(folder, now=long_ago)
    old = authority.certified_pair("a", now=long_ago)
    (folder / "old.pem").write_bytes(old.certificate + old.key)
    authority.renew_own(now=NOW)

    said = shake_hands(folder / "old.pem", folder / "own.pem", folder / "ca.pem", name="a")

    assert "expired" in said
    assert (
        days_left(old.certificate, now=NOW)
        < 0
        < days_left((folder / "own.pem").read_bytes(), now=NOW)
    )


def test_a_node_keeps_its_key_and_gets_a_certificate_for_its_request(
    authority: TeamAuthority, folder: Path
) -> None:
    key, request = certificate_request("a")

    certificate = authority.certify("a", request, now=NOW)
    (folder / "a.pem").write_bytes(certificate + key)

    assert b"PRIVATE" not in request
    assert shake_hands(folder / "a.pem", folder / "own.pem", folder / "ca.pem", name="a") == ""


def test_the_name_is_the_routers_to_give_and_not_the_requests(
    authority: TeamAuthority, folder: Path
) -> None:
    key, request = certificate_request("somebody")
    (folder / "a.pem").write_bytes(authority.certify("a", request, now=NOW) + key)

    assert shake_hands(folder / "a.pem", folder / "own.pem", folder / "ca.pem", name="a") == ""
    assert shake_hands(folder / "a.pem", folder / "own.pem", folder / "ca.pem", name="somebody")


@pytest.mark.parametrize("name", [ROUTER, "", "A", "a b", "a/b", "*", "a\n"])
def test_no_node_is_called_like_the_router_or_like_no_word(
    authority: TeamAuthority, name: str
) -> None:
    _, request = certificate_request("a")

    with pytest.raises(BadRequest):
        authority.certify(name, request, now=NOW)
    with pytest.raises(BadRequest):
        authority.certified_pair(name, now=NOW)


def test_a_request_that_is_none_or_that_was_changed_is_refused(authority: TeamAuthority) -> None:
    _, request = certificate_request("a")
    lines = request.splitlines(keepends=True)
    changed = b"".join([*lines[:2], lines[2][:10] + lines[2][10:].swapcase(), *lines[3:]])

    for wrong in (b"", b"nothing", b"x" * 100_000, changed):
        with pytest.raises(BadRequest):
            authority.certify("a", wrong, now=NOW)


def test_the_authoritys_key_is_this_users_alone(authority: TeamAuthority, folder: Path) -> None:
    assert (folder / "ca.key").stat().st_mode & 0o077 == 0
    assert (folder / "own.pem").stat().st_mode & 0o077 == 0
    assert authority.fingerprint == fingerprint_of((folder / "ca.pem").read_bytes())

    (folder / "ca.key").chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        TeamAuthority(folder)


def test_the_routers_own_certificate_is_renewed_before_it_runs_out(
    authority: TeamAuthority, folder: Path
) -> None:
    first = (folder / "own.pem").read_bytes()
    soon = NOW + datetime.timedelta(days=700)

    at_once = authority.renew_own_if_old(now=NOW)
    later = authority.renew_own_if_old(now=soon)
    second = (folder / "own.pem").read_bytes()
    (folder / "own.pem").unlink()
    missing = authority.renew_own_if_old(now=soon)

    assert (at_once, later, missing) == (False, True, True)
    assert days_left(first, now=soon) < days_left(second, now=soon)
    assert (folder / "own.pem").exists()


def test_an_authority_is_never_made_twice_in_one_folder(
    authority: TeamAuthority, folder: Path
) -> None:
    before = authority.fingerprint

    with pytest.raises(AlreadyRunning, match="all nodes trust it"):
        TeamAuthority.make(folder, now=NOW)

    assert TeamAuthority(folder).fingerprint == before


def test_a_folder_without_authority_and_one_with_anothers_key_are_told(
    authority: TeamAuthority, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("other")
    with pytest.raises(BadConfig, match="umad router init"):
        TeamAuthority(elsewhere)
    TeamAuthority.make(elsewhere, now=NOW)
    (folder / "ca.key").write_bytes((elsewhere / "ca.key").read_bytes())

    with pytest.raises(BadConfig, match=r"not the key of ca\.pem"):
        TeamAuthority(folder)
