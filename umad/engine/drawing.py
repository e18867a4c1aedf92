"""From a step's rows of logits to tokens: shown to clients that read them, drawn for all others.

Not: how one is drawn (`umad.sampling`), or which requests end (the scheduler).
Owner: the step thread.
"""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from umad.engine.execution import Decoded
from umad.engine.news import DrawnToken, News
from umad.engine.reading import Readers
from umad.engine.stream import Stream
from umad.engine.tally import Totals
from umad.errors import UmadError
from umad.request import FinishReason
from umad.service import TokenLogprob
from umad.step import Sampled

log = logging.getLogger("umad.engine")


class Drawing:
    """streams: the live ones by rid. totals: where tokens drawn and rows copied are counted."""

    def __init__(
        self,
        streams: Mapping[int, Stream],
        readers: Readers,
        totals: Totals,
        now_ns: Callable[[], int],
    ) -> None:
        self._streams = streams
        self._readers = readers
        self._totals = totals
        self._now_ns = now_ns

    def sample(self, decoded: Decoded, news: News) -> tuple[Sampled, ...]:
        """A token for every row, but for those that a client chooses from."""
        sampled = []
        streams, logits = self._streams, decoded.logits
        for row, rid in enumerate(decoded.rids):
            stream = streams[rid]
            if stream.reader is not None and self._show(stream, logits[row], news):
                continue
            sampled.append(self._draw(stream, row, logits, news))
        self._totals.sampled += len(sampled)
        return tuple(sampled)

    def _show(self, stream: Stream, row: NDArray[np.float32], news: News) -> bool:
        """Put a row where its client sees it; whether the client is to choose from it."""
        is_choice = self._readers.write(stream, row, self._now_ns())
        news.logits.append((stream.rid, stream.n_generated))
        self._totals.copied += not is_choice
        return is_choice

    def _draw(self, stream: Stream, row: int, logits: NDArray[np.float32], news: News) -> Sampled:
        try:
            mask = stream.mask
            allowed = None if mask is None else mask.allowed()
            copied_rows = stream.sampler.copied_rows
            token, logprob = stream.sampler.sample(logits[row], stream.n_generated, allowed)
            if stream.reader is None:  # else it is counted already
                self._totals.copied += stream.sampler.copied_rows - copied_rows
        except UmadError as error:
            # This completion's own logits or parameters; its neighbours are none the worse.
            stream.error = error
            log.warning("sampling failed rid=%d code=%s", stream.rid, error.code)
            return Sampled(rid=stream.rid, token=0, finish="error")
        return self.accept(stream, token, logprob, news)

    def accept(
        self, stream: Stream, token: int, logprob: TokenLogprob | None, news: News
    ) -> Sampled:
        """A stream has a token, drawn here or chosen by its client: book it, and make it news."""
        stream.sampler.accept(token)
        if stream.mask is not None:
            stream.mask.accept(token)
        stream.n_generated += 1
        finish: FinishReason | None = "stop" if token in stream.eog else None
        text = None
        if stream.text_decides:
            text = stream.text_of(token)
            if stream.detokenizer.stop is not None:
                finish = "stop"
        news.drawn.append(DrawnToken(stream, token, logprob, text))
        return Sampled(rid=stream.rid, token=token, finish=finish)
