"""The random numbers: the published generator, even, and unrelated between positions and seeds."""

import numpy as np
import pytest

from tests.sampling.reference import chi_square_limit
from umad.sampling.uniform import splitmix64, stream_key, uniform


def numbers(seed: int, count: int) -> list[float]:
    key = stream_key(seed)
    return [uniform(key, position) for position in range(count)]


def test_it_is_splitmix64_as_published() -> None:
    # Outputs of Vigna's splitmix64.c, as listed by Rosetta Code and in the JDK's tests.
    assert [splitmix64(1234567, index) for index in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix64(0, 0) == 0xE220A8397B1DCDAF


def test_a_completion_draws_the_same_on_every_machine_and_in_every_version() -> None:
    key = stream_key(42)

    assert key == 13679457532755275413
    assert [uniform(key, position) for position in (0, 1, 2, 10**6)] == [
        0.34329192209867343,
        0.9557467261317436,
        0.48634953628166855,
        0.5196205746711419,
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_every_number_is_in_the_half_open_unit_interval(seed: int) -> None:
    drawn = numbers(seed, 5_000)

    assert 0.0 <= min(drawn) < 0.001
    assert 0.999 < max(drawn) < 1.0


@pytest.mark.parametrize("seed", [0, 1, 2, 12345, 2**64 - 1])
def test_numbers_of_one_seed_are_even_in_one_and_in_two_dimensions(seed: int) -> None:
    drawn = np.array(numbers(seed, 20_000))

    line, _ = np.histogram(drawn, bins=100, range=(0, 1))
    plane, _, _ = np.histogram2d(drawn[:-1:2], drawn[1::2], bins=20, range=[(0, 1), (0, 1)])

    assert ((line - 200) ** 2 / 200).sum() < chi_square_limit(99)
    assert ((plane - 25) ** 2 / 25).sum() < chi_square_limit(399)


def test_neighbouring_seeds_are_unrelated_at_every_position() -> None:
    # Completions 0..n-1 of one prompt use neighbouring seeds.
    streams = np.array([numbers(seed, 400) for seed in range(50)])

    across, _ = np.histogram(streams, bins=50, range=(0, 1))
    related = np.corrcoef(streams) - np.eye(50)

    assert ((across - 400) ** 2 / 400).sum() < chi_square_limit(49)
    assert float(np.abs(related).max()) < 0.25  # five standard deviations of 400 samples


@pytest.mark.parametrize("bit", range(0, 64, 7))
def test_one_bit_of_the_seed_or_of_the_position_changes_half_of_the_bits(bit: int) -> None:
    keys = [stream_key(seed) for seed in range(300)]
    others = [stream_key(seed ^ 1 << bit) for seed in range(300)]

    by_seed = [splitmix64(a, 9) ^ splitmix64(b, 9) for a, b in zip(keys, others, strict=True)]
    by_position = [splitmix64(key, 0) ^ splitmix64(key, 1 << bit) for key in keys]

    assert 30 < sum(map(int.bit_count, by_seed)) / 300 < 34
    assert 30 < sum(map(int.bit_count, by_position)) / 300 < 34
