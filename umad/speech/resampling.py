"""Turns sound of any rate into sound of 16 kHz, piece by piece. Pure.

A polyphase filter, as in Crochiere and Rabiner: for every sample that comes out, one of `up`
filters is laid over the samples that went in. The filter is a sinc under a Kaiser window, which
keeps what is below 7.2 kHz and leaves less than a thousandth of what would fold back.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from umad.speech.window import SAMPLE_RATE

Samples = NDArray[np.float32]

# Zero crossings of the sinc on each side. More makes the edge steeper and costs time.
_CROSSINGS = 16
_BETA = 8.0
# What is kept of the band that both rates have.
_BAND = 0.95


class Resampling:
    """One stream. `push` gives what is certain, `finish` the rest."""

    def __init__(self, rate: int) -> None:
        """rate: of what is pushed, in Hz."""
        common = math.gcd(rate, SAMPLE_RATE)
        self._up, self._down = SAMPLE_RATE // common, rate // common
        # At the rate up times as high, where both rates meet.
        widest = max(self._up, self._down)
        reach = _CROSSINGS * widest
        at = np.arange(-reach, reach + 1)
        shape = np.sinc(at * _BAND / widest) * np.kaiser(at.size, _BETA)
        # The taps of each phase, for the newest sample first.
        n_taps = -(-at.size // self._up)
        padded = np.zeros(n_taps * self._up)
        padded[: at.size] = shape * (self._up * _BAND / widest)
        phases = padded.reshape(n_taps, self._up).T
        self._taps = np.ascontiguousarray(phases[:, ::-1], np.float32)
        # Silence before the beginning, so that the first sample lies in the filter's middle.
        self._held: Samples = np.zeros(n_taps - 1, np.float32)
        # The place, at the high rate, of the next sample to come out, from the first one held.
        self._next = (n_taps - 1) * self._up + reach
        self._n_in = self._n_out = 0

    def push(self, samples: Samples) -> Samples:
        """Samples at 16 kHz, as far as they are certain."""
        self._n_in += samples.size
        if self._up == self._down:
            return samples
        held = np.concatenate((self._held, samples))
        n_taps = self._taps.shape[1]
        # The newest sample that each output sees must be here.
        last = held.size * self._up - 1
        n_ready = max(0, (last - self._next) // self._down + 1)
        out = np.empty(n_ready, np.float32)
        windows = sliding_window_view(held, n_taps)
        for first in range(min(self._up, n_ready)):
            at = self._next + self._down * np.arange(first, n_ready, self._up)
            newest, phase = at // self._up, int(at[0] % self._up)
            rows = windows[newest[0] - n_taps + 1 :: self._down][: at.size]
            out[first :: self._up] = rows @ self._taps[phase]
        self._next += n_ready * self._down
        dropped = max(0, self._next // self._up - n_taps + 1)
        self._held = held[dropped:]
        self._next -= dropped * self._up
        self._n_out += n_ready
        return out

    def finish(self) -> Samples:
        """The end of the stream: as many samples in all as the recording is long."""
        if self._up == self._down:
            return np.zeros(0, np.float32)
        wanted = -(-self._n_in * self._up // self._down) - self._n_out
        n_in = self._n_in
        rest = self.push(np.zeros(self._taps.shape[1] + self._down, np.float32))
        self._n_in = n_in
        return rest[: max(0, wanted)]
