"""Conversations that outlive their engine: the real engine, real files, the model that ships."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.harness import Completion, RunningEngine, engine
from tests.live import wait_until
from tests.memory_kinds import write as write_model
from umad.engine.sessions.file import MAGIC, Slab, read_head, read_slabs, write
from umad.engine.sessions.folder import mark_of
from umad.protocol.link import Stop

# With quantised KV the bits do not depend on how a prompt was sliced, so tokens can be compared.
SMALL: dict[str, Any] = {"ctx_size": 1024, "batch": 128, "ubatch": 128, "kv_type": "q8"}
FIRST = tuple(300 + (i * i * 31 + i) % 3000 for i in range(300))
QUESTION = tuple(300 + (i * i * 17 + i) % 3000 for i in range(12))


def first_turn(running: RunningEngine) -> Completion:
    return running.generate(1, prompt_ids=FIRST, session="chat", max_tokens=20, ignore_eos=True)


def second_turn(running: RunningEngine, answer: list[int]) -> Completion:
    prompt = (*FIRST, *answer, *QUESTION)
    return running.generate(2, prompt_ids=prompt, session="chat", max_tokens=30, ignore_eos=True)


def end(running: RunningEngine) -> None:
    running.send(Stop())
    assert running.wait() == 0


def saved_once(model: Path, folder: Path, **settings: Any) -> list[int]:
    """One turn in an engine that then ends; the answer."""
    with engine(model, **SMALL, session_dir=str(folder), **settings) as running:
        running.ready()
        answer = first_turn(running).ids
        end(running)
    return answer


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.kv"))


@pytest.fixture(scope="module")
def undisturbed(nano_path: Path) -> tuple[list[int], list[int]]:
    with engine(nano_path, **SMALL) as running:
        running.ready()
        answer = first_turn(running).ids
        return answer, second_turn(running, answer).ids


def test_a_conversation_goes_on_in_the_next_engine_with_the_very_same_tokens(
    nano_path: Path, tmp_path: Path, undisturbed: tuple[list[int], list[int]]
) -> None:
    answer = saved_once(nano_path, tmp_path / "kept")

    with engine(nano_path, **SMALL, session_dir=str(tmp_path / "kept")) as running:
        running.ready()
        turn = second_turn(running, answer)

    assert (answer, turn.ids) == undisturbed
    # The last token of an answer is never computed.
    assert turn.ending.cached_tokens == len(FIRST) + 19


def test_what_an_engine_that_was_killed_had_saved_is_there(
    nano_path: Path, tmp_path: Path, undisturbed: tuple[list[int], list[int]]
) -> None:
    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        answer = first_turn(running).ids
        wait_until(lambda: bool(files(tmp_path)), what="a save")
        running.process.kill()
        running.wait()

    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        turn = second_turn(running, answer)

    assert turn.ids == undisturbed[1]
    assert turn.ending.cached_tokens == len(FIRST) + 19


def test_saved_sessions_are_for_their_owners_eyes(nano_path: Path, tmp_path: Path) -> None:
    saved_once(nano_path, tmp_path / "kept")

    (file,) = files(tmp_path / "kept")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("at", [0.01, 0.5])
def test_a_damaged_file_is_refused_and_the_turn_computed(
    nano_path: Path, tmp_path: Path, undisturbed: tuple[list[int], list[int]], at: float
) -> None:
    answer = saved_once(nano_path, tmp_path)
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 4
    file.write_bytes(data)

    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        turn = second_turn(running, answer)
        words = running.stderr

    assert turn.ids == undisturbed[1]
    assert turn.ending.cached_tokens == 0
    assert words.count("a saved session is not used") == 1
    assert not files(tmp_path)


def rewritten(file: Path, change: Callable[[list[Slab]], None]) -> None:
    """The file as somebody would write it whose digests are right."""
    with file.open("rb") as old:
        old.seek(len(MAGIC))
        length = int.from_bytes(old.read(4), "little")
        about = json.loads(old.read(length))["about"]
        old.seek(0)
        head = read_head(old, about)
        slabs = read_slabs(old, head, [np.zeros(part.n_bytes, np.uint8) for part in head.slabs])
    change(slabs)
    with file.open("wb") as new:
        write(new, about=about, session=head.session, tokens=head.tokens, slabs=slabs)


def test_cells_of_other_positions_are_found_out_and_their_file_is_removed(
    nano_path: Path, tmp_path: Path, undisturbed: tuple[list[int], list[int]]
) -> None:
    answer = saved_once(nano_path, tmp_path)
    (file,) = files(tmp_path)
    rewritten(file, list.reverse)

    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        turn = second_turn(running, answer)
        wait_until(lambda: not files(tmp_path), what="the end of the file")
        words = running.stderr

    assert turn.ids == undisturbed[1]
    assert words.count("a saved session could not be put back") == 1


def test_a_file_is_not_tried_again_once_its_engine_has_ended_over_it(
    nano_path: Path, tmp_path: Path, undisturbed: tuple[list[int], list[int]]
) -> None:
    answer = saved_once(nano_path, tmp_path)
    (file,) = files(tmp_path)
    mark_of(file).touch()  # as an engine leaves it that ends while it puts the file back

    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        turn = second_turn(running, answer)
        words = running.stderr

    assert turn.ids == undisturbed[1]
    assert turn.ending.cached_tokens == 0
    assert words.count("was being put back when the engine ended") == 1


def test_a_file_that_has_been_put_back_outlives_a_killed_engine(
    nano_path: Path, tmp_path: Path
) -> None:
    answer = saved_once(nano_path, tmp_path)
    for _ in range(2):
        with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
            running.ready()
            turn = second_turn(running, answer)
            wait_until(lambda: not list(tmp_path.glob("*/*.tried")), what="the end of the mark")
            running.process.kill()
            running.wait()

        assert turn.ending.cached_tokens >= len(FIRST) + 19


def test_cells_of_other_weights_or_another_cache_are_never_put_back(
    nano_path: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(nano_path, model)
    for change in ("weights", "cache"):
        saved_once(model, tmp_path / "kept")
        settings = dict(SMALL)
        if change == "weights":
            os.utime(model)
        else:
            settings["kv_type"] = "f16"

        with engine(model, **settings, session_dir=str(tmp_path / "kept")) as running:
            running.ready()
            turn = second_turn(running, [])
            words = running.stderr

        assert turn.ending.cached_tokens == 0
        reason = "another model" if change == "weights" else "another kv type"
        assert f"it is of {reason}" in words
        assert not files(tmp_path / "kept")


def test_a_folder_that_cannot_be_had_costs_a_line_and_no_request(
    nano_path: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")

    with engine(nano_path, **SMALL, session_dir=str(taken)) as running:
        running.ready()
        first = first_turn(running)
        end(running)
        words = running.stderr

    assert first.ending.reason == "length"
    assert words.count("sessions are not saved") == 1


def test_without_memory_to_park_in_nothing_is_saved_and_the_log_says_why(
    nano_path: Path, tmp_path: Path
) -> None:
    with engine(nano_path, **SMALL, session_dir=str(tmp_path), park_bytes=0) as running:
        running.ready()
        first_turn(running)
        end(running)
        words = running.stderr

    assert "sessions are not saved: park_bytes is 0" in words
    assert not files(tmp_path)


def test_with_windows_for_the_whole_pool_the_log_says_that_they_are_the_reason(
    tmp_path: Path,
) -> None:
    model = write_model(tmp_path / "windows.gguf", "windows")

    kept = tmp_path / "kept"
    with engine(model, **SMALL, session_dir=str(kept), swa_full="on") as running:
        running.ready()
        end(running)
        words = running.stderr

    assert "sessions are not saved: sequences are not parked while windows have" in words


def test_a_forgotten_session_leaves_nothing_on_disk(nano_path: Path, tmp_path: Path) -> None:
    saved_once(nano_path, tmp_path)

    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        forgotten = running.call("forget", session="chat").value
        left = files(tmp_path)
        end(running)

    assert forgotten == {"sessions": ("chat",), "in_use": ()}
    assert not left, "it is gone when it is said to be"


def test_only_named_sessions_are_saved(nano_path: Path, tmp_path: Path) -> None:
    with engine(nano_path, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        running.generate(1, prompt_ids=FIRST, max_tokens=4)
        end(running)

    assert not files(tmp_path)
