"""A million sessions in memory of a fixed size."""

import random

from hypothesis import given
from hypothesis import strategies as st

from umad.router.policy.session_table import Entry, SessionTable


def table(most: int, ttl_s: int = 100) -> SessionTable:
    return SessionTable(most=most, ttl_s=ttl_s, rng=random.Random(1))


def entry(node: int, now_s: int = 1) -> Entry:
    return Entry(node=node, placed_s=now_s, seen_s=now_s)


def test_a_million_sessions_have_their_place() -> None:
    assert table(1_000_000).n_bytes < 64 * 2**20


# Few homes, so that places are fought for.
keys = st.integers(0, 40).map(lambda n: (n % 5) | (n << 30))


@given(steps=st.lists(st.tuples(st.sampled_from(["put", "drop", "look"]), keys, st.integers(1, 9))))
def test_what_is_put_is_found_until_it_is_dropped(steps: list[tuple[str, int, int]]) -> None:
    made, known = table(100), dict[int, int]()

    for what, key, node in steps:
        if what == "put":
            made.put(key, entry(node))
            known[key] = node
        elif what == "drop":
            made.drop(key)
            known.pop(key, None)
        assert made.node(key, 1) == known.get(key, 0)

    assert {key: made.node(key, 1) for key in known} == known
    assert len(made) == len(known)


def test_all_that_is_noted_comes_back() -> None:
    noted = Entry(
        node=7,
        placed_s=3,
        seen_s=9,
        reason=5,
        other=4,
        open=255,
        other_open=2,
    )
    made = table(10)

    made.put(1 << 63, noted)
    made.put((1 << 63) | (1 << 40), entry(1))
    made.drop(12345)

    assert made.entry(1 << 63, 9) == noted


def test_a_full_table_forgets_old_sessions_first() -> None:
    made, rng = table(1000), random.Random(2)
    keys = [rng.getrandbits(64) for _ in range(1500)]

    for second, key in enumerate(keys):
        made.put(key, entry(1, second // 50))

    now_s = 1500 // 50
    kept = [sum(1 for one in keys[at : at + 250] if made.node(one, now_s)) for at in (0, 1250)]
    assert len(made) == 1000
    assert kept[1] == 250
    assert kept[0] < 100


def test_sessions_whose_time_is_over_are_forgotten_before_live_ones() -> None:
    made, rng = table(200, ttl_s=10), random.Random(3)
    for _ in range(200):
        made.put(rng.getrandbits(64), entry(1, 1))

    made.put(5, entry(2, 50))

    assert made.forgotten == 0
    assert made.node(5, 50) == 2
