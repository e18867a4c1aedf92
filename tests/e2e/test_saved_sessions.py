"""A conversation with a name outlives the daemon it was begun on."""

from pathlib import Path

from tests.live import LiveDaemon, live_daemon
from umad.client import Client
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Tokens

FIRST = tuple(300 + (i * i * 31 + i) % 3000 for i in range(400))


def turn(daemon: LiveDaemon, prompt: tuple[int, ...]) -> tuple[tuple[int, ...], Done]:
    """The ids of a session's next answer, and how it ended."""
    request = GenerateRequest(
        prompt_ids=prompt,
        sampling=SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True),
        session="walk",
    )
    with Client(daemon.socket) as client:
        events = list(client.generate(request))
    ids = [token for event in events if isinstance(event, Tokens) for token in event.ids]
    (done,) = [event for event in events if isinstance(event, Done)]
    return tuple(ids), done


def test_the_next_turn_after_a_restart_of_the_daemon_is_not_computed_again(tmp_path: Path) -> None:
    arguments = ("nano", "--threads", "1", "--kv-type", "q8")
    kept = ("--session-dir", str(tmp_path / "sessions"))
    with live_daemon(tmp_path, *arguments, *kept) as daemon:
        answer, _ = turn(daemon, FIRST)
        assert daemon.stop() == 0
    second = (*FIRST, *answer, 5, 6, 7)

    with live_daemon(tmp_path, *arguments, *kept) as daemon:
        restored, done = turn(daemon, second)
    with live_daemon(tmp_path, *arguments) as daemon:
        computed, cold = turn(daemon, second)

    assert restored == computed
    # The last token of an answer is never computed.
    assert done.usage.cached_tokens == len(FIRST) + 11
    assert cold.usage.cached_tokens == 0
