"""Tokens with which machines join a team."""

from pathlib import Path

import pytest

from umad.errors import BadConfig, BadRequest, Refused
from umad.router.invitations import VALID_S, Invitations, token_of

ROOT = "ab" * 32
NOW_S = 1_800_000_000


@pytest.fixture
def invitations(tmp_path: Path) -> Invitations:
    tmp_path.chmod(0o700)
    return Invitations(tmp_path / "invitations.json")


def invite(invitations: Invitations, name: str = "a", now_s: int = NOW_S) -> str:
    return invitations.invite(name, fingerprint=ROOT, now_s=now_s).secret


def test_a_token_lets_one_machine_in_once(invitations: Invitations) -> None:
    secret = invite(invitations)

    assert invitations.name_of(secret, now_s=NOW_S) == "a"
    assert invitations.use(secret, now_s=NOW_S) == "a"
    for again in (invitations.name_of, invitations.use):
        with pytest.raises(Refused, match="unknown, used or too old"):
            again(secret, now_s=NOW_S)


def test_a_token_runs_out(invitations: Invitations) -> None:
    secret = invite(invitations)

    assert invitations.name_of(secret, now_s=NOW_S + VALID_S - 1) == "a"
    with pytest.raises(Refused):
        invitations.name_of(secret, now_s=NOW_S + VALID_S)
    with pytest.raises(Refused):
        invitations.use(secret, now_s=NOW_S + VALID_S)


def test_a_second_token_for_a_name_makes_the_first_void(invitations: Invitations) -> None:
    first, second = invite(invitations), invite(invitations)
    other = invite(invitations, "b")

    with pytest.raises(Refused):
        invitations.use(first, now_s=NOW_S)
    assert invitations.use(second, now_s=NOW_S) == "a"
    assert invitations.use(other, now_s=NOW_S) == "b"


def test_the_secret_itself_is_written_nowhere(invitations: Invitations, tmp_path: Path) -> None:
    secret = invite(invitations)

    files = list(tmp_path.iterdir())

    assert files
    assert all(secret not in file.read_text() for file in files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_a_token_is_read_as_it_was_printed_and_never_quoted_back(invitations: Invitations) -> None:
    token = invitations.invite("a", fingerprint=ROOT, now_s=NOW_S)

    assert token_of(f" {token}\n") == token
    for wrong in (str(token)[:-1], token.secret, "", f"{token}x", str(token).upper()):
        with pytest.raises(BadRequest) as refused:
            token_of(wrong)
        assert token.secret[:20] not in refused.value.message


@pytest.mark.parametrize("text", ["{}x", '[{"digest": 1}]', "[7]"])
def test_a_broken_list_lets_nobody_in(invitations: Invitations, tmp_path: Path, text: str) -> None:
    secret = invite(invitations)
    (tmp_path / "invitations.json").write_text(text)

    with pytest.raises(BadConfig):
        invitations.use(secret, now_s=NOW_S)
