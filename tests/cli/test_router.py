"""`umad router` from a person's side, without HAProxy."""

import json
from pathlib import Path

import pytest

from umad.cli.app import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    tmp_path.chmod(0o700)
    return tmp_path / "router"


def umad(folder: Path, *words: str) -> int:
    return main(["router", *words, "--folder", str(folder)])


def test_a_team_is_made_step_by_step(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "for mini"

    assert umad(folder, "init") == 0
    assert umad(folder, "certify", "mini", "--out", str(out)) == 0
    assert umad(folder, "add", "mini", "mini.lan:8443", "--size", "0.5") == 0
    said = capsys.readouterr().out

    assert f"umad serve --http 0.0.0.0:8443 --gateway-team '{out}'" in said
    assert "mini is node 1" in said
    assert {one.name for one in out.iterdir()} == {"own.pem", "cert.pem", "key.pem", "ca.pem"}
    assert (out / "key.pem").stat().st_mode & 0o077 == 0
    assert (out / "ca.pem").read_bytes() == (folder / "ca.pem").read_bytes()


def test_the_list_names_members_before_any_router_ran(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    umad(folder, "init")
    umad(folder, "add", "mini", "10.0.0.9:8443")
    umad(folder, "drain", "mini")
    capsys.readouterr()

    code = umad(folder, "ls", "--json")
    said = json.loads(capsys.readouterr().out)

    assert code == 3
    assert said["is_running"] is False
    assert [(row["name"], row["state"], row["draining"]) for row in said["nodes"]] == [
        ("mini", "joining", True)
    ]
    assert umad(folder, "ls") == 3
    shown = capsys.readouterr()
    assert "10.0.0.9:8443" in shown.out
    assert "umad router run" in shown.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("ls",), 2, "umad router init"),
        (("run",), 2, "umad router init"),
        (("init", "--listen", "0.0.0.0:80"), 2, "needs a certificate"),
        (("init", "--listen", "here"), 2, "HOST:PORT"),
    ],
)
def test_what_is_missing_is_told_with_the_next_step(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    assert umad(folder, *words) == code
    assert says in capsys.readouterr().err
    assert not (folder / "ca.key").exists()


def test_a_folder_that_cannot_be_written_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    code = umad(tmp_path / "file" / "router", "init")
    made = umad(folder, "init")
    certified = umad(folder, "certify", "mini", "--out", str(tmp_path / "file" / "x"))

    assert (code, made, certified) == (2, 0, 2)
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("init",), 1, "is there already"),
        (("add", "mini", "nowhere"), 2, "HOST:PORT"),
        (("add", "Mini", "10.0.0.9:1"), 2, "small letters"),
        (("add", "mini", "10.0.0.9:1", "--size", "2"), 2, "size is 2"),
        (("remove", "mini"), 2, "no node is called mini"),
        (("certify", "router", "--out", "/nowhere"), 2, "the router's own"),
        (("stop",), 3, ""),
        (("why", "s"), 1, "no HAProxy answers"),
    ],
)
def test_a_slip_is_told_and_changes_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    umad(folder, "init")
    before = (folder / "ca.key").read_bytes()
    capsys.readouterr()

    assert umad(folder, *words) == code
    assert says in capsys.readouterr().err
    assert (folder / "ca.key").read_bytes() == before
    assert not (folder / "members.json").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("listn: 127.0.0.1:80", "listn is unknown; did you mean listen?"),
        ("models: many", "models must be a whole number"),
        ("models: 5000", "models is 5000, not from 0 to 1024"),
        ("- a", "no map"),
        ("listen: {", "no YAML"),
        ("status: 127.0.0.1:8404", "status needs status_key_file"),
        ("session_ttl_s: 0", "session_ttl_s is 0"),
    ],
)
def test_settings_that_are_wrong_are_told_with_their_key(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    umad(folder, "init")
    (folder / "router.yaml").write_text(text)
    capsys.readouterr()

    assert umad(folder, "run") == 2
    assert says in capsys.readouterr().err
