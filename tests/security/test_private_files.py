"""What umad keeps is its user's alone, whatever the umask; what others may write is not read."""

import asyncio
import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live import live_daemon
from umad.configuration.sources import load
from umad.daemon.bandwidth import BandwidthMemory
from umad.daemon.scorecard_log import _append
from umad.engine.steps.cost_file import CostFile
from umad.errors import BadConfig
from umad.gateway.door.keys import read_keys
from umad.private_file import append_own, own_folder, read_named, read_own, write_own
from umad.request import GenerateRequest, SamplingParams

KEY = "sk-0123456789abcdef"
NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files away, which root can")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "my keys"
    path.write_text(KEY)
    path.chmod(0o600)
    return path


# -- secrets --------------------------------------------------------------------------------------


def test_a_key_file_of_ones_own_is_read(keys: Path) -> None:
    assert read_keys(keys).caller(KEY).name == "key-1"


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620, 0o602, 0o666, 0o777])
def test_a_key_file_that_others_may_read_or_write_is_refused_with_what_mends_it(
    bits: int, keys: Path
) -> None:
    keys.chmod(bits)

    with pytest.raises(BadConfig) as caught:
        read_keys(keys)

    assert f"chmod 600 '{keys}'" in caught.value.message or "chmod go-w" in caught.value.message
    assert KEY not in caught.value.message


