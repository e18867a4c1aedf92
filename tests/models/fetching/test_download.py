"""One file on its way: in parts, on from where it stopped, and right or not there at all."""

import hashlib
import json
import threading
from pathlib import Path

import httpx2
import pytest

from tests.models.fetching.conftest import random_bytes
from tests.models.fetching.one_file import FILE, REPOSITORY, download, patient, remote_of
from tests.models.fetching.waiting import StopHere, Watch, wait_until
from tests.models.loopback_hub import LoopbackHub
from umad.errors import AccessNeeded, DiskFull, FetchFailed
from umad.models.fetching import partial
from umad.models.fetching.checksum import Checksum
from umad.models.fetching.partial import PartialFile, data_path, marks_path, read_marks
from umad.models.fetching.progress import FetchProgress
from umad.models.fetching.remote import Interrupted, Ranges, RemoteFile

MIB = 2**20
DATA = random_bytes(6 * MIB + 12_345)


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """The file's name once it is whole, in a folder that nobody made yet."""
    return tmp_path / "blobs" / "whole"


@pytest.fixture
def filled(hub: LoopbackHub) -> LoopbackHub:
    """A hub that has `DATA`."""
    hub.add(REPOSITORY, {FILE: DATA})
    return hub


def stop_at(hub: LoopbackHub, final: Path, n_bytes: int) -> int:
    """Fetch about so many bytes, and end there as a user would. Returns how many were fetched."""

    def told(progress: FetchProgress) -> None:
        if progress.done_bytes >= n_bytes:
            hub.release()
            raise StopHere

    hub.hold_after(n_bytes)
    with pytest.raises(StopHere):
        download(remote_of(hub), final, on_progress=told)
    hub.seen.clear()
    left = read_marks(final)
    assert left is not None
    return left.done_bytes


def names(final: Path) -> set[str]:
    return {path.name for path in final.parent.iterdir()} - {f"{final.name}.lock"}


def asked(hub: LoopbackHub) -> int:
    return sum(end - start for start, end in hub.ranges())


def test_a_file_comes_in_several_ranges_at_once_and_is_whole(
    filled: LoopbackHub, final: Path
) -> None:
    # All four wait at once: none of them is sent more than its first bytes before all have asked.
    filled.hold_after(0)
    thread = threading.Thread(target=download, args=(remote_of(filled), final))
    thread.start()
    wait_until(lambda: len(filled.ranges()) == 4)

    filled.release()
    thread.join(timeout=60)

    assert final.read_bytes() == DATA
    assert names(final) == {"whole"}
    assert asked(filled) == len(DATA)


def test_a_download_that_was_stopped_asks_for_the_missing_bytes_only(
    filled: LoopbackHub, final: Path
) -> None:
    done_bytes = stop_at(filled, final, 3_000_000)
    assert not final.exists()

    download(remote_of(filled), final)

    assert final.read_bytes() == DATA
    assert asked(filled) == len(DATA) - done_bytes


def test_a_server_that_fails_for_good_leaves_what_came(filled: LoopbackHub, final: Path) -> None:
    done_bytes = stop_at(filled, final, 3_000_000)
    filled.statuses.extend([503] * 100)

    kept = r"answered 503 \(\d\.\d MB of 6\.3 MB are kept: the next pull goes on from there\)"
    with pytest.raises(FetchFailed, match=kept):
        download(remote_of(filled), final, limits=patient(tries=3))

    left = read_marks(final)
    assert left is not None
    assert left.done_bytes == done_bytes


def test_a_connection_that_breaks_again_and_again_gets_there(
    filled: LoopbackHub, final: Path
) -> None:
    filled.cut_after = 100_000

    download(remote_of(filled), final)

    assert final.read_bytes() == DATA
    assert len(filled.ranges()) > len(DATA) // 100_000


def test_one_wrong_byte_is_refused_and_nothing_is_left_of_the_file(
    filled: LoopbackHub, final: Path
) -> None:
    filled.corrupt_at = 4 * MIB + 7

    with pytest.raises(FetchFailed, match=r"came damaged from 127.0.0.1"):
        download(remote_of(filled), final)

    assert names(final) == set()


def test_a_wrong_byte_of_an_earlier_run_is_found_too(filled: LoopbackHub, final: Path) -> None:
    stop_at(filled, final, 300_000)
    with open(data_path(final), "r+b") as file:
        file.write(b"\0\0\0\0")

    with pytest.raises(FetchFailed, match=r"came damaged"):
        download(remote_of(filled), final)
    download(remote_of(filled), final)

    assert final.read_bytes() == DATA


