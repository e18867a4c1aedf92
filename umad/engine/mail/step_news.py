"""Collects what a step brought and encodes it as a report to the daemon. Pure.

A `DrawnToken` whose `text` is None gets its text when the report is made.
Not: sending it (`umad.engine.mail.emitter`).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from umad.engine.steps.completion_stream import CompletionStream
from umad.errors import UmadError
from umad.protocol.events import tokens_tail
from umad.protocol.link import (
    Emitted,
    Ended,
    Prefilled,
    Rejected,
    Scored,
    StepReport,
    StepStats,
    encode,
    encode_step_tokens,
)
from umad.service import TokenLogprob
from umad.step import Finished

LinkLogprob = tuple[float, tuple[tuple[int, float], ...]]


class DrawnToken(NamedTuple):
    """One new token of one stream."""

    stream: CompletionStream
    token: int
    logprob: TokenLogprob | None
    text: str | None


class ScoredPrompt(NamedTuple):
    """Log-probabilities of one prompt's tokens from `start` on; `before` is the token before
    them.
    """

    rid: int
    start: int
    before: int
    tokens: tuple[TokenLogprob, ...]


@dataclass(slots=True, kw_only=True)
class News:
    """The news of one step, or of the mail between two steps."""

    drawn: list[DrawnToken] = field(default_factory=list)
    ended: list[tuple[Finished, CompletionStream]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    prefilled: list[Prefilled] = field(default_factory=list)
    scored: list[ScoredPrompt] = field(default_factory=list)
    logits: list[tuple[int, int]] = field(default_factory=list)
    stats: StepStats | None = None
    # How long readers would have waited for the step with its interactive work alone; 0 where it
    # had none.
    solo_ms: float = 0.0
    # What the step carried beside the next tokens of interactive streams, in bits of `umad.step`.
    carried: int = 0

    def __bool__(self) -> bool:
        return bool(
            self.drawn
            or self.ended
            or self.rejected
            or self.prefilled
            or self.scored
            or self.logits
            or self.stats is not None
        )

    def progress(self, stream: CompletionStream | None, done_tokens: int) -> None:
        """Tell how much of a prompt is computed. What has no stream is computed ahead, and nobody
        hears of it.
        """
        if stream is None:
            return
        # A resumed or preempted stream computes tokens beyond its prompt again; they are no
        # progress.
        done_tokens = min(done_tokens, stream.n_prompt)
        self.prefilled.append(
            Prefilled(rid=stream.rid, done_tokens=done_tokens, total_tokens=stream.n_prompt)
        )


def rejection(rid: int, error: UmadError) -> Rejected:
    """The message for a completion that ends with an error of its own."""
    return Rejected(rid=rid, code=error.code, message=error.message, field=error.field)


def encode_news(news: News) -> bytes:
    """Encode the message's body. A step that brought tokens and nothing else has a short form."""
    drawn = news.drawn
    if (
        news.ended
        or news.rejected
        or news.prefilled
        or news.scored
        or news.logits
        or news.stats is not None
        or any(one.logprob is not None for one in drawn)
    ):
        return encode(report(news))
    rows: list[int | bytes] = []
    for stream, token, _, text in drawn:
        if text is None:
            text = stream.text_of(token)
        rows += (stream.rid, token, tokens_tail(text, token))
    return encode_step_tokens(news.solo_ms, rows, carried=news.carried)


def report(news: News) -> StepReport:
    """Put all news into the link's form; text that is not made yet is detokenized here."""
    # A stream may have several tokens, whose texts are made in their order.
    texts = [one.stream.text_of(one.token) if one.text is None else one.text for one in news.drawn]
    ended = []
    held_back: dict[int, str] = {}
    for finished, stream in news.ended:
        if finished.reason != "cancelled":
            held_back[finished.rid] = stream.last_text()
        ended.append(_ended(finished, stream))
    if held_back:
        for at in range(len(texts) - 1, -1, -1):
            # It stands behind the stream's last token.
            texts[at] += held_back.pop(news.drawn[at].stream.rid, "")
    emitted = [
        Emitted(
            rid=one.stream.rid,
            ids=(one.token,),
            text=text,
            logprobs=None if one.logprob is None else (_link_logprob(one.logprob),),
        )
        for one, text in zip(news.drawn, texts, strict=True)
    ]
    # The completion ended without a token of this step.
    emitted += [Emitted(rid=rid, ids=(), text=text) for rid, text in held_back.items() if text]
    return StepReport(
        emitted=tuple(emitted),
        ended=tuple(ended),
        rejected=tuple(news.rejected),
        prefilled=tuple(news.prefilled),
        scored=tuple([_scored(one) for one in news.scored]),
        logits=tuple(news.logits),
        stats=news.stats,
        solo_ms=news.solo_ms,
        carried=news.carried,
    )


def _ended(finished: Finished, stream: CompletionStream) -> Ended:
    stop = stream.detokenizer.stop
    # The last text may complete a stop string only now, after "length" has ended the completion.
    reason = "stop" if stop is not None and finished.reason == "length" else finished.reason
    return Ended(
        rid=finished.rid,
        reason=reason,
        prompt_tokens=finished.prompt_tokens,
        cached_tokens=finished.cached_tokens,
        completion_tokens=finished.completion_tokens,
        stop=stop if reason == "stop" else None,
    )


def _scored(prompt: ScoredPrompt) -> Scored:
    return Scored(
        rid=prompt.rid,
        start=prompt.start,
        before=prompt.before,
        ids=tuple([one.id for one in prompt.tokens]),
        logprobs=tuple([_link_logprob(one) for one in prompt.tokens]),
    )


def _link_logprob(logprob: TokenLogprob) -> LinkLogprob:
    return (logprob.logprob, logprob.top)
