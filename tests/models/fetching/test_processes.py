"""`umad pull` as real processes: killed, two at once, interrupted, and on a disk that fills up."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.models.fetching.conftest import random_bytes
from tests.models.fetching.one_file import FILE, REPOSITORY, download, patient, remote_of
from tests.models.fetching.waiting import wait_until
from tests.models.gguf_bytes import gguf
from tests.models.loopback_hub import LoopbackHub
from umad.errors import DiskFull, FetchFailed
from umad.models.fetching.partial import read_marks
from umad.models.files import ModelFiles
from umad.models.verifying import verify

# One after the other, processes begin slowly on a crowded machine.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[3]
REFERENCE = f"hf:{REPOSITORY}"
MIB = 2**20
_FILLING = 8 * MIB
DATA = gguf(
    {"general.architecture": "llama", "llama.block_count": 1},
    [("token_embd.weight", (64, 32_768), 0, _FILLING)],
)[:-_FILLING] + random_bytes(_FILLING)


@pytest.fixture
def filled(hub: LoopbackHub) -> LoopbackHub:
    hub.add(REPOSITORY, {FILE: DATA})
    return hub


@pytest.fixture
def final(filled: LoopbackHub, cache: Path) -> Path:
    """The blob, when it is whole."""
    folder = cache / f"models--{REPOSITORY.replace('/', '--')}"
    return folder / "blobs" / filled.repositories[REPOSITORY].etag(FILE)


@contextlib.contextmanager
def umad(
    hub: LoopbackHub, cache: Path, *words: str, **more: str
) -> Iterator[subprocess.Popen[str]]:
    """A command; it is gone when the block is left. more: variables."""
    own = ("HF_", "UMAD_", "HUGGINGFACE_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    home = cache.parent / "home"
    home.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-m", "umad", *words],
        env=clean
        | {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "UMAD_MODELS": str(cache.parent / "store"),
            "UMAD_SOCKET": str(cache.parent / "none.sock"),
        }
        | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def done_bytes(final: Path) -> int:
    marks = read_marks(final)
    return 0 if marks is None else marks.done_bytes


def has_come(final: Path, n_bytes: int, child: subprocess.Popen[str]) -> bool:
    """Whether a process has fetched so much, or has ended."""
    return done_bytes(final) >= n_bytes or child.poll() is not None


def asked(hub: LoopbackHub) -> int:
    return sum(end - start for start, end in hub.ranges())


def gaps(final: Path) -> set[int] | None:
    """Where the missing bytes of each piece begin; None where all are missing."""
    marks = read_marks(final)
    if marks is None:
        return None
    return {
        number * marks.piece_bytes + written for number, (written, _) in enumerate(marks.pieces)
    }


def test_killed_five_times_it_ends_whole_and_asks_for_no_byte_twice(
    filled: LoopbackHub, cache: Path, final: Path
) -> None:
    for _ in range(5):
        before, there = done_bytes(final), gaps(final)
        upto = before + (len(DATA) - before) * 4 // 10
        filled.seen.clear()
        filled.hold_after(upto - before)
        with umad(filled, cache, "pull", REFERENCE) as child:
            wait_until(partial(has_come, final, upto, child))
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=60)
            assert child.stderr is not None
            assert child.returncode == -signal.SIGKILL, child.stderr.read()
        assert there is None or {start for start, _ in filled.ranges()} <= there
        assert not final.exists()
        # Before more is sent, which would go to the dead process.
        filled.settle()
        filled.release()
    missing = len(DATA) - done_bytes(final)
    assert missing < len(DATA) // 10
    filled.seen.clear()

    with umad(filled, cache, "pull", REFERENCE) as child:
        said, told = child.communicate(timeout=60)

    assert child.returncode == 0, told
    assert said.startswith("repo-Q4_K_M is here: 8.4 MB, F32, ")
    assert asked(filled) == missing
    pointer = next((final.parents[1] / "snapshots").rglob(FILE))
    looked = list(verify(ModelFiles(parts=(pointer,)), {}))
    assert [(one.by, one.problem) for one in looked] == [("bytes", "")]
    assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_two_pulls_at_once_are_one_and_the_second_goes_on_when_the_first_dies(
    filled: LoopbackHub, cache: Path, final: Path
) -> None:
    # Less than a piece, so that the first one asks for nothing more while it waits.
    came = 600_000
    filled.hold_after(came)
    with umad(filled, cache, "pull", REFERENCE) as first:
        wait_until(lambda: done_bytes(final) >= came and len(filled.ranges()) == 4)
        filled.seen.clear()
        with umad(filled, cache, "pull", REFERENCE) as second:
            # It has asked the hub for the file's sum, and now finds the lock taken.
            wait_until(lambda: "HEAD" in [one.method for one in filled.seen])
            first.kill()
            first.wait(timeout=60)
            wait_until(lambda: len(filled.ranges()) == 4)
            filled.release()
            said, told = second.communicate(timeout=60)

    assert second.returncode == 0, told
    assert "is here" in said
    assert asked(filled) == len(DATA) - came
    assert final.read_bytes() == DATA


def test_the_second_of_two_pulls_waits_and_fetches_nothing(
    filled: LoopbackHub, tmp_path: Path
) -> None:
    final = tmp_path / "whole"
    filled.hold_after(len(DATA) // 2)
    told: list[int] = []
    first = threading.Thread(target=download, args=(remote_of(filled), final))
    first.start()
    wait_until(lambda: done_bytes(final) >= len(DATA) // 2)
    second = threading.Thread(
        target=download,
        args=(remote_of(filled), final),
        kwargs={"on_progress": lambda progress: told.append(progress.done_bytes)},
    )
    second.start()
    # It tells how far the first one is.
    wait_until(lambda: bool(told))

    filled.release()
    first.join(timeout=60)
    second.join(timeout=60)

    assert told[0] == len(DATA) // 2
    assert told[-1] == len(DATA)
    assert asked(filled) == len(DATA)


def test_a_pull_that_hangs_is_named_to_whoever_waits_for_it(
    filled: LoopbackHub, tmp_path: Path
) -> None:
    final = tmp_path / "whole"
    filled.hold_after(MIB)
    first = threading.Thread(target=download, args=(remote_of(filled), final))
    first.start()
    wait_until(lambda: done_bytes(final) >= MIB)

    with pytest.raises(FetchFailed, match=f"process {os.getpid()} fetches .* got nothing for 0 s"):
        download(remote_of(filled), final, limits=patient(stall_s=0.2))

    filled.release()
    first.join(timeout=60)
    assert final.read_bytes() == DATA


def test_ctrl_c_says_how_to_go_on(filled: LoopbackHub, cache: Path, final: Path) -> None:
    filled.hold_after(len(DATA) // 2)
    with umad(filled, cache, "pull", REFERENCE) as child:
        wait_until(lambda: done_bytes(final) >= len(DATA) // 2)
        child.send_signal(signal.SIGINT)
        said, told = child.communicate(timeout=60)

    assert child.returncode == 130
    assert said == ""
    assert told.splitlines()[-1] == f"stopped: umad pull {REFERENCE} goes on from there"
    assert done_bytes(final) >= len(DATA) // 2


def test_offline_mode_of_the_hubs_client_is_obeyed(filled: LoopbackHub, cache: Path) -> None:
    with umad(filled, cache, "pull", REFERENCE, HF_HUB_OFFLINE="1") as child:
        said, told = child.communicate(timeout=60)

    assert (child.returncode, said) == (1, "")
    assert told == (
        f"umad: {REFERENCE} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it: "
        "unset it, and pull again\n"
    )
    assert filled.seen == []


# -- a disk that is full ---------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root of a Linux machine can mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_refused_before(filled: LoopbackHub, small_disk: Path) -> None:
    with pytest.raises(DiskFull, match=r"needs 8\.4 MB more on the disk of .* has 12\.6 MB free"):
        download(remote_of(filled), small_disk / "whole", limits=patient(keep_free_bytes=5 * MIB))

    assert filled.seen == []


@pytest.mark.parametrize("keep_free_bytes", [0, 2 * MIB])
def test_a_disk_that_others_fill_stops_it_and_it_goes_on_when_there_is_room(
    filled: LoopbackHub, small_disk: Path, keep_free_bytes: int
) -> None:
    final, others = small_disk / "whole", small_disk / "others"
    limits = patient(keep_free_bytes=keep_free_bytes)
    filled.hold_after(len(DATA) // 2)
    failed: list[BaseException] = []

    def fetched() -> None:
        try:
            download(remote_of(filled), final, limits=limits)
        except FetchFailed as error:
            failed.append(error)

    fetching = threading.Thread(target=fetched)
    fetching.start()
    wait_until(lambda: done_bytes(final) >= len(DATA) // 2)
    with contextlib.suppress(OSError), open(others, "wb", buffering=0) as file:
        while file.write(bytes(64 * 1024)):
            pass
    filled.release()
    fetching.join(timeout=60)

    assert isinstance(failed[0], DiskFull)
    assert "are kept: the next pull goes on from there" in str(failed[0])
    assert not final.exists()
    kept = done_bytes(final)
    assert kept >= len(DATA) // 2
    others.unlink()
    filled.seen.clear()
    download(remote_of(filled), final, limits=limits)
    assert final.read_bytes() == DATA
    assert asked(filled) == len(DATA) - kept
