"""Shortens silence within a window, and tells where in the window something was. Pure.

Whisper makes up words for long silence. So of each stretch without a sound only its edges are
heard: half a second at either end. A sample above `SILENT` is never left out, and what is quieter
cannot be heard by anybody: a whisper on a bad microphone is louder, and so are most rooms. That a
room's own noise is not speech is left to the model, which hears it better than a rule could.
Not: models that find speech (Silero); whisper.cpp's own needs a second file.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from umad.speech.window import SAMPLE_RATE, Part, WindowHeard

# The loudest sample of silence: -60 dB.
SILENT = 1e-3
# What is left of a silence at either end. Whisper finds the ends of sentences by their pauses.
EDGE_S = 0.5
# A shorter silence stays as it is: a pause of somebody who speaks.
LEAST_S = 2.0
# Whisper's times are not exact: a word may begin so long before the sound of it.
_EARLY_S = 0.2
# Short enough for a click to be found, and long enough for the counting to cost nothing.
_BLOCK = SAMPLE_RATE // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A part that is not heard. Seconds: where it would stand in what is heard, and its length."""

    at_s: float
    length_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Audible:
    """What of a window is heard. float32 (samples,)."""

    samples: NDArray[np.float32]
    cuts: tuple[Cut, ...] = ()
    # Where the first sound is in what is heard, in seconds.
    sounds_s: float = 0.0

    @property
    def begins_s(self) -> float:
        """How much silence stands before the first sound that is heard; 0 where there is none, or
        no sound either.
        """
        if not self.cuts or not self.samples.size or self.cuts[0].at_s > 0:
            return 0.0
        return self.cuts[0].length_s

    def placed(self, heard: WindowHeard) -> WindowHeard:
        """What was heard, with its times as the window has them."""
        if not self.cuts and self.sounds_s <= _EARLY_S:
            return heard
        parts = tuple(self._placed(one) for one in heard.parts)
        return replace(heard, parts=parts, next_s=self.place(heard.next_s))

    def _placed(self, part: Part) -> Part:
        start_s, end_s = self.span(part.start_s, part.end_s)
        words = tuple((text, *self.span(a, b), p) for text, a, b, p in part.words)
        return replace(part, start_s=start_s, end_s=end_s, words=words)

    def place(self, at_s: float) -> float:
        """Where in the window a time of what is heard is. At a cut: before it."""
        return at_s + sum(cut.length_s for cut in self.cuts if cut.at_s < at_s)

    def span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Where in the window a word or a sentence is. One that seems to begin in the silence
        before a cut, or to end in the one behind it, has its sound on the other side. Silence
        that is left before a sound belongs to no word: Whisper begins the first one with it.
        """
        first, last = self.place(start_s), self.place(end_s)
        heard_s = self.samples.size / SAMPLE_RATE
        for cut in self.cuts:
            # What sounds behind a cut begins `EDGE_S` after it.
            sounds_s = cut.at_s + EDGE_S - _EARLY_S
            if cut.at_s <= start_s < sounds_s < heard_s:
                first = self.place(sounds_s)
                continue
            if not start_s <= cut.at_s <= end_s:
                continue
            before_s, behind_s = cut.at_s - start_s, end_s - cut.at_s
            if before_s <= EDGE_S + _EARLY_S and before_s < behind_s:
                first = self.place(cut.at_s) + cut.length_s
                if sounds_s < end_s:
                    first = self.place(sounds_s)
            elif behind_s <= EDGE_S + _EARLY_S:
                last = self.place(cut.at_s)
                break
        if self.sounds_s > _EARLY_S:
            first = max(first, self.place(self.sounds_s - _EARLY_S))
        return first, max(first, last)


def without_silence(samples: NDArray[np.float32]) -> Audible:
    """What of a window is heard: nothing of one that is silent throughout."""
    pieces: list[NDArray[np.float32]] = []
    cuts: list[Cut] = []
    edge, heard, last = int(EDGE_S * SAMPLE_RATE), 0, 0
    for start, end in _silences(samples):
        # Before the first sound and behind the last one there is one edge to leave.
        cut_from = start + edge if start else 0
        cut_to = end - edge if end < samples.size else end
        pieces.append(samples[last:cut_from])
        heard += cut_from - last
        last = cut_to
        cuts.append(Cut(at_s=heard / SAMPLE_RATE, length_s=(cut_to - cut_from) / SAMPLE_RATE))
    pieces.append(samples[last:])
    left = np.concatenate(pieces)
    sounds = np.flatnonzero(np.abs(left) >= SILENT)
    sounds_s = int(sounds[0]) / SAMPLE_RATE if sounds.size else 0.0
    return Audible(samples=left, cuts=tuple(cuts), sounds_s=sounds_s)


def _silences(samples: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Beginning and end of each stretch of silence that is long enough to be shortened."""
    n_blocks = -(-samples.size // _BLOCK)
    padded = np.zeros(n_blocks * _BLOCK, np.float32)
    padded[: samples.size] = np.abs(samples)
    is_silent = padded.reshape(n_blocks, _BLOCK).max(axis=1, initial=0.0) < SILENT
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_silent, [False])).astype(np.int8)))
    ends = [(int(a) * _BLOCK, min(int(b) * _BLOCK, samples.size)) for a, b in edges.reshape(-1, 2)]
    least = int(LEAST_S * SAMPLE_RATE)
    return [(a, b) for a, b in ends if b - a >= least or (a, b) == (0, samples.size)]
