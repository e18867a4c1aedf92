"""What is forgotten is gone from memory and from disk, and nobody else's goes with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon, wait_until
from umad import Client, Done, GenerateRequest, SamplingParams, UnknownRequest
from umad.asker import MACHINE_USER, Asker
from umad.client.logits import LogitsRow, read_logits
from umad.daemon.authority import session_key
from umad.engine.sessions.folder import file_name
from umad.service import GenerationEvent

SHORT = SamplingParams(temperature=0.0, max_tokens=4, ignore_eos=True)
TOKEN = 7
Items = Generator[GenerationEvent | LogitsRow, None, None]
KEY, OTHER = Asker(owner="key-a", role="user"), Asker(owner="key-b", role="user")


def story(which: int) -> tuple[int, ...]:
    return tuple(300 + (i * i * 31 + which * 7 + i) % 3000 for i in range(400))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sessions")


@pytest.fixture(scope="module")
def daemon(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    kept = ("--session-dir", str(folder))
    patience = {"UMAD_LIMITS_CHOICE_S": "100"}
    with live_daemon(tmp_path_factory.mktemp("d"), "nano", *kept, environment=patience) as running:
        yield running


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.kv"))


def is_saved(folder: Path, session: str, asker: Asker = MACHINE_USER) -> bool:
    key = session_key(asker.owner, session)
    assert key is not None
    return any(folder.glob(f"*/{file_name(key)}"))


def wait_until_saved(folder: Path, *sessions: tuple[str, Asker]) -> None:
    wait_until(lambda: all(is_saved(folder, *one) for one in sessions), what="their files")


def cached(client: Client, which: int, session: str | None = None) -> int:
    """Of a turn of this story, tokens that were there already."""
    request = GenerateRequest(prompt_ids=story(which), sampling=SHORT, session=session)
    (done,) = [event for event in client.generate(request) if isinstance(event, Done)]
    return done.usage.cached_tokens


def begun(client: Client, which: int, session: str) -> tuple[Items, LogitsRow]:
    """A turn of this story that has a token and waits for the next one to be chosen from the row
    that is returned with it: it is in use for as long as the test wants.
    """
    request = GenerateRequest(
        prompt_ids=story(which), sampling=SHORT, session=session, logits="choose"
    )
    items = read_logits(client, request)
    rows = (item for item in items if isinstance(item, LogitsRow))
    next(rows).choose(TOKEN)
    return items, next(rows)


def end_of(items: Items) -> Done:
    """How such a turn ends, with its next tokens chosen."""
    ends = []
    for item in items:
        if isinstance(item, LogitsRow):
            item.choose(TOKEN)
        elif isinstance(item, Done):
            ends.append(item)
    (done,) = ends
    return done


def forget(daemon: LiveDaemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "umad", "forget", *arguments, "--socket", str(daemon.socket)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_session_is_forgotten_in_memory_and_on_disk(daemon: LiveDaemon, folder: Path) -> None:
    with Client(daemon.socket) as client:
        cached(client, 1, "diary")
        assert cached(client, 1, "diary") > 0
        cached(client, 2, "other")
        wait_until_saved(folder, ("diary", MACHINE_USER), ("other", MACHINE_USER))

        gone = client.forget("diary")

        assert not is_saved(folder, "diary"), "its file is gone when it is said to be"
        assert is_saved(folder, "other")
        assert (gone.sessions, gone.in_use) == (("diary",), ())
        assert cached(client, 1, "diary") == 0
        assert cached(client, 2, "other") > 0


def test_a_session_in_use_is_forgotten_when_its_request_ends(
    daemon: LiveDaemon, folder: Path
) -> None:
    with Client(daemon.socket) as client, Client(daemon.socket) as other:
        waiting, row = begun(client, 3, "talk")

        gone = other.forget("talk")

        assert (gone.sessions, gone.in_use) == ((), ("talk",))
        row.choose(TOKEN)
        done = end_of(waiting)
        assert done.finish_reason == "length", "it was not cut short"
        assert cached(client, 3, "talk") == 0


def test_what_was_forgotten_in_use_is_not_kept_by_the_next_engine_either(
    daemon: LiveDaemon,
) -> None:
    with Client(daemon.socket) as client, Client(daemon.socket) as other:
        waiting, _ = begun(client, 4, "crash")
        assert other.forget("crash").in_use == ("crash",)

        os.kill(daemon.engines()[0].pid, signal.SIGKILL)

        assert end_of(waiting).usage.completion_tokens == SHORT.max_tokens
        assert cached(client, 4, "crash") == 0


def test_a_name_that_nothing_is_kept_under_is_unknown(daemon: LiveDaemon) -> None:
    with Client(daemon.socket) as client, pytest.raises(UnknownRequest, match="nobody"):
        client.forget("nobody")

    ended = forget(daemon, "nobody")

    assert ended.returncode != 0
    assert "nothing is kept for a session called nobody" in ended.stderr


def test_a_user_forgets_what_is_its_own_and_nothing_else(daemon: LiveDaemon, folder: Path) -> None:
    with (
        Client(daemon.socket) as machine,
        machine.on_behalf(KEY) as key,
        machine.on_behalf(OTHER) as other,
    ):
        cached(machine, 5, "notes")
        cached(key, 6, "notes")
        cached(key, 7)
        cached(other, 8, "notes")
        everybody = (MACHINE_USER, KEY, OTHER)
        wait_until_saved(folder, *[("notes", asker) for asker in everybody])

        assert key.forget("notes").sessions == ("notes",)
        assert [is_saved(folder, "notes", asker) for asker in everybody] == [True, False, True]
        cached(key, 6, "notes")
        gone = key.forget(all=True)

        assert gone.sessions == ("notes",)
        assert (cached(key, 6, "notes"), cached(key, 7)) == (0, 0)
        assert cached(machine, 5, "notes") > 0
        assert cached(other, 8, "notes") > 0
        with pytest.raises(UnknownRequest):
            key.forget("diary")
        key.forget(all=True)


def test_all_of_it_goes_with_one_command(daemon: LiveDaemon, folder: Path) -> None:
    with Client(daemon.socket) as client:
        cached(client, 9)
        cached(client, 10, "last")
        wait_until_saved(folder, ("last", MACHINE_USER))

        ended = forget(daemon, "--all")

        assert (ended.returncode, ended.stderr) == (0, "")
        assert "forgotten" in ended.stdout
        assert files(folder) == []
        wait_until(lambda: client.metrics().kv_cells_retained == 0, what="an empty pool")
        assert (cached(client, 9), cached(client, 10, "last")) == (0, 0)


def test_files_of_a_model_that_is_not_loaded_go_too(daemon: LiveDaemon, folder: Path) -> None:
    with Client(daemon.socket) as client, client.on_behalf(KEY) as key:
        for which, session in ((11, "one"), (12, "two"), (13, "three")):
            cached(client, which, session)
        cached(key, 14, "mine")
        wait_until_saved(
            folder, ("mine", KEY), *[(one, MACHINE_USER) for one in ("one", "two", "three")]
        )
        client.unload("nano")

        assert client.forget("one").sessions == ("one",)
        assert not is_saved(folder, "one")
        assert key.forget(all=True).sessions == ("mine",)
        assert not is_saved(folder, "mine", KEY)
        assert is_saved(folder, "two")
        assert {"two", "three"} <= set(client.forget(all=True).sessions)
        assert files(folder) == []
        client.load("nano")


@pytest.mark.parametrize("arguments", [(), ("name", "--all")])
def test_the_command_wants_a_name_or_all(daemon: LiveDaemon, arguments: tuple[str, ...]) -> None:
    ended = forget(daemon, *arguments)

    assert ended.returncode == 2
    assert "--all" in ended.stderr