def test_a_link_to_one_is_as_good_as_what_it_leads_to(keys: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(keys)
    assert read_keys(link).caller(KEY).name == "key-1"

    keys.chmod(0o644)
    with pytest.raises(BadConfig, match="others may read it"):
        read_keys(link)


@as_root
def test_a_key_file_or_a_link_of_another_user_is_refused(keys: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(keys)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(BadConfig, match="belongs to another user"):
        read_keys(link)

    os.chown(keys, NOBODY, NOBODY)
    with pytest.raises(BadConfig, match="belongs to another user"):
        read_keys(keys)


def test_keys_through_a_pipe_need_no_mode() -> None:
    reading, writing = os.pipe()
    os.write(writing, KEY.encode())
    os.close(writing)

    assert read_keys(Path(f"/dev/fd/{reading}")).caller(KEY).name == "key-1"
    os.close(reading)


def test_serving_with_an_open_key_file_ends_in_one_line(keys: Path, short_tmp_path: Path) -> None:
    keys.chmod(0o644)
    command = [sys.executable, "-m", "umad", "serve", f"--socket={short_tmp_path}/u.sock"]
    command += ["--http=127.0.0.1:0", f"--api-key-file={keys}"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert f"chmod 600 '{keys}'" in ended.stderr


@pytest.mark.parametrize("bits", [0o606, 0o602, 0o666])
def test_a_configuration_that_others_may_write_is_refused(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "umad.yaml"
    path.write_text("latency_cap: 1.5\n")
    path.chmod(0o644)
    assert load(environ={}, path=path).settings.latency_cap == 1.5

    path.chmod(bits)
    with pytest.raises(BadConfig, match="others may write to it: chmod go-w"):
        load(environ={}, path=path)


# -- what umad writes -----------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_what_is_written_is_closed_to_others_whatever_the_umask(mask: int, tmp_path: Path) -> None:
    with umask(mask):
        write_own(tmp_path / "cache" / "umad" / "costs.json", b"{}")
        append_own(tmp_path / "scores.csv", b"row")

    assert mode(tmp_path / "cache") == 0o700
    assert mode(tmp_path / "cache" / "umad") == 0o700
    assert mode(tmp_path / "cache" / "umad" / "costs.json") == 0o600
    assert mode(tmp_path / "scores.csv") == 0o600


def test_a_daemon_leaves_nothing_that_others_may_read(short_tmp_path: Path) -> None:
    """With everything on that writes: costs, bandwidth, sessions, scorecard, stored responses."""
    flags = [
        f"--session-dir={short_tmp_path}/sessions",
        f"--logging-scorecard-csv={short_tmp_path}/scores.csv",
        "--http=127.0.0.1:0",
        f"--gateway-store={short_tmp_path}/responses.db",
    ]
    environment = {"XDG_CACHE_HOME": str(short_tmp_path / "cache")}
    request = GenerateRequest(
        prompt="def f():\n" * 40, session="s", sampling=SamplingParams(max_tokens=64)
    )

    (short_tmp_path / "none.yaml").touch(mode=0o600)  # its configuration

    with umask(0), live_daemon(short_tmp_path, *flags, environment=environment) as daemon:

        async def run() -> None:
            async with daemon.client() as client:
                async for _ in client.generate(request):
                    pass

        asyncio.run(run())
        sockets = [path for path in short_tmp_path.iterdir() if path.is_socket()]
        assert [mode(path) for path in sockets] == [0o600]
        daemon.stop()

    made = [path for path in short_tmp_path.rglob("*") if path.name != "none.yaml"]
    assert {path.suffix for path in made} >= {".json", ".kv", ".csv", ".lock"}
    assert {str(path): oct(mode(path)) for path in made if mode(path) & 0o077} == {}


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    (tmp_path / "costs.json").symlink_to(precious)
    (tmp_path / f"costs.json.{os.getpid()}.half").symlink_to(precious)

    write_own(tmp_path / "costs.json", b"{}")

    assert precious.read_text() == "years of work"
    assert (tmp_path / "costs.json").read_text() == "{}"


@as_root
def test_a_folder_of_another_user_is_not_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "umad"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)

    with pytest.raises(PermissionError):
        write_own(folder / "costs.json", b"{}")
    with pytest.raises(PermissionError):
        own_folder(folder)


@as_root
def test_a_scorecard_is_not_added_to_a_file_that_somebody_else_put_there(tmp_path: Path) -> None:
    planted = tmp_path / "scores.csv"
    planted.touch()
    os.chown(planted, NOBODY, NOBODY)

    with pytest.raises(PermissionError):
        _append(planted, "row")

    assert planted.read_bytes() == b""


# -- what umad reads back -------------------------------------------------------------------------


def costs(path: Path) -> object:
    return CostFile(path.parent, "about").read()


def bandwidth(path: Path) -> object:
    return BandwidthMemory(path, "machine", lambda: None).known()


Read = Callable[[Path], object]
READERS = pytest.mark.parametrize("read", [costs, bandwidth])


def file_of(read: Read, folder: Path) -> Path:
    if read is bandwidth:
        return folder / "bandwidth.json"
    return CostFile(folder, "about")._path


@READERS
@pytest.mark.parametrize(
    "text",
    [
        "[" * 60_000,
        '{"a":' * 10_000,
        '{"machine": 1e400}',
        '{"machine": Infinity}',
        '{"machine": NaN}',
        '{"machine": -1}',
        '{"machine": 1' + "0" * 400 + "}",
        '{"machine": 1' + "0" * 5000 + "}",
        '{"machine": {}}',
        '{"machine": [1]}',
        "\x00",
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
        "7",
        json.dumps({"version": 4, "about": "about", "costs": {"a": [[[1e308, 1]], 1e308]}}),
    ],
)
def test_a_cache_that_says_anything_at_all_costs_a_measurement_and_no_start(
    read: Read, text: str, tmp_path: Path
) -> None:
    path = file_of(read, tmp_path)
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)

    assert read(path) is None


@READERS
def test_a_cache_that_is_a_pipe_keeps_nobody_waiting(read: Read, tmp_path: Path) -> None:
    path = file_of(read, tmp_path)
    os.mkfifo(path, 0o600)
    found: list[object] = []

    reading = threading.Thread(target=lambda: found.append(read(path)), daemon=True)
    reading.start()
    reading.join(60)

    assert found == [None]


@pytest.mark.parametrize("read", [read_own, read_named])
def test_what_others_may_write_is_not_read(
    read: Callable[[Path, int], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "bandwidth.json"
    path.write_text('{"machine": 99}')
    path.chmod(0o606)

    with pytest.raises(PermissionError, match="others may write"):
        read(path, 100)
    path.chmod(0o600)
    assert read(path, 100) == b'{"machine": 99}'
