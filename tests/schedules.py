"""Random traffic that shares beginnings of what went before: turns, edited turns, regenerations,
system prompts, and strangers who fill the holes that ended ones leave.

Not tests. A schedule is a generator: it yields what comes next and is sent the answer to it.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request. session: of a conversation that is kept by name."""

    prompt: Tokens
    n_tokens: int
    background: bool = False
    session: str | None = None
    app: str = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Sizes in tokens. first_token, end_token: of the vocabulary that prompts are made of."""

    n_requests: int = 12
    longest: int = 320
    newcomer: tuple[int, int] = (20, 200)
    answer: tuple[int, int] = (1, 24)
    first_token: int = 3
    end_token: int = 380


def schedule(seed: int, traffic: Traffic) -> Generator[tuple[Ask, ...], tuple[Tokens, ...], None]:
    """Yields requests that come together, and is sent their answers."""
    drawn = np.random.default_rng(seed)

    def fresh(low: int, high: int) -> Tokens:
        size = int(drawn.integers(low, high + 1))
        return tuple(drawn.integers(traffic.first_token, traffic.end_token, size).tolist())

    known: list[Tokens] = [fresh(*traffic.newcomer)]
    asked = 0
    while asked < traffic.n_requests:
        together = []
        for _ in range(int(drawn.choice([1, 1, 2, 3]))):
            whole = known[-1 - int(drawn.integers(min(5, len(known))))]
            match drawn.choice(["newcomer", "turn", "edit", "again", "short"]):
                case "turn":
                    prompt = whole + fresh(1, 20)
                case "edit":
                    prompt = whole[: int(drawn.integers(17, max(18, len(whole))))] + fresh(1, 60)
                case "again":
                    prompt = whole[: -int(drawn.integers(0, 8)) or None]
                case "short":
                    prompt = fresh(1, 40)
                case _:
                    prompt = fresh(*traffic.newcomer)
            together.append(
                Ask(
                    prompt=prompt[: traffic.longest],
                    n_tokens=int(drawn.integers(traffic.answer[0], traffic.answer[1] + 1)),
                    background=bool(drawn.random() < 0.3),
                    session=(None, None, "a", "b")[drawn.integers(4)],
                    app=("chat", "editor")[drawn.integers(2)],
                )
            )
        answers = yield tuple(together)
        asked += len(together)
        for ask, answer in zip(together, answers, strict=True):
            known.append(ask.prompt + answer)
