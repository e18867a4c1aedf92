"""Computes one random number for each (seed, position): a counter-based generator without state.

Not for secrets. SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014; constants of Vigna's splitmix64.c) is a counter times an odd constant through a
64-bit finaliser, so any of its outputs can be had directly. The seed is hashed once into a key;
position i is then the key's i-th output. Two seeds, also neighbouring ones, are two starts on a
cycle of 2**64 numbers, so their streams are unrelated. Pure integers: about 0.5 microseconds,
where numpy's Philox costs 20 to construct, and the same on every machine.
"""

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd
_TO_UNIT = 2.0**-53


def splitmix64(seed: int, index: int) -> int:
    """Output number `index` (from 0) of SplitMix64 started with `seed`; 64 bits."""
    mixed = (seed + (index + 1) * _GAMMA) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def stream_key(seed: int) -> int:
    """Hash a seed into the key that `uniform` needs. It is made once for each completion."""
    return splitmix64(seed, 0)


def uniform(key: int, position: int) -> float:
    """The number for `position`: uniform in [0, 1), a multiple of 2**-53."""
    return (splitmix64(key, position) >> 11) * _TO_UNIT
