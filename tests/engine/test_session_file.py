"""What a session file has to be before it is believed, and what a folder of them does."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.live import wait_until
from umad.engine.sessions.file import (
    BadSessionFile,
    Slab,
    file_bytes,
    read_head,
    read_slabs,
    write,
)
from umad.engine.sessions.folder import SessionFolder

ABOUT = {"format": 1, "model": "a", "slab": [4, 40]}
TOKENS = np.arange(7, dtype=np.int32)


def slabs(seed: int, n: int = 2, n_bytes: int = 33) -> list[Slab]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, 40 + n_bytes).astype(np.uint8), n_bytes) for _ in range(n)]


def memories(n: int, n_bytes: int = 40) -> list[NDArray[np.uint8]]:
    return [np.zeros(n_bytes, np.uint8) for _ in range(n)]


def contents(found: list[Slab]) -> list[bytes]:
    return [memory[:n_bytes].tobytes() for memory, n_bytes in found]


def saved(path: Path, seed: int = 1) -> bytes:
    with path.open("wb") as file:
        write(file, about=ABOUT, session="chat", tokens=TOKENS, slabs=slabs(seed))
    return path.read_bytes()


def read(path: Path) -> list[Slab]:
    with path.open("rb") as file:
        head = read_head(file, ABOUT)
        return read_slabs(file, head, memories(len(head.slabs)))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one"
    data = saved(path)

    with path.open("rb") as file:
        head = read_head(file, ABOUT)
        part = read_slabs(file, head, memories(1))

    assert (head.session, head.tokens.tolist()) == ("chat", TOKENS.tolist())
    assert contents(read(path)) == contents(slabs(1))
    assert contents(part) == contents(slabs(1))[:1]
    size = file_bytes(about=ABOUT, session="chat", n_tokens=TOKENS.size, slabs=slabs(1))
    assert size == len(data)


def test_no_flipped_bit_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "one"
    data = saved(path)

    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        with pytest.raises(BadSessionFile):
            read(path)


def test_no_file_that_is_cut_short_or_too_long_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one"
    data = saved(path)

    for n in (*range(len(data)), len(data) + 1):
        path.write_bytes((data + b"\0")[:n])
        with pytest.raises(BadSessionFile):
            read(path)


def test_a_slab_of_another_file_does_not_pass_for_its_own(tmp_path: Path) -> None:
    ours, theirs = saved(tmp_path / "ours", seed=1), saved(tmp_path / "theirs", seed=2)
    mixed = tmp_path / "mixed"
    mixed.write_bytes(ours[:-33] + theirs[-33:])  # the last slab

    with pytest.raises(BadSessionFile, match="damaged"):
        read(mixed)


def test_a_file_about_something_else_is_refused_by_the_name_of_what_differs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one"
    saved(path)

    for about, name in (({**ABOUT, "model": "b"}, "model"), ({**ABOUT, "new": 1}, "new")):
        with path.open("rb") as file, pytest.raises(BadSessionFile, match=f"another {name}$"):
            read_head(file, about)


# -- folders ---------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def opened(root: Path, *, model: str = "m.gguf", most_bytes: int = 1 << 30) -> SessionFolder:
    return SessionFolder(root, model=Path(model), about=ABOUT, most_bytes=most_bytes)


@pytest.fixture
def folder(root: Path) -> Iterator[SessionFolder]:
    made = opened(root)
    yield made
    made.close()


def keep(folder: SessionFolder, session: str, n_slabs: int = 2) -> tuple[int, list[str]]:
    return folder.write(session, TOKENS, slabs(1, n_slabs))


def test_when_the_folder_is_full_what_was_used_longest_ago_goes(root: Path) -> None:
    one_file = file_bytes(about=ABOUT, session="a", n_tokens=TOKENS.size, slabs=slabs(1))
    folder = opened(root, most_bytes=3 * one_file)
    for age, session in enumerate("abc"):
        keep(folder, session)
        (path,) = [one for one in folder.path.glob("*.kv") if one.stat().st_mtime > 10**6]
        os.utime(path, (age, age))
    assert folder.read("a", TOKENS, memories(2)) is not None

    n_bytes, evicted = keep(folder, "d")

    assert (n_bytes, evicted) == (one_file, ["b"])
    assert sum(path.stat().st_size for path in folder.path.glob("*.kv")) <= 3 * one_file
    assert keep(folder, "huge", n_slabs=90) == (0, [])
    folder.close()


def test_models_share_the_bound_and_the_longest_unused_goes_whoevers_it_is(root: Path) -> None:
    one_file = file_bytes(about=ABOUT, session="a", n_tokens=TOKENS.size, slabs=slabs(1))
    first = opened(root, model="first.gguf", most_bytes=one_file)
    second = opened(root, model="second.gguf", most_bytes=one_file)

    keep(first, "a")
    keep(second, "a")

    assert len(list(root.glob("*/*.kv"))) == 1
    assert first.read("a", TOKENS, memories(2)) is None
    assert second.read("a", TOKENS, memories(2)) is not None
    first.close()
    second.close()


def test_a_full_disk_is_a_line_in_the_log_and_the_old_file_stays(
    folder: SessionFolder, caplog: pytest.LogCaptureFixture
) -> None:
    keep(folder, "chat")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        outcome = keep(folder, "chat", n_slabs=50)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert outcome == (0, [])
    assert "a session cannot be saved" in caplog.text
    assert not list(folder.path.glob("*.half"))
    assert folder.read("chat", TOKENS, memories(2)) is not None


def test_a_folder_is_one_engines_at_a_time(
    folder: SessionFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umad.engine.sessions.folder._LOCK_S", 0.0)

    with pytest.raises(OSError, match="another engine"):
        opened(root)


WRITE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from umad.engine.sessions.folder import SessionFolder
folder = SessionFolder(Path(sys.argv[1]), model=Path("m.gguf"), about={about}, most_bytes=1 << 40)
memory = np.zeros(1 << 22, np.uint8)
print("ready", flush=True)
while True:
    folder.write("other", np.arange(5, dtype=np.int32), [(memory, memory.size)] * 64)
"""


def is_half_written(folder: Path) -> bool:
    for half in folder.glob("*.half"):
        with contextlib.suppress(FileNotFoundError):  # it got its name between the two looks
            if half.stat().st_size:
                return True
    return False


def test_a_kill_in_the_middle_of_a_save_leaves_whole_files_alone(root: Path) -> None:
    before = opened(root)
    keep(before, "chat")
    before.close()
    code = WRITE_FOR_EVER.format(about=ABOUT)
    writer = subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    wait_until(lambda: is_half_written(before.path), what="a save")

    writer.send_signal(signal.SIGKILL)
    writer.wait(60)
    writer.stdout.close()
    after = opened(root)

    assert "chat" in after.found
    assert after.found.keys() <= {"chat", "other"}
    for session, tokens in after.found.items():
        n_slabs = 2 if session == "chat" else 64
        n_bytes = 40 if session == "chat" else 1 << 22
        assert after.read(session, tokens, memories(n_slabs, n_bytes)) is not None
    assert not list(after.path.glob("*.half"))
    after.close()
