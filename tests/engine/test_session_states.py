"""Files that hold states of a model beside its cells, or states alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from umad.engine.sessions.file import (
    BadSessionFile,
    Slab,
    StateAt,
    file_bytes,
    read_head,
    read_slabs,
    read_state,
    write,
)
from umad.engine.sessions.folder import SessionFolder, mark_of

ABOUT = {"format": 2, "model": "a", "slab": [4, 40], "state": [64, True]}
TOKENS = np.arange(9, dtype=np.int32)
ROOM = 64

parts = st.binary(min_size=1, max_size=40)
# A conversation of so many tokens, its slabs, and its states by their places.
conversations = st.integers(1, 30).flatmap(
    lambda n_tokens: st.tuples(
        st.just(n_tokens),
        st.lists(parts, max_size=min(4, n_tokens)),
        st.dictionaries(st.integers(1, n_tokens), parts, max_size=4),
    )
)


def part(data: bytes) -> Slab:
    memory = np.full(ROOM, 0xEE, np.uint8)
    memory[: len(data)] = np.frombuffer(data, np.uint8)
    return memory, len(data)


def content(slab: Slab) -> bytes:
    return slab[0][: slab[1]].tobytes()


def room() -> NDArray[np.uint8]:
    return np.zeros(ROOM, np.uint8)


def states_of(states: dict[int, bytes]) -> list[StateAt]:
    return [(place, part(states[place])) for place in sorted(states)]


def save(path: Path, n_tokens: int, slabs: list[bytes], states: dict[int, bytes]) -> bytes:
    tokens = np.arange(n_tokens, dtype=np.int32)
    cells, taken = [part(data) for data in slabs], states_of(states)
    with path.open("wb") as file:
        write(file, about=ABOUT, session="chat", tokens=tokens, slabs=cells, states=taken)
    data = path.read_bytes()
    assert len(data) == file_bytes(
        about=ABOUT, session="chat", n_tokens=n_tokens, slabs=cells, states=taken
    )
    return data


def read_all(path: Path) -> tuple[list[bytes], dict[int, bytes]]:
    with path.open("rb") as file:
        head = read_head(file, ABOUT)
        slabs = read_slabs(file, head, [room() for _ in head.slabs])
        states = {place: content(read_state(file, head, place, room())) for place in head.states}
    return [content(slab) for slab in slabs], states


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("file") / "one"


@given(conversations)
def test_what_was_written_is_read(
    path: Path, conversation: tuple[int, list[bytes], dict[int, bytes]]
) -> None:
    n_tokens, slabs, states = conversation
    save(path, n_tokens, slabs, states)

    assert read_all(path) == (slabs, states)


@given(conversations, st.data())
def test_each_state_can_be_read_without_the_others(
    path: Path, conversation: tuple[int, list[bytes], dict[int, bytes]], data: st.DataObject
) -> None:
    n_tokens, slabs, states = conversation
    save(path, n_tokens, slabs, states)
    place = data.draw(st.integers(1, n_tokens + 1))

    with path.open("rb") as file:
        head = read_head(file, ABOUT)
        if place in states:
            assert content(read_state(file, head, place, room())) == states[place]
        else:
            with pytest.raises(BadSessionFile, match="no state of the place"):
                read_state(file, head, place, room())


@given(conversations, st.data())
def test_no_file_that_differs_from_what_was_written_is_read(
    path: Path, conversation: tuple[int, list[bytes], dict[int, bytes]], data: st.DataObject
) -> None:
    whole = save(path, *conversation)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                whole[:at],
                whole + b"\0",
                whole[:at] + whole[at + 1 :],
                whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :],
                whole[:at] + whole[at:] + whole[at:],
            ]
        )
    )
    path.write_bytes(changed)

    with pytest.raises(BadSessionFile):
        read_all(path)


def test_no_flipped_bit_goes_unnoticed(path: Path) -> None:
    whole = save(path, 9, [b"cells", b"more"], {4: b"before", 9: b"after"})

    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(BadSessionFile):
            read_all(path)


def test_a_state_does_not_pass_for_one_of_another_place_or_another_file(path: Path) -> None:
    ours = save(path, 9, [b"cells"], {4: b"four", 9: b"nine"})
    theirs = save(path, 9, [b"cells"], {4: b"four", 9: b"NINE"})
    swapped = ours[:-8] + b"ninefour"
    # Five bytes of cells and eight of states; before them the digest of what is before, which is
    # ours, and before that the digests of the three parts, which are theirs.
    with_digests = ours[:-77] + theirs[-77:-29] + ours[-29:-13] + theirs[-13:]

    for mixed in (swapped, ours[:-4] + theirs[-4:], with_digests):
        path.write_bytes(mixed)
        with pytest.raises(BadSessionFile, match="damaged"):
            read_all(path)


def test_a_state_that_is_larger_than_its_memory_is_refused(path: Path) -> None:
    save(path, 9, [], {9: b"twenty bytes of state"})

    with path.open("rb") as file:
        head = read_head(file, ABOUT)
        with pytest.raises(BadSessionFile, match="another size"):
            read_state(file, head, 9, np.zeros(20, np.uint8))


# -- folders ---------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def opened(root: Path) -> SessionFolder:
    return SessionFolder(root, model=Path("m.gguf"), about=ABOUT, most_bytes=1 << 30)


@pytest.fixture
def folder(root: Path) -> Iterator[SessionFolder]:
    made = opened(root)
    yield made
    made.close()


def keep(folder: SessionFolder, session: str = "chat") -> None:
    n_bytes, _ = folder.write(
        session, TOKENS, [part(b"a"), part(b"b")], states_of({4: b"four", 9: b"nine"})
    )
    assert n_bytes


def read(folder: SessionFolder, *places: int, n_slabs: int = 2) -> list[bytes] | None:
    memories = [room() for _ in range(n_slabs)]
    found = folder.read("chat", TOKENS, memories, [(place, room()) for place in places])
    return None if found is None else [content(one) for one in found]


def test_a_folder_tells_the_places_of_the_states_and_reads_those_asked_for(root: Path) -> None:
    before = opened(root)
    keep(before)
    before.close()

    after = opened(root)

    assert after.found["chat"].tolist() == TOKENS.tolist()
    assert after.found_states == {"chat": (4, 9)}
    assert read(after, 9) == [b"a", b"b", b"nine"]
    assert read(after, 4, n_slabs=1) == [b"a", b"four"]
    after.close()


def test_a_model_of_states_alone_has_files_without_cells(folder: SessionFolder) -> None:
    folder.write("chat", TOKENS, [], states_of({9: b"nine"}))

    assert read(folder, 9, n_slabs=0) == [b"nine"]


def test_a_file_without_the_state_that_was_asked_for_is_removed(folder: SessionFolder) -> None:
    keep(folder)

    assert read(folder, 5) is None
    assert not list(folder.path.glob("*.kv"))


# -- a file that may end its engine ----------------------------------------------------------------


def crash(folder: SessionFolder) -> None:
    """The engine ends as by `kill -9`: nothing of the folder is tidied up."""
    folder.close()


def marks(folder: SessionFolder) -> list[Path]:
    return list(folder.path.glob("*.tried"))


def test_a_file_whose_engine_ended_while_it_was_put_back_is_not_tried_again(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = opened(root)
    keep(before)
    keep(before, "other")
    before.try_out("chat")
    crash(before)

    after = opened(root)

    assert after.found.keys() == {"other"}
    assert caplog.text.count("was being put back when the engine ended") == 1
    assert len(list(after.path.glob("*.kv"))) == 1
    assert not marks(after)
    after.close()


def test_a_file_that_a_step_has_run_on_is_there_for_the_next_engine(root: Path) -> None:
    before = opened(root)
    keep(before)
    before.try_out("chat")
    before.passed("chat")
    crash(before)

    after = opened(root)

    assert after.found.keys() == {"chat"}
    after.close()


def test_the_mark_of_a_file_is_not_held_against_the_next_one_of_its_name(root: Path) -> None:
    before = opened(root)
    keep(before)
    before.try_out("chat")
    keep(before)
    crash(before)

    after = opened(root)

    assert after.found.keys() == {"chat"}
    after.close()


def test_what_could_not_be_put_back_or_is_forgotten_leaves_nothing(folder: SessionFolder) -> None:
    for end in (folder.failed, folder.forget):
        keep(folder)
        folder.try_out("chat")

        end("chat")

        assert not list(folder.path.glob("*.kv"))
        assert not marks(folder)


def test_a_mark_without_a_file_is_swept_away_and_one_that_is_no_file_stops_nobody(
    root: Path,
) -> None:
    before = opened(root)
    before.try_out("gone")
    (before.path / "folder.tried").mkdir()
    (before.path / "link.tried").symlink_to(root / "outside")
    crash(before)

    after = opened(root)

    assert after.found == {}
    assert [mark.name for mark in marks(after)] == ["folder.tried"]
    after.close()


def test_a_mark_is_no_way_to_a_file_elsewhere(folder: SessionFolder, root: Path) -> None:
    keep(folder)
    outside = root / "outside"
    (path,) = folder.path.glob("*.kv")
    mark_of(path).symlink_to(outside)

    with pytest.raises(OSError, match=r".tried"):
        folder.try_out("chat")

    assert not outside.exists()
