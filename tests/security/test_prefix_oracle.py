"""What one key can find out about another's prompts: by counts, by time, by what is evicted."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.gateways import LiveGateway
from tests.security.two_keys import ADMIN, ALICE, BOB, keyed_gateway
from umad.client import Client
from umad.service import Done

# Long enough that reading it is felt: a hit is told from a miss by milliseconds.
STORY = "The quick brown fox jumps over the lazy dog and the dog sleeps on in the warm sun. " * 24
SECRET = f"{STORY} The number of the safe is 4"
POOL = ("--ctx-size", "16384")
# At least and at most so many prompts of each kind are timed.
FEWEST_ROUNDS, MOST_ROUNDS = 16, 60
# Two kinds of time are told apart if the sum of one kind's ranks lies so many standard deviations
# from its mean. Times of one kind do so by chance once in 15,000 tries, whatever else runs on the
# machine.
TOLD = 4.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with keyed_gateway(tmp_path_factory.mktemp("oracle"), *POOL) as one:
        yield one


def heard(http: httpx.Client, prompt: str, headers: dict[str, str]) -> tuple[int, float]:
    """Cached tokens of a prompt, and milliseconds to its first token."""
    body: dict[str, Any] = {"prompt": prompt, "max_tokens": 1, "stream": False, "temperature": 0}
    answer = http.post("/generate", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    done = answer.json()["completions"][0]
    return done["usage"]["cached_tokens"], done["timings"]["first_token_ms"]


def test_no_guess_at_anothers_prompt_is_told_from_another(gateway: LiveGateway) -> None:
    """The attack: each digit in turn, and look for the one of which a token more is cached."""
    with gateway.http() as http:
        heard(http, SECRET, ALICE)
        assert heard(http, SECRET, ALICE)[0] > 100  # it is there, for her
        guesses = [f"{STORY} The number of the safe is {digit}" for digit in range(10)]
        cached = [heard(http, guess, BOB)[0] for guess in guesses]
    assert cached[0] == 0
    # From then on he shares what he sent himself, and the right digit no more than the others.
    assert len(set(cached[1:])) == 1


def told_apart(some: list[float], others: list[float]) -> float:
    """How surely two lists of one length are of two kinds: the statistic of Mann and Whitney in
    standard deviations. It asks only which of two times is longer. So another program that
    lengthens some of them at random makes it smaller, and larger only by chance."""
    n = len(some)
    wins = sum((one < other) + (one == other) / 2 for one in some for other in others)
    return abs(wins - n * n / 2) / math.sqrt(n * n * (2 * n + 1) / 12)


def test_a_hit_is_not_told_from_a_miss_by_time(gateway: LiveGateway) -> None:
    def fresh(at: int) -> str:
        return f"Tale {at}. {STORY}"

    hits: list[float] = []
    hers: list[float] = []
    misses: list[float] = []
    with gateway.http() as http:
        for at in range(MOST_ROUNDS):
            heard(http, fresh(at), ALICE)
            tries = [(hits, fresh(at), BOB), (misses, fresh(MOST_ROUNDS + at), BOB)]
            # Neither kind always comes first, because the first of two may find another machine.
            for times, prompt, key in tries if at % 2 else reversed(tries):
                times.append(heard(http, prompt, key)[1])
            hers.append(heard(http, fresh(at), ALICE)[1])
            if at + 1 >= FEWEST_ROUNDS and told_apart(hers, misses) > TOLD:
                break
    assert told_apart(hers, misses) > TOLD, "her own second time is quick: here time does tell"
    assert told_apart(hits, misses) < TOLD


def test_the_machines_user_and_its_keys_know_nothing_of_each_other(gateway: LiveGateway) -> None:
    prompt = f"Only once. {STORY}"
    with gateway.http() as http, Client(gateway.daemon.socket) as client:
        heard(http, prompt, ALICE)
        events = client.generate(prompt, max_tokens=1)
        socket_cached = [one.usage.cached_tokens for one in events if isinstance(one, Done)]
        admins = heard(http, prompt, ADMIN)[0]
    assert socket_cached == [0]
    assert admins == 0


def test_sharing_is_a_setting(tmp_path: Path) -> None:
    with keyed_gateway(tmp_path, *POOL, "--share-prefixes") as gateway, gateway.http() as http:
        heard(http, SECRET, ALICE)
        assert heard(http, SECRET, BOB)[0] > 100


def test_a_saved_session_is_found_again_by_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    body = {"prompt": SECRET, "session": "safe", "max_tokens": 2, "stream": False}
    with (
        keyed_gateway(tmp_path, *POOL, "--session-dir", str(folder)) as gateway,
        gateway.http() as http,
    ):
        http.post("/generate", json=body, headers=ALICE)

    def cached(headers: dict[str, str]) -> int:
        answer = http.post("/generate", json=body, headers=headers).json()
        return int(answer["completions"][0]["usage"]["cached_tokens"])

    assert len(list(folder.glob("*/*.kv"))) == 1
    with (
        keyed_gateway(tmp_path, *POOL, "--session-dir", str(folder)) as gateway,
        gateway.http() as http,
    ):
        assert cached(BOB) == 0
        hers = cached(ALICE)
    assert hers > 100
