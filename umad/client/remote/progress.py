"""Keeps what of an answer has come, and makes the request for the rest of it. Pure.

    progress = AnswerProgress(request)
    progress.rest(0.0)          the request to send: at first the whole, after a cut what is missing
    progress.heard(event)       the event as the client should see it, or None

After a cut one completion after another is asked for by itself. One that had begun is resumed
(`umad.request.AnswerSoFar`), one that had not is asked for with the seed that it would have had.
Where nothing was accepted yet, the whole is asked again: the machine that had it is gone, or it
has seen its client go.
"""

from array import array
from dataclasses import replace

from umad.errors import ConnectionLost, DeadlineExceeded
from umad.request import SEED_BITS, AnswerSoFar, GenerateRequest
from umad.service import (
    Accepted,
    Done,
    GenerationEvent,
    Loading,
    Logits,
    Progress,
    PromptLogprobs,
    Tokens,
)


class AnswerProgress:
    """One answer, of one or several completions."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._accepted: Accepted | None = None
        # What the client itself brought: it may resume an answer that is cut once more.
        self._begun = () if request.resume is None else request.resume.tokens
        self._ids = [array("i") for _ in range(request.n)]
        # What each completion's tokens are of.
        self._models = ["" if request.resume is None else request.resume.fingerprint] * request.n
        self._done = [False] * request.n
        # The text that stood behind the last token has come, so only the end is missing.
        self._has_tail = [False] * request.n
        # The completion that is asked for by itself; None while the whole is.
        self._only: int | None = None
        # Completions whose times another machine counted in part.
        self._moved: set[int] = set()
        self._first_s: list[float | None] = [None] * request.n

    @property
    def is_over(self) -> bool:
        """Whether every completion has come to its end."""
        return all(self._done)

    @property
    def is_resumed(self) -> bool:
        """Whether what is asked for now goes on with an answer."""
        return self._only is not None and bool(self._ids[self._only])

    def rest(self, elapsed_s: float) -> GenerateRequest:
        """The next request to send, after so many seconds. Raises `ConnectionLost` where the answer
        cannot be continued, `DeadlineExceeded` where its time is over.
        """
        request, accepted = self._request, self._accepted
        if request.deadline_ms is not None and elapsed_s:
            left_ms = request.deadline_ms - round(elapsed_s * 1e3)
            if left_ms < 1:
                raise DeadlineExceeded(
                    f"the request had not ended {request.deadline_ms} ms after it was sent"
                )
            request = replace(request, deadline_ms=left_ms)
        if accepted is None:
            return request
        self._only = only = self._done.index(False)
        self._moved.add(only)
        if accepted.seed is None or accepted.max_tokens is None:
            raise ConnectionLost(
                "the answer was cut, and its machine has not told how to go on with it"
            )
        asked = request.sampling
        sampling = replace(
            asked,
            seed=(accepted.seed + only) % 2**SEED_BITS,
            max_tokens=accepted.max_tokens,
            fit=asked.fit or asked.max_tokens is None,
        )
        resume = None
        if begun := (*self._begun, *self._ids[only]):
            if not self._models[only]:
                raise ConnectionLost(
                    "the answer was cut, and another machine cannot go on with it: what its model "
                    "is was not told (answers with adapters cannot be continued)"
                )
            resume = AnswerSoFar(tokens=begun, fingerprint=self._models[only])
        return replace(
            request,
            n=1,
            sampling=sampling,
            resume=resume,
            model=request.model if request.model is not None else accepted.model,
        )

    def heard(self, event: GenerationEvent, elapsed_s: float) -> GenerationEvent | None:
        """An event of the request that was sent last, after so many seconds, as one of the whole;
        None for what the client knows already.
        """
        match event:
            case Accepted():
                self._learn(event.fingerprint)
                if self._accepted is not None:
                    return None
                self._accepted = event
                return event
            case Loading():
                self._learn(event.fingerprint)
                return event
            case Progress() | PromptLogprobs():
                index = self._index(event.index)
                return None if self._ids[index] else replace(event, index=index)
            case Tokens():
                index = self._index(event.index)
                if not event.ids:
                    if self._has_tail[index]:
                        return None
                    self._has_tail[index] = True
                self._ids[index].extend(event.ids)
                if self._first_s[index] is None:
                    self._first_s[index] = elapsed_s
                return event if index == event.index else replace(event, index=index)
            case Done():
                index = self._index(event.index)
                self._done[index] = True
                return self._timed(replace(event, index=index), elapsed_s)
            case Logits():
                return None

    def _index(self, said: int) -> int:
        return said if self._only is None else self._only

    def _learn(self, fingerprint: str) -> None:
        """What the tokens will be of that come from now on."""
        if not fingerprint:
            return
        asked = range(self._request.n) if self._only is None else (self._only,)
        for index in asked:
            if not self._ids[index]:
                self._models[index] = fingerprint

    def _timed(self, done: Done, elapsed_s: float) -> Done:
        """The times of a completion that moved, as its client saw them."""
        if done.index not in self._moved:
            return done
        first_s = self._first_s[done.index]
        timings = replace(
            done.timings,
            first_token_ms=(elapsed_s if first_s is None else first_s) * 1e3,
            total_ms=elapsed_s * 1e3,
        )
        return replace(done, timings=timings)