def test_a_server_that_knows_no_ranges_sends_all_of_it_once(
    filled: LoopbackHub, final: Path
) -> None:
    filled.knows_ranges = False

    download(remote_of(filled), final)

    assert final.read_bytes() == DATA
    # Each thread asks once; the others hang up, and what lay in their sockets was for nothing.
    assert len(filled.ranges()) <= 4
    assert filled.sent_bytes < 3 * len(DATA)


def test_a_server_without_ranges_that_breaks_off_does_not_undo_what_is_there(
    filled: LoopbackHub, final: Path
) -> None:
    filled.knows_ranges = False
    filled.cut_after = 2_500_000
    with pytest.raises(FetchFailed, match=r"2\.5 MB of 6\.3 MB are kept"):
        download(remote_of(filled), final, limits=patient(tries=2))
    filled.cut_after = None

    download(remote_of(filled), final)

    assert final.read_bytes() == DATA


def test_a_range_that_begins_elsewhere_is_not_written(filled: LoopbackHub, final: Path) -> None:
    filled.shift = 1

    with pytest.raises(FetchFailed, match=r"sent another range than was asked for"):
        download(remote_of(filled), final, limits=patient(tries=2))

    left = read_marks(final)
    assert left is None or left.done_bytes == 0


@pytest.mark.parametrize("says_bytes", [len(DATA) - 1, len(DATA) + 1])
def test_a_file_that_has_another_length_at_the_storage_is_refused(
    filled: LoopbackHub, final: Path, says_bytes: int
) -> None:
    filled.says_bytes = says_bytes

    with pytest.raises(FetchFailed, match=r"was changed at 127.0.0.1:.* while it was fetched"):
        download(remote_of(filled), final)

    assert not final.exists()


def test_a_file_that_is_another_one_since_the_last_run_is_fetched_anew(
    filled: LoopbackHub, final: Path
) -> None:
    stop_at(filled, final, 300_000)
    longer = random_bytes(7 * MIB, seed=2)
    filled.add(REPOSITORY, {FILE: longer})

    download(remote_of(filled), final)

    assert final.read_bytes() == longer


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_for_a_while_is_asked_again(
    filled: LoopbackHub, final: Path, status: int
) -> None:
    filled.statuses.extend([status] * 3)

    download(remote_of(filled), final)

    assert final.read_bytes() == DATA


def test_a_server_that_says_how_long_it_is_busy_is_left_alone_for_so_long(
    filled: LoopbackHub,
) -> None:
    filled.statuses.extend([429, 503])
    filled.retry_after = "7"

    with httpx2.Client() as client:
        ranges = Ranges(client, remote_of(filled), silence_s=20.0)
        with pytest.raises(Interrupted) as caught, ranges.open(0, 10):
            pass
        filled.retry_after = "86400"
        with pytest.raises(Interrupted) as for_a_day, ranges.open(0, 10):
            pass

    assert caught.value.wait_s == 7.0
    assert for_a_day.value.wait_s == 120.0


def test_a_signed_address_whose_time_is_over_is_replaced(filled: LoopbackHub, final: Path) -> None:
    filled.signed_for = 2

    download(remote_of(filled), final)

    assert final.read_bytes() == DATA
    assert len([one for one in filled.seen if one.by == "hub"]) > 2


def test_the_token_goes_to_the_hub_and_never_to_its_storage(
    filled: LoopbackHub, final: Path
) -> None:
    filled.repositories[REPOSITORY].gated = True

    download(remote_of(filled, token=filled.token), final)

    assert {one.token for one in filled.seen if one.by == "hub"} == {f"Bearer {filled.token}"}
    assert {one.token for one in filled.seen if one.by == "storage"} == {None}
    assert filled.token not in repr(remote_of(filled, token=filled.token))


