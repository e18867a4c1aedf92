"""Rows of media that were seen lately are there again, within a bound."""

import numpy as np

from umad.engine.media.rows import RowCache, RowKey, Rows


def rows(n_rows: int) -> Rows:
    return np.zeros((n_rows, 256), np.float32)  # a kilobyte each


def key(content: str, *, index: int = 0, projector: str = "p") -> RowKey:
    return RowKey(content, index, projector)


def test_the_second_turn_about_an_image_has_its_rows() -> None:
    cache = RowCache(2**20)

    assert not cache.take(key("a"))
    cache.put(key("a"), rows(16))
    cache.leave(key("a"))
    assert cache.take(key("a"))

    assert cache.rows(key("a")).shape == (16, 256)
    assert (cache.hits, cache.misses) == (1, 1)


def test_another_tile_or_projector_or_limit_of_size_has_other_rows() -> None:
    cache = RowCache(2**20)
    cache.put(key("a"), rows(16))

    assert not cache.take(key("a", index=1))
    assert not cache.take(key("a", projector="p -64"))


def test_rows_used_longest_ago_go_first_and_those_in_use_never() -> None:
    cache = RowCache(48 * 1024)
    for name in "abc":
        cache.put(key(name), rows(16))
        if name != "a":
            cache.leave(key(name))
    assert cache.take(key("b"))
    cache.leave(key("b"))

    cache.put(key("d"), rows(32))
    cache.leave(key("d"))

    kept = [name for name in "abcd" if key(name) in cache]
    assert kept == ["a", "b", "d"], "a is in use, c was used longest ago"
    assert cache.used_bytes == 64 * 1024


def test_the_memory_is_bounded_however_many_images_come() -> None:
    cache = RowCache(100 * 1024)

    for at in range(200):
        cache.put(key(str(at)), rows(16))
        cache.leave(key(str(at)))
        assert cache.used_bytes <= 100 * 1024

    assert len(cache) == 6


def test_a_machine_short_of_memory_gets_back_what_nobody_uses() -> None:
    cache = RowCache(2**20)
    cache.put(key("used"), rows(16))
    cache.put(key("kept"), rows(16))
    cache.leave(key("kept"))

    cache.spare()

    assert key("used") in cache
    assert key("kept") not in cache
    assert cache.used_bytes == 16 * 1024
