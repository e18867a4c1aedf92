"""The list of a team's nodes on the disk."""

import json
import multiprocessing
from pathlib import Path

import pytest

from umad.errors import BadConfig, BadRequest
from umad.router.members import MembersFile, NodeKind


@pytest.fixture
def file(tmp_path: Path) -> MembersFile:
    tmp_path.chmod(0o700)
    return MembersFile(tmp_path / "members.json")


def test_a_number_is_given_once_and_never_again(file: MembersFile) -> None:
    first = file.add("a", host="10.0.0.1", port=443)
    file.remove("a")
    again = file.add("a", host="10.0.0.1", port=443)

    assert (first.number, again.number) == (1, 2)
    assert [one.name for one in file.members()] == ["a"]


def test_what_was_written_is_read_again(file: MembersFile) -> None:
    made = file.add(
        "b.lan", host="b.lan", port=8000, kind=NodeKind.VLLM, size=0.5, key_file="/keys/b"
    )
    file.drain("b.lan", wanted=True)

    (read,) = MembersFile(file.path).members()

    assert (read.kind, read.size, read.key_file, read.is_draining) == (
        NodeKind.VLLM,
        0.5,
        "/keys/b",
        True,
    )
    assert read.number == made.number


def test_a_name_that_is_taken_or_unknown_is_told_with_what_helps(file: MembersFile) -> None:
    file.add("a", host="10.0.0.1", port=443)

    with pytest.raises(BadRequest, match="already called a"):
        file.add("a", host="10.0.0.2", port=443)
    with pytest.raises(BadRequest, match="no node is called b; there are: a"):
        file.remove("b")


@pytest.mark.parametrize(
    "wrong",
    [{"name": "A b"}, {"host": "a b"}, {"port": 0}, {"size": 0.0}, {"size": 1.5}],
)
def test_a_node_that_haproxy_could_not_have_is_not_written(
    file: MembersFile, wrong: dict[str, object]
) -> None:
    said = {"name": "a", "host": "10.0.0.1", "port": 443, "size": 1.0} | wrong

    with pytest.raises(BadRequest):
        file.add(**said)  # type: ignore[arg-type]

    assert file.members() == ()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 2, "last_number": 0, "members": []}',
        b'{"version": 1, "last_number": 0, "members": [{"name": "a"}]}',
        b'{"version": 1, "last_number": 0, "members": [7]}',
        b"\xff",
    ],
)
def test_a_broken_list_is_never_taken_for_an_empty_one(file: MembersFile, text: bytes) -> None:
    """All nodes would be taken out."""
    file.path.write_bytes(text)
    file.path.chmod(0o600)

    with pytest.raises(BadConfig, match=str(file.path)):
        file.members()
    with pytest.raises(BadConfig):
        file.add("a", host="10.0.0.1", port=443)

    assert file.path.read_bytes() == text


def test_two_nodes_of_one_name_by_hand_are_refused(file: MembersFile) -> None:
    file.add("a", host="10.0.0.1", port=443)
    said = json.loads(file.path.read_text())
    said["members"] *= 2
    file.path.write_text(json.dumps(said))

    with pytest.raises(BadConfig, match="two nodes with one name"):
        file.members()


def _add(path: Path, name: str) -> None:
    MembersFile(path).add(name, host="10.0.0.1", port=443)


def test_nodes_that_are_added_at_once_are_all_there(file: MembersFile) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(file.path, f"n{n}")) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert {one.name for one in file.members()} == {f"n{n}" for n in range(6)}
    assert len({one.number for one in file.members()}) == 6
