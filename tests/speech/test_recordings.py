"""Windows of a recording with silence in it, as the desk gets them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from umad.clock import MonotonicClock
from umad.speech.recordings import ReadWindow, Recordings
from umad.speech.silence import EDGE_S

RATE = 16_000


def asked(path: Path, from_s: float) -> dict[str, Any]:
    return {
        "key": "t1", "path": str(path), "audio": None, "from_s": from_s, "language": None,
        "translate": False, "prompt": None, "context": (), "temperature": 0.0, "words": False,
    }  # fmt: skip


def windows(path: Path) -> list[ReadWindow]:
    """As a daemon asks for them, if every window is heard to its end."""
    recordings = Recordings(MonotonicClock(), most_s=600)
    found: list[ReadWindow] = []
    from_s = 0.0
    while not found or not found[-1].asked.is_last:
        found.append(recordings.read(asked(path, from_s)))
        one = found[-1]
        heard_s = one.audible.samples.size / RATE
        from_s += one.seconds if one.is_silent else one.audible.place(heard_s)
    return found


def test_a_window_begins_where_there_is_something_to_hear(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    sound = random.uniform(0.1, 0.2, 40 * RATE)
    soundfile.write(tmp_path / "a.wav", np.concatenate([np.zeros(70 * RATE), sound]), RATE)

    first, second, third, fourth, last = windows(tmp_path / "a.wav")

    assert [one.is_silent for one in (first, second, third)] == [True, True, True]
    assert third.seconds == pytest.approx(10 - EDGE_S)
    # All of a window is for the sound.
    assert fourth.from_s == pytest.approx(70 - EDGE_S)
    assert fourth.audible.samples.size == 30 * RATE
    assert last.from_s == pytest.approx(100 - EDGE_S)
    assert last.total_s == pytest.approx(110)


def test_silence_at_the_end_is_the_last_window(tmp_path: Path) -> None:
    sound = np.random.default_rng(1).uniform(0.1, 0.2, 4 * RATE)
    soundfile.write(tmp_path / "a.wav", np.concatenate([sound, np.zeros(40 * RATE)]), RATE)

    first, *silent, last = windows(tmp_path / "a.wav")

    assert first.audible.samples.size == (4 + EDGE_S) * RATE
    assert all(one.is_silent for one in (*silent, last))
    assert last.asked.is_last
