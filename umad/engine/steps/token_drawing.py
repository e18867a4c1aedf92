"""Turns a step's rows of logits into tokens: shows them to clients that read, draws all others.

A completion whose mask is late is put aside and drawn from later, so that no other completion waits
for its grammar.
Not: how a token is drawn (`umad.sampling`), or which requests end (the scheduler).
Owner: the step thread.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from umad.engine.constraints.answer_mask import MASK_S, PATIENCE_S
from umad.engine.execution import Decoded
from umad.engine.logits.readers import Pausable, Readers
from umad.engine.mail.step_news import DrawnToken, News, ScoredPrompt
from umad.engine.mail.step_tally import Totals
from umad.engine.steps.completion_stream import CompletionStream
from umad.errors import UmadError
from umad.request import FinishReason
from umad.service import TokenLogprob
from umad.step import GuessSlice, Sampled, Verified

log = logging.getLogger("umad.engine")

_MASK_NS = int(MASK_S * 1e9)
_PATIENCE_NS = int(PATIENCE_S * 1e9)


@dataclass(slots=True, kw_only=True, eq=False)
class _Late:
    """A completion whose mask is not made yet."""

    stream: CompletionStream
    # float32 (1, n_vocab), a copy of its own.
    row: NDArray[np.float32]
    since_ns: int
    # Its client has stopped reading, too.
    unread: bool = False


class TokenDrawing:
    """Draws the tokens of one step loop.

    streams: the live ones by rid. totals: counts the tokens drawn and the rows copied. scheduler:
    is told to pass over completions whose masks are late.
    """

    def __init__(
        self,
        streams: Mapping[int, CompletionStream],
        readers: Readers,
        totals: Totals,
        now_ns: Callable[[], int],
        scheduler: Pausable,
    ) -> None:
        self._streams = streams
        self._readers = readers
        self._totals = totals
        self._now_ns = now_ns
        self._scheduler = scheduler
        self._late: dict[int, _Late] = {}

    def __bool__(self) -> bool:
        """True if a completion waits for a mask."""
        return bool(self._late)

    def sample(self, decoded: Decoded, news: News) -> tuple[Sampled, ...]:
        """Draw a token for every row. Rows that a client chooses from, and rows whose masks are
        late, get none.
        """
        sampled: list[Sampled] = []
        unread: list[Sampled] = []
        patience_s = PATIENCE_S
        streams, logits = self._streams, decoded.logits
        for row, rid in enumerate(decoded.rids):
            stream = streams.get(rid)
            if stream is None:  # computed ahead of a turn that has not come: nobody reads it
                unread.append(Sampled(rid=rid, token=0, finish="stop"))
                continue
            if stream.reader is not None and self._show(stream, logits[row], news):
                continue
            if stream.mask is not None and not stream.mask.is_ready(patience_s):
                patience_s = 0.0
                self._put_aside(stream, logits[row])
                continue
            sampled.append(self._draw(stream, row, logits, news))
        self._totals.sampled += len(sampled)
        return (*sampled, *unread)

    def verify(
        self,
        guesses: tuple[GuessSlice, ...],
        decoded: Decoded,
        sampled: tuple[Sampled, ...],
        news: News,
    ) -> tuple[tuple[Sampled, ...], tuple[Verified, ...]]:
        """Draw tokens from the rows of guesses, up to the first guess that was wrong. Return all
        tokens of the step, and how many guesses of each stream held.

        Each token is drawn as it would be in a step of its own: with the number of its position,
        the penalties for all tokens before it, and the mask that they lead to. So guesses change no
        token. A mask is made while the others wait, since no decode runs meanwhile. So a step waits
        for its guesses' masks twice `PATIENCE_S` at most, however many they are. Where a mask comes
        later, its row is computed again in the next step. sampled: the tokens that `sample` drew
        from the rows before the guesses.
        """
        last = {one.rid: one for one in sampled}
        drawn, verified = list(sampled), list[Verified]()
        n_first, logits, row = len(sampled), decoded.logits, len(decoded.rids)
        waited_ns = 0
        for guess in guesses:
            rid, tokens = guess.rid, guess.tokens
            stream, now, n_accepted = self._streams[rid], last.get(rid), 0
            for at, token in enumerate(tokens, row):
                # No token, because its mask is late or its client chooses it: nothing to compare.
                if now is None or now.finish is not None or now.token != token:
                    break
                mask = stream.mask
                if mask is not None and not mask.is_made:
                    if waited_ns >= _PATIENCE_NS:
                        break
                    began_ns = self._now_ns()
                    is_late = not mask.is_ready(PATIENCE_S)
                    waited_ns += self._now_ns() - began_ns
                    if is_late:
                        break
                n_accepted += 1
                now = self._draw(stream, at, logits, news)
                drawn.append(now)
            verified.append(Verified(rid, n_accepted))
            row += len(tokens)
        self._totals.sampled += len(drawn) - n_first
        return tuple(drawn), tuple(verified)

    def score(self, decoded: Decoded, news: News) -> tuple[Sampled, ...]:
        """Tell how probable the tokens of prompts are whose rows have logits, and draw a token for
        each prompt that ends with this step.
        """
        sampled: list[Sampled] = []
        for rows in decoded.scored:
            stream = self._streams[rows.rid]
            logits = decoded.logits[rows.at : rows.at + rows.n_rows]
            if stream.scorer is not None:
                try:
                    start, before, told = stream.scorer.scored(logits, rows.start)
                except UmadError as error:
                    stream.error = error
                    sampled.append(Sampled(rid=rows.rid, token=0, finish="error"))
                    continue
                if told:
                    news.scored.append(ScoredPrompt(rows.rid, start, before, told))
            if rows.draws:
                last = replace(decoded, rids=[rows.rid], logits=logits[-1:], scored=())
                sampled += self.sample(last, news)
        return tuple(sampled)

    def late(self, news: News) -> Iterator[Sampled]:
        """Tokens of completions whose late masks have been made meanwhile; book each before the
        next. After `MASK_S` a completion ends with an error.
        """
        now_ns = self._now_ns()
        for rid, late in list(self._late.items()):
            stream, mask = late.stream, late.stream.mask
            if mask is not None and not mask.is_made:
                if now_ns - late.since_ns < _MASK_NS:
                    continue
                stream.error = mask.give_up()
                del self._late[rid]
                yield Sampled(rid=rid, token=0, finish="error")
                continue
            del self._late[rid]
            self._totals.sampled += 1
            yield self._draw(stream, 0, late.row, news)
            if late.unread:
                self._scheduler.pause(rid)
            else:
                self._scheduler.resume(rid)

    def pause(self, rid: int) -> bool:
        """The client does not read. Returns whether its completion waits for a mask anyway."""
        late = self._late.get(rid)
        if late is not None:
            late.unread = True
            self._scheduler.pause(rid)
        return late is not None

    def resume(self, rid: int) -> bool:
        """The client reads again. Returns whether its completion still waits for a mask."""
        late = self._late.get(rid)
        if late is not None:
            late.unread = False
            self._scheduler.pause(rid, gives_way=False)
        return late is not None

    def forget(self, rid: int) -> None:
        """The completion has ended."""
        self._late.pop(rid, None)

    def _put_aside(self, stream: CompletionStream, row: NDArray[np.float32]) -> None:
        self._late[stream.rid] = _Late(
            stream=stream, row=row.copy()[np.newaxis], since_ns=self._now_ns()
        )
        self._totals.copied += 1
        self._scheduler.pause(stream.rid, gives_way=False)

    def _show(self, stream: CompletionStream, row: NDArray[np.float32], news: News) -> bool:
        """Put a row where its client sees it. Returns whether the client chooses from it."""
        is_choice = self._readers.write(stream, row, self._now_ns())
        news.logits.append((stream.rid, stream.n_generated))
        self._totals.copied += not is_choice
        return is_choice

    def _draw(
        self, stream: CompletionStream, row: int, logits: NDArray[np.float32], news: News
    ) -> Sampled:
        try:
            mask = stream.mask
            allowed = None if mask is None else mask.allowed()
            copied_rows = stream.sampler.copied_rows
            token, logprob = stream.sampler.sample(logits[row], stream.n_generated, allowed)
            if stream.reader is None:  # else it is counted already
                self._totals.copied += stream.sampler.copied_rows - copied_rows
        except UmadError as error:
            # The fault lies in this completion's own logits or parameters; the others go on.
            stream.error = error
            log.warning("sampling failed rid=%d code=%s", stream.rid, error.code)
            return Sampled(rid=stream.rid, token=0, finish="error")
        return self.accept(stream, token, logprob, news)

    def accept(
        self, stream: CompletionStream, token: int, logprob: TokenLogprob | None, news: News
    ) -> Sampled:
        """Book a stream's token, drawn here or chosen by its client, and make it news."""
        stream.sampler.accept(token)
        if stream.mask is not None:
            stream.mask.accept(token)
        stream.n_generated += 1
        finish: FinishReason | None = "stop" if token in stream.eog else None
        text = None
        if stream.text_decides:
            text = stream.text_of(token)
            if stream.is_over(text):
                finish = "stop"
        news.drawn.append(DrawnToken(stream, token, logprob, text))
        return Sampled(rid=stream.rid, token=token, finish=finish)
