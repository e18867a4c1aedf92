"""A conversation with a name outlives the daemon it was begun on."""

from pathlib import Path

import pytest

from tests.live import LiveDaemon, live_daemon
from tests.memory_kinds import write
from umad.client import Client
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Tokens

# Tokens that every model here has.
FIRST = tuple(3 + (i * i * 31 + i) % 370 for i in range(2000))
STATEFUL = ("recurrent", "hybrid", "windows")


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


@pytest.mark.parametrize("kind", ["nano", *STATEFUL])
def test_the_next_turn_after_a_restart_of_the_daemon_is_not_computed_again(
    kind: str, tmp_path: Path
) -> None:
    if kind == "nano":
        arguments = ("nano", "--threads", "1", "--kv-type", "q8")
    else:
        model = write(tmp_path / "model.gguf", kind)
        arguments = (str(model), "--threads", "1", "--swa-full", "off")
    kept = ("--session-dir", str(tmp_path / "sessions"))
    with live_daemon(tmp_path, *arguments, *kept) as daemon:
        answer, _ = turn(daemon, FIRST)
        assert daemon.stop() == 0
    second = (*FIRST, *answer, 5, 6, 7)

    with live_daemon(tmp_path, *arguments, *kept) as daemon:
        restored, done = turn(daemon, second)
    with live_daemon(tmp_path, *arguments) as daemon:
        computed, cold = turn(daemon, second)

    # What lies in a window comes back in another order, and then the last bits differ.
    n_same = 1 if kind == "windows" else len(computed)
    assert restored[:n_same] == computed[:n_same]
    # The last token of an answer is never computed. The state at its end is not kept where it is
    # quicker to compute so short an answer again.
    least = len(FIRST) + 11 if kind == "nano" else len(FIRST) - 1
    assert least <= (done.usage.cached_tokens or 0) <= len(FIRST) + 11
    assert cold.usage.cached_tokens == 0