@pytest.mark.parametrize("location", ["http://[half", "http://h:port/x", "http://h:99999/x"])
def test_a_redirect_to_what_is_no_address_is_one_line(location: str) -> None:
    def sends_on(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(302, headers={"Location": location})

    file = RemoteFile(
        name="a.gguf",
        url="https://hub.example/a.gguf",
        size_bytes=8,
        checksum=Checksum(kind="sha256", digits="0" * 64),
        token="hf_x",
    )
    with httpx2.Client(transport=httpx2.MockTransport(sends_on)) as client:
        ranges = Ranges(client, file, silence_s=1.0)

        with pytest.raises(FetchFailed, match=r"a\.gguf cannot be fetched"), ranges.open(0, 8):
            pass


def test_a_storage_that_wants_a_token_is_told_to_the_user(filled: LoopbackHub, final: Path) -> None:
    filled.repositories[REPOSITORY].gated = True

    with pytest.raises(AccessNeeded, match=r"HF_TOKEN"):
        download(remote_of(filled), final)


def test_a_bandwidth_limit_holds_for_all_parts_together(filled: LoopbackHub, final: Path) -> None:
    watch = Watch(least_s=1.0, least_bytes=MIB // 2)

    with pytest.raises(StopHere):
        download(remote_of(filled), final, limits=patient(bytes_per_s=2 * MIB), on_progress=watch)

    # Each part may have read one piece of its socket ahead.
    assert watch.n_bytes < 2 * MIB * watch.took_s + MIB


def test_progress_is_told_from_what_was_there_to_the_whole(
    filled: LoopbackHub, final: Path
) -> None:
    stop_at(filled, final, 300_000)
    told: list[FetchProgress] = []

    download(remote_of(filled), final, on_progress=told.append)

    assert told[0].done_bytes >= 300_000
    assert [one.done_bytes for one in told] == sorted(one.done_bytes for one in told)
    assert (told[-1].done_bytes, told[-1].remaining_s) == (len(DATA), 0.0)


def test_a_disk_without_room_is_refused_before_a_byte_is_asked_for(
    filled: LoopbackHub, final: Path
) -> None:
    with pytest.raises(DiskFull, match=r"needs 6\.3 MB more on the disk of .* stay free"):
        download(remote_of(filled), final, limits=patient(keep_free_bytes=2**60))

    assert filled.seen == []
    assert not final.exists()


def test_a_folder_that_cannot_be_written_is_one_line(filled: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(FetchFailed, match=r"cannot be written"):
        download(remote_of(filled), tmp_path / "file" / "whole")


def test_a_file_that_is_there_is_not_fetched_again(filled: LoopbackHub, final: Path) -> None:
    download(remote_of(filled), final)
    filled.seen.clear()

    download(remote_of(filled), final)

    assert filled.seen == []


def test_an_empty_file_is_whole(hub: LoopbackHub, final: Path) -> None:
    hub.add(REPOSITORY, {FILE: b""})

    download(remote_of(hub), final)

    assert final.read_bytes() == b""


# -- marks -----------------------------------------------------------------------------------------


def opened(final: Path, data: bytes = DATA, piece_bytes: int = MIB) -> PartialFile:
    final.parent.mkdir(exist_ok=True)
    return PartialFile.open(
        final,
        checksum=Checksum(kind="sha256", digits=hashlib.sha256(data).hexdigest()),
        size_bytes=len(data),
        piece_bytes=piece_bytes,
        file=FILE,
    )


def test_after_a_loss_of_power_only_what_the_disk_has_is_believed(
    final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(final)
    first.write(0, DATA[: MIB // 2])
    first.settle()
    first.write(MIB // 2, DATA[MIB // 2 : MIB + 100])
    first.close()
    monkeypatch.setattr(partial, "boot_s", lambda: 12_345)

    again = opened(final)

    assert again.done_bytes == MIB // 2
    assert again.gap(1) == (MIB, 2 * MIB)
    again.close()


def test_marks_keep_the_pieces_they_were_made_with(final: Path) -> None:
    first = opened(final, piece_bytes=MIB)
    first.write(2 * MIB, DATA[2 * MIB : 3 * MIB])
    first.close()

    again = opened(final, piece_bytes=64 * MIB)

    assert again.done_bytes == MIB
    assert again.gap(2) == (3 * MIB, 3 * MIB)
    again.close()


@pytest.mark.parametrize(
    "damage", [b"", b"not json", b'{"version": 2}', b"[]", b'{"version": 1, "size_bytes": -1}']
)
def test_marks_that_make_no_sense_start_the_file_over(final: Path, damage: bytes) -> None:
    first = opened(final)
    first.write(0, DATA[:MIB])
    first.close()
    marks_path(final).write_bytes(damage)

    again = opened(final)

    assert again.done_bytes == 0
    again.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("size_bytes", "x"), ("piece_bytes", 1.5), ("piece_bytes", 0), ("boot_s", None), ("pid", [1])],
)
def test_marks_of_another_kind_start_the_file_over(final: Path, field: str, value: object) -> None:
    first = opened(final)
    first.write(0, DATA[:MIB])
    first.close()
    page = marks_path(final).read_bytes()
    said = json.loads(page[:4096].rstrip(b"\0")) | {field: value}
    marks_path(final).write_bytes(json.dumps(said).encode().ljust(4096, b"\0") + page[4096:])

    again = opened(final)

    assert again.done_bytes == 0
    again.close()


def test_bytes_that_somebody_removed_are_fetched_again(final: Path) -> None:
    first = opened(final)
    first.write(0, DATA[:MIB])
    first.close()
    data_path(final).unlink()

    again = opened(final)

    assert again.done_bytes == 0
    again.close()


def test_a_gap_is_never_written_over(final: Path) -> None:
    first = opened(final)

    with pytest.raises(ValueError, match=r"were left out"):
        first.write(10, b"late")

    first.close()
