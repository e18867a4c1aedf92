"""Conversations of models with states outlive their engine: hybrids, recurrent ones, windows."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.harness import Completion, RunningEngine, engine
from tests.live import wait_until
from tests.memory_kinds import write
from umad.engine.sessions.file import (
    MAGIC,
    StateAt,
    read_head,
    read_slabs,
    read_state,
)
from umad.engine.sessions.file import (
    write as write_file,
)
from umad.protocol.link import Stop

# Windows at their size, which a small pool would not have by itself.
SMALL: dict[str, Any] = {"ctx_size": 4096, "batch": 128, "ubatch": 128, "swa_full": "off"}
# Long enough that copies of it are worth their time, though the models are tiny.
FIRST = tuple(3 + (i * i * 31 + i) % 370 for i in range(3000))
QUESTION = tuple(3 + (i * i * 17 + i) % 370 for i in range(12))
N_FIRST = 20
UNDECIDED = 0.05
# The last token of an answer is never computed.
HELD = len(FIRST) + N_FIRST - 1

RECURRENT = ["recurrent", "mamba 2"]
HYBRID = ["hybrid", "delta net", "mamba hybrid", "hybrid with windows"]
WINDOWS = ["windows"]
ALL = [*RECURRENT, *HYBRID, *WINDOWS]
SOME = ["recurrent", "hybrid", "windows"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A model, a folder with the first turn of a session, and what comes after it."""

    model: Path
    folder: Path
    answer: list[int]
    # The second turn of an engine that has nothing to begin from.
    cold: Completion

    def copied_to(self, folder: Path) -> Path:
        """The session's file in a folder of its own."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        (file,) = files(folder)
        return file


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    folder = tmp_path_factory.mktemp("models")

    @cache
    def of(kind: str) -> Kept:
        model = write(folder / f"{kind.replace(' ', '_')}.gguf", kind)
        answer = saved_once(model, folder / kind)
        with engine(model, **SMALL) as running:
            running.ready()
            cold = second_turn(running, answer)
        assert cold.ending.cached_tokens == 0
        return Kept(model, folder / kind, answer, cold)

    return of


def first_turn(running: RunningEngine) -> Completion:
    return running.generate(
        1, prompt_ids=FIRST, session="chat", max_tokens=N_FIRST, ignore_eos=True
    )


def second_turn(running: RunningEngine, answer: list[int]) -> Completion:
    prompt = (*FIRST, *answer, *QUESTION)
    return running.generate(
        2, prompt_ids=prompt, session="chat", max_tokens=24, ignore_eos=True, logprobs=2
    )


def saved_once(model: Path, folder: Path, **settings: Any) -> list[int]:
    """One turn in an engine that then ends; the answer."""
    with engine(model, **{**SMALL, **settings}, session_dir=str(folder)) as running:
        running.ready()
        answer = first_turn(running).ids
        running.send(Stop())
        assert running.wait() == 0
    return answer


def assert_same_answer(turn: Completion, cold: Completion) -> None:
    """The turn says what was said from nothing, up to the first token that the model is undecided
    about: there the last bits decide, which depend on how a prompt was sliced and where its cells
    lie. A wrong state changes the first token."""
    n_decided = 0
    for _, likely in cold.logprobs:
        first, second = sorted((logprob for _, logprob in likely), reverse=True)[:2]
        if first - second < UNDECIDED:
            break
        n_decided += 1
    assert n_decided >= 2, "another prompt would tell more"
    assert turn.ids[:n_decided] == cold.ids[:n_decided]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.kv"))


def resumed(kept: Kept, folder: Path, **settings: Any) -> tuple[Completion, str]:
    """The second turn in an engine that finds the folder, and what the engine has logged."""
    with engine(kept.model, **{**SMALL, **settings}, session_dir=str(folder)) as running:
        running.ready()
        turn = second_turn(running, kept.answer)
        words = running.stderr
    return turn, words


def head_of(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    n_head = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
    head: dict[str, Any] = json.loads(data[len(MAGIC) + 4 :][:n_head])
    return head


@pytest.mark.parametrize("kind", ALL)
def test_a_conversation_goes_on_in_the_next_engine(
    kind: str, kept: Callable[[str], Kept], tmp_path: Path
) -> None:
    head = head_of(kept(kind).copied_to(tmp_path))

    turn, words = resumed(kept(kind), tmp_path)

    # A short answer may cost less to compute again than its state to copy.
    assert len(FIRST) - 1 <= head["states"][-1][0] <= HELD
    assert turn.ending.cached_tokens == head["states"][-1][0], words
    assert_same_answer(turn, kept(kind).cold)
    assert bool(head["slabs"]) == (kind not in RECURRENT)


def flipped(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)


def shortened(file: Path, n_bytes: int) -> None:
    file.write_bytes(file.read_bytes()[:n_bytes])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a bit of its state is flipped": lambda file: flipped(file, -9),
    "a bit of its head is flipped": lambda file: flipped(file, 90),
    "its last byte is missing": lambda file: shortened(file, -1),
    "half of it is missing": lambda file: shortened(file, file.stat().st_size // 2),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", SOME)
def test_a_damaged_file_is_refused_and_the_turn_computed(
    kind: str, damage: str, kept: Callable[[str], Kept], tmp_path: Path
) -> None:
    DAMAGES[damage](kept(kind).copied_to(tmp_path))

    turn, words = resumed(kept(kind), tmp_path)

    assert turn.ending.cached_tokens == 0
    assert_same_answer(turn, kept(kind).cold)
    assert words.count("a saved session is not used") == 1


def rewritten(file: Path, change: Callable[[list[StateAt]], list[StateAt]]) -> None:
    """The file as somebody would write it whose digests are right."""
    about = head_of(file)["about"]
    with file.open("rb") as old:
        head = read_head(old, about)
        slabs = read_slabs(old, head, [np.zeros(part.n_bytes, np.uint8) for part in head.slabs])
        states = [
            (place, read_state(old, head, place, np.zeros(part.n_bytes, np.uint8)))
            for place, part in head.states.items()
        ]
    with file.open("wb") as new:
        write_file(
            new,
            about=about,
            session=head.session,
            tokens=head.tokens,
            slabs=slabs,
            states=change(states),
        )


def one_place_earlier(states: list[StateAt]) -> list[StateAt]:
    return [(place - 1, state) for place, state in states]


def of_nothing(states: list[StateAt]) -> list[StateAt]:
    return [(place, (np.zeros_like(memory), n_bytes)) for place, (memory, n_bytes) in states]


@pytest.mark.parametrize("change", [one_place_earlier, of_nothing])
@pytest.mark.parametrize("kind", SOME)
def test_a_state_of_another_place_is_found_out_and_its_file_removed(
    kind: str,
    change: Callable[[list[StateAt]], list[StateAt]],
    kept: Callable[[str], Kept],
    tmp_path: Path,
) -> None:
    rewritten(kept(kind).copied_to(tmp_path), change)

    with engine(kept(kind).model, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        turn = second_turn(running, kept(kind).answer)
        wait_until(lambda: not files(tmp_path), what="the end of the file")
        words = running.stderr

    assert turn.ending.cached_tokens == 0
    assert_same_answer(turn, kept(kind).cold)
    assert words.count("a saved session could not be put back") == 1


def test_the_state_of_other_weights_is_never_put_back(tmp_path: Path) -> None:
    model = write(tmp_path / "model.gguf", "hybrid")
    answer = saved_once(model, tmp_path / "kept")
    write(model, "hybrid", seed=1)

    with engine(model, **SMALL, session_dir=str(tmp_path / "kept")) as running:
        running.ready()
        turn = second_turn(running, answer)
        words = running.stderr

    assert turn.ending.cached_tokens == 0
    assert "it is of another model" in words


def test_a_window_of_another_size_of_cache_is_never_put_back(
    kept: Callable[[str], Kept], tmp_path: Path
) -> None:
    kept("windows").copied_to(tmp_path)

    turn, _ = resumed(kept("windows"), tmp_path, swa_full="on")

    assert turn.ending.cached_tokens == 0
    assert_same_answer(turn, kept("windows").cold)


@pytest.mark.parametrize("kind", ["recurrent", "hybrid"])
def test_a_forgotten_session_leaves_nothing_on_disk(
    kind: str, kept: Callable[[str], Kept], tmp_path: Path
) -> None:
    kept(kind).copied_to(tmp_path)

    with engine(kept(kind).model, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        forgotten = running.call("forget", session="chat").value
        left = files(tmp_path)
        turn = second_turn(running, kept(kind).answer)

    assert forgotten == {"sessions": ("chat",), "in_use": ()}
    assert not left, "it is gone when it is said to be"
    assert turn.ending.cached_tokens == 0


@pytest.mark.parametrize("kind", SOME)
def test_a_turn_with_another_last_answer_goes_on_from_a_state_before_it(
    kind: str, kept: Callable[[str], Kept], tmp_path: Path
) -> None:
    places = [place for place, _ in head_of(kept(kind).copied_to(tmp_path))["states"]]
    edited = (*FIRST, *QUESTION)

    with engine(kept(kind).model, **SMALL, session_dir=str(tmp_path)) as running:
        running.ready()
        turn = running.generate(3, prompt_ids=edited, session="chat", max_tokens=4)

    assert turn.ending.cached_tokens in places[:-1]


def test_a_file_outlives_engines_that_are_killed_after_it_was_put_back(
    kept: Callable[[str], Kept], tmp_path: Path
) -> None:
    kept("hybrid").copied_to(tmp_path)
    for _ in range(2):
        with engine(kept("hybrid").model, **SMALL, session_dir=str(tmp_path)) as running:
            running.ready()
            turn = second_turn(running, kept("hybrid").answer)
            wait_until(lambda: not list(tmp_path.glob("*/*.tried")), what="the end of the mark")
            running.process.kill()
            running.wait()

        assert (turn.ending.cached_tokens or 0) >= len(FIRST) - 1
