"""umad writes over nothing, and removes nothing, that it has not written itself."""

import stat
from pathlib import Path

import pytest

from umad.errors import BadConfig
from umad.system_service.own_files import remove_files, write_files

OURS = b"# Written by umad service install, which also replaces it.\nold\n"
NEW = OURS + b"new\n"


def test_only_what_has_changed_is_written(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    write_files({same: OURS, other: OURS})
    before = same.stat().st_ino

    assert write_files({same: OURS, other: NEW}) == [other]
    assert same.stat().st_ino == before
    assert other.read_bytes() == NEW


def test_folders_are_made_and_files_are_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / ".config" / "systemd" / "user" / "umad.service"

    write_files({path: OURS})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["by hand", "a link", "a folder"])
def test_what_is_somebody_elses_is_refused_and_nothing_is_written(
    tmp_path: Path, kind: str
) -> None:
    theirs, ours = tmp_path / "umad.service", tmp_path / "umad.socket"
    if kind == "by hand":
        theirs.write_text("[Service]\nExecStart=/usr/bin/umad serve\n")
    elif kind == "a link":
        (tmp_path / "store").write_bytes(OURS)
        theirs.symlink_to(tmp_path / "store")
    else:
        theirs.mkdir()

    with pytest.raises(BadConfig, match=r"umad\.service was not written by"):
        write_files({ours: OURS, theirs: OURS})
    with pytest.raises(BadConfig, match=r"umad\.service was not written by"):
        remove_files([ours, theirs])

    assert not ours.exists()
    assert theirs.exists()


def test_a_folder_that_is_none_is_not_called_somebody_elses_unit(tmp_path: Path) -> None:
    (tmp_path / "systemd").touch()

    with pytest.raises(BadConfig, match="cannot be read: Not a directory"):
        write_files({tmp_path / "systemd" / "umad.service": OURS})


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    write_files({tmp_path / "umad.socket": OURS})

    assert remove_files([tmp_path / "umad.socket", tmp_path / "umad.service"])
    assert not remove_files([tmp_path / "umad.socket", tmp_path / "umad.service"])
