"""What was started is kept for this user alone, and forgotten when it ended."""

import stat
from pathlib import Path

import pytest

from umad.errors import AlreadyRunning, BadConfig, BadRequest, UnknownRequest
from umad.scale.launch.record import Record
from umad.scale.launch.records import Records

ONE = Record(
    name="q", kind="task", engine="vllm", model="m", accelerators="L4:1", began_at_s=1.0
)  # fmt: skip


def test_a_record_and_its_keys_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept = Records(tmp_path / "scale")
    kept.begin("q")
    kept.write(ONE)
    kept.write_files("q", "keys", {"alice": "sk-1\n"})

    assert kept.of("q") == ONE
    assert kept.names() == ["q"]
    assert kept.keys("q") == {"alice": "sk-1"}
    for path in (tmp_path / "scale").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_name_is_taken_until_it_is_removed(tmp_path: Path) -> None:
    kept = Records(tmp_path / "scale")
    kept.begin("q")
    kept.write(ONE)

    with pytest.raises(AlreadyRunning, match="umad scale down q"):
        kept.begin("q")
    kept.remove("q")

    assert kept.begin("q").is_dir()
    assert kept.names() == []


def test_an_unknown_name_names_those_that_there_are(tmp_path: Path) -> None:
    kept = Records(tmp_path / "scale")
    kept.begin("q")
    kept.write(ONE)

    with pytest.raises(UnknownRequest, match="there is q"):
        kept.of("p")
    with pytest.raises(BadRequest):
        kept.of("../q")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 7, "colour": "red"}'])
def test_a_damaged_record_is_said_with_its_path(tmp_path: Path, text: str) -> None:
    kept = Records(tmp_path / "scale")
    (kept.begin("q") / "deployment.json").write_text(text)

    with pytest.raises(BadConfig, match=r"deployment\.json"):
        kept.of("q")
