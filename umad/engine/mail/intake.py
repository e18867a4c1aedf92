"""Turns a `Submit` into what the step thread needs; all that is slow or can fail happens here.

Rendering, tokenizing and checking happen beside the decode: on the mailbox thread or, where they
take longer than a moment, on a thread of `long_intake`. A resumed completion is brought to where it
stood: its tokens join the prompt (to be computed again), and its text and its sampler's history are
replayed without anything being sent. Not: the order of requests (the scheduler).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from umad.chat.reader import ReplyReader
from umad.constraint import Constraint, ConstraintKind
from umad.conversation import ChatOptions, from_json
from umad.engine.adapters.invocation import invoked_at
from umad.engine.adapters.reading import AdapterReader
from umad.engine.ahead.turns import AskedTurn
from umad.engine.chats.chat_template import ChatTemplate, Rendered
from umad.engine.chats.turn_marks import turn_marks
from umad.engine.chats.unseen import files_of, placed_in
from umad.engine.constraints.answer_rules import AnswerRules
from umad.engine.logits.readers import LogitsReader
from umad.engine.mail.media_intake import PLACE_WORD, MediaIntake, SeenTurns
from umad.engine.mail.step_mail import Arrival
from umad.engine.media.prompt import MediaPrompt, of_tokens
from umad.engine.steps.completion_stream import CompletionStream
from umad.engine.steps.prompt_scorer import PromptScorer
from umad.engine.vocab import Vocabulary
from umad.errors import BadRequest, InternalError, OtherModel, PromptTooLong, Unsupported
from umad.models.positions import StreamBound
from umad.protocol.link import Emitted, Ended, StepReport, Submit
from umad.request import FinishReason
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler
from umad.scheduler.media.cells import is_text
from umad.scheduler.scheduled_request import Submission
from umad.session_names import kept_name

_NO_OPTIONS = ChatOptions()
# The mailbox thread tokenizes a text of up to so many characters itself. llama.cpp takes 1.3 ms for
# a text of this length that is one letter over and over, the slowest kind (nano, two cores).
SHORT_CHARS = 1024
# The end of an error about a text that is too long: how to have longer ones, by what bounds them.
_LONGER: Mapping[StreamBound | Literal["limits"], str] = {
    "pool": ", or serve with a larger --ctx-size",
    "training": "; it is the length that the model was trained on. --ctx-per-stream goes beyond "
    "it, as far as --ctx-size has cells ({cells})",
    "asked": ", or serve with a larger --ctx-per-stream (--ctx-size has {cells} cells)",
    "positions": "; the model has weights for no more positions",
    "limits": ", or serve with a larger --limits-prompt-tokens",
}
# Most log-probabilities (alternatives to tokens) of one prompt; the gateway holds them until its
# answer is whole.
MOST_PROMPT_LOGPROBS = 2**18


class Intake:
    """Checks and tokenizes requests. It never changes: the mailbox thread and those of
    `long_intake` use it.
    """

    def __init__(
        self,
        *,
        vocab: Vocabulary,
        template: ChatTemplate,
        rules: AnswerRules,
        guarded: frozenset[str],
        most_prompt_tokens: int,
        n_cells: int,
        text_tokens: int | None = None,
        text_bound: StreamBound = "pool",
        marks_turns: bool = False,
        reads_ahead: bool = False,
        adapters: AdapterReader | None = None,
        speculates: bool = False,
        media: MediaIntake | None = None,
        fingerprint: str = "",
    ) -> None:
        """text_tokens: most positions of one text, prompt and answer together; None for as many as
        there are cells. text_bound: what sets it, for errors that say how to have more.
        marks_turns: tell the scheduler where the turns of a chat end. reads_ahead: keep what is
        needed of a chat to compute its next turn ahead. adapters: None where none are served.
        speculates: next tokens may be guessed. media: what takes images and sounds in; None
        for a model of texts. fingerprint: what answers of other machines have to be of.
        """
        self._fingerprint = fingerprint
        self._media = media or MediaIntake(vocab)
        self._speculates = speculates
        self._adapters = adapters or AdapterReader(None)
        self._vocab = vocab
        self._template = template
        self._rules = rules
        self._guarded = guarded
        self._marks_turns = marks_turns
        self._reads_ahead = reads_ahead
        self._n_cells = n_cells
        self._text_tokens = n_cells if text_tokens is None else text_tokens
        self._most_prompt_tokens = min(most_prompt_tokens, self._text_tokens)
        self._longer = _LONGER[text_bound].format(cells=n_cells)
        self._longer_prompt = self._longer
        if most_prompt_tokens < self._text_tokens:
            self._longer_prompt = _LONGER["limits"]

    @staticmethod
    def takes_long(submit: Submit) -> bool:
        """True if taking the request in may take longer than a moment: another process renders a
        chat, a grammar is compiled, a long text is tokenized, an adapter's or a medium's file is
        read.
        """
        if submit.constraint is not None or submit.chat is not None:
            return True
        if submit.adapters or submit.media:
            return True
        return len(submit.prompt or submit.prompt_ids or ()) + len(submit.resume) > SHORT_CHARS

    def take(self, submit: Submit) -> Arrival | StepReport:
        """Prepare a request for the scheduler. A resumed completion may have reached its end when
        its engine died; then return the report that says so. Raises `BadRequest`, `PromptTooLong`,
        and `Unsupported` for a model that only embeds (it has no cells).
        """
        sampling = submit.sampling
        if not self._n_cells:
            raise Unsupported(
                "this model is an encoder: it embeds texts and writes none; name another model",
                field="model",
            )
        if sampling.seed is None or sampling.max_tokens is None:
            raise InternalError("the daemon always sets seed and max_tokens")
        self._check_model(submit)
        vocab = self._vocab
        adapters = self._adapters.set_of(submit.adapters) if submit.adapters else None
        rendered, opening, options, seen = None, "", _NO_OPTIONS, None
        is_later = False
        piece = vocab.piece
        if submit.chat is not None:
            messages, options = from_json(submit.chat, files_of(submit.media))
            seen = self._media.seen(messages, pixels=True)
            # Ends of turns are places in a text, which a prompt with media is not.
            ends = self._marks_turns and not seen.media
            rendered = self._template.render(seen.turns, options, vocab.guard, ends=ends)
            is_later = any(turn.role == "assistant" for turn in messages)
            if options.markup:
                opening, piece = rendered.opened, vocab.marked_piece
        laid = self._prompt(submit, rendered, options, seen)
        prompt = laid.tokens
        begins_at = invoked_at(adapters, prompt)
        max_new_tokens = sampling.max_tokens
        if sampling.fit:
            # The last token is never computed, so it needs no cell.
            max_new_tokens = max(1, min(max_new_tokens, self._text_tokens + 1 - prompt.size))
        if self._text_tokens < min(self._n_cells, prompt.size + max_new_tokens - 1):
            raise PromptTooLong(
                f"{prompt.size} prompt tokens and {max_new_tokens} to generate are more than the "
                f"{self._text_tokens} positions of one stream: shorten the prompt, ask for fewer "
                f"tokens{self._longer}",
                field="prompt",
            )
        # A resumed completion has drawn a token, so its prompt has been scored.
        n_top = None if submit.resume else sampling.prompt_logprobs
        if n_top is not None and laid.spans:
            raise BadRequest(
                "a prompt with images or sounds has no log-probabilities", field="prompt_logprobs"
            )
        if n_top is not None and prompt.size * max(1, n_top) > MOST_PROMPT_LOGPROBS:
            raise PromptTooLong(
                f"{prompt.size} prompt tokens with {n_top} alternatives each are more than "
                f"{MOST_PROMPT_LOGPROBS} log-probabilities: shorten the prompt, or ask for fewer",
                field="prompt_logprobs",
            )
        resumed = vocab.checked(submit.resume, field="resume.tokens")
        tokens = np.concatenate([prompt, resumed]) if resumed.size else prompt
        one_call = self._one_call(options)
        if one_call is not None and resumed.size:
            one_call.push(opening)
        mask = self._rules.mask(_constraint(submit), options, rendered, submit.resume)
        stream = CompletionStream(
            rid=submit.rid,
            sampler=Sampler(
                sampling,
                seed=sampling.seed,
                n_vocab=vocab.n_vocab,
                eog=vocab.eog,
                history=tokens[is_text(tokens)] if laid.spans else tokens,
                n_prompt=int(is_text(prompt).sum()) if laid.spans else prompt.size,
            ),
            detokenizer=Detokenizer(piece, stops=sampling.stop),
            eog=vocab.eog,
            n_prompt=prompt.size,
            n_generated=resumed.size,
            text_decides=bool(sampling.stop) or one_call is not None,
            one_call=one_call,
            guarded=submit.lane in self._guarded,
            opening="" if resumed.size else opening,
            reader=None if submit.logits is None else LogitsReader(submit.logits),
            mask=self._rules.limit(options, rendered, mask, submit.resume),
            scorer=None
            if n_top is None
            else PromptScorer(prompt, n_top=n_top, n_vocab=vocab.n_vocab),
        )
        if resumed.size:
            reason = _replay(stream, submit.resume, max_new_tokens)
            if reason is not None:
                return _already_ended(stream, reason)
        marks = self._marks(rendered, prompt, len(options.context))
        turn = None
        # Nothing is computed ahead under adapters, because nobody holds them in memory by then.
        reads_ahead = self._reads_ahead and submit.lane in self._guarded and adapters is None
        if reads_ahead and submit.chat is not None and not laid.spans:
            turn = AskedTurn(
                chat=submit.chat,
                opening=opening,
                stops=sampling.stop,
                mark=marks[-1] if marks else 0,
                is_later=is_later,
            )
        return Arrival(
            stream=stream,
            turn=turn,
            adapters=adapters,
            media=laid.runs,
            admission=Submission(
                rid=submit.rid,
                tokens=tokens,
                n_prompt=prompt.size,
                max_new_tokens=max_new_tokens,
                lane=submit.lane,
                app=submit.app,
                # The next invocation of an activated adapter stands at another place, so nothing of
                # this one is of use then.
                session=None
                if begins_at
                else kept_name(submit.session, "" if adapters is None else adapters.key),
                adapters="" if adapters is None else adapters.key,
                invoked_at=begins_at,
                latency_cap=submit.latency_cap,
                deadline_ms=submit.deadline_ms,
                owner=submit.owner,
                salt=submit.salt,
                leaves_nothing=submit.leaves_nothing,
                scores_prompt=n_top is not None,
                marks=marks,
                spans=laid.spans,
                # A client that reads its rows of logits gets one row a step. Guesses look into
                # the prompt's tokens, and rows have none.
                speculates=self._speculates
                and submit.speculate
                and submit.logits is None
                and not laid.spans,
                forced=None if stream.mask is None else stream.mask.forced,
            ),
        )

    def _check_model(self, submit: Submit) -> None:
        if submit.fingerprint and (submit.adapters or submit.fingerprint != self._fingerprint):
            raise OtherModel(
                "another model, or one with adapters, began this answer, so it cannot go on here: "
                "resume it at a machine with the same fingerprint, or ask anew",
                field="resume.fingerprint",
            )

    def _marks(
        self, rendered: Rendered | None, prompt: NDArray[np.int32], n_context: int
    ) -> tuple[int, ...]:
        """The places at which the turns of a chat end. n_context: tokens before the turns."""
        if rendered is None or not rendered.ends:
            return ()
        marks = turn_marks(self._vocab, rendered.text, prompt[n_context:], rendered.ends)
        return tuple(n_context + mark for mark in marks)

    def _one_call(self, options: ChatOptions) -> ReplyReader | None:
        """The reader of an answer that ends with its first call; None for any other answer."""
        may_call = options.markup and options.tools and options.tool_choice != "none"
        if options.parallel_tool_calls or not may_call:
            return None
        return ReplyReader(
            self._template.format,
            tools=options.tools,
            fenced=options.fenced_calls,
            one_call=True,
        )

    def render(
        self, chat: str | None, media: Sequence[tuple[str, bytes, str, int]] = ()
    ) -> dict[str, Any]:
        """The model's template, and the prompt that it makes of `chat`
        (`umad.conversation.to_json`) and its `media`, as in `Submit`. Raises `BadRequest` and
        `PromptTooLong` as `take` does.
        """
        prompt: dict[str, Any] = {"template": self._template.source}
        if chat is None:
            return prompt
        messages, options = from_json(chat, files_of(media))
        seen = self._media.seen(messages, pixels=False)
        rendered = self._template.render(seen.turns, options, self._vocab.guard)
        self._check_size(rendered.text)
        ids = self._chat_prompt(rendered, options, seen).tokens
        self._check_length(ids.size)
        text = self._vocab.unguarded(seen.marks.replaced(rendered.text, PLACE_WORD))
        return {**prompt, "text": text, "ids": ids.tolist()}

    def _chat_prompt(
        self, rendered: Rendered, options: ChatOptions, seen: SeenTurns
    ) -> MediaPrompt:
        vocab = self._vocab
        earlier = vocab.checked(options.context, field="context") if options.context else None
        if seen.media:
            return self._media.of_chat(seen, rendered.text, earlier)
        ids = vocab.tokenize_rendered(rendered.text)
        if earlier is None:
            return of_tokens(ids)
        # The beginning token stands before the earlier conversation already.
        return of_tokens(np.concatenate([earlier, vocab.without_bos(ids)]))

    def _prompt(
        self,
        submit: Submit,
        rendered: Rendered | None,
        options: ChatOptions,
        seen: SeenTurns | None,
    ) -> MediaPrompt:
        vocab = self._vocab
        if submit.prompt_ids is not None:
            self._check_length(len(submit.prompt_ids))
            prompt = of_tokens(vocab.checked(submit.prompt_ids))
        elif rendered is not None and seen is not None:
            self._check_size(rendered.text)
            prompt = self._chat_prompt(rendered, options, seen)
        else:
            text = submit.prompt or ""
            self._check_size(text)
            prompt = self._media.of_text(
                text,
                placed_in(submit.media),
                lambda piece, is_first: vocab.tokenize(
                    piece, special=submit.special, with_ends=is_first
                ),
            )
        if not prompt.tokens.size:
            raise BadRequest("the prompt has no tokens", field="prompt")
        self._check_length(prompt.tokens.size)
        return prompt

    def _check_size(self, text: str) -> None:
        self._vocab.check_size(
            text, self._most_prompt_tokens, field="prompt", longer=self._longer_prompt
        )

    def _check_length(self, n_tokens: int) -> None:
        if n_tokens > self._most_prompt_tokens:
            raise PromptTooLong(
                f"the prompt has {n_tokens} tokens and at most {self._most_prompt_tokens} are "
                f"taken: shorten it{self._longer_prompt}",
                field="prompt",
            )


def _constraint(submit: Submit) -> Constraint | None:
    if submit.constraint is None:
        return None
    kind, text = submit.constraint
    return Constraint(kind=cast(ConstraintKind, kind), text=text)


def _replay(
    stream: CompletionStream, tokens: tuple[int, ...], max_tokens: int
) -> FinishReason | None:
    """Bring the text to where it stood. Returns the reason the completion had ended, if it had."""
    for token in tokens:
        if stream.is_over(stream.text_of(token)) or token in stream.eog:
            return "stop"
    return "length" if len(tokens) >= max_tokens else None


def _already_ended(stream: CompletionStream, reason: FinishReason) -> StepReport:
    text = stream.last_text()
    stop = stream.detokenizer.stop
    return StepReport(
        emitted=(Emitted(rid=stream.rid, ids=(), text=text),) if text else (),
        ended=(
            Ended(
                rid=stream.rid,
                reason="stop" if stop is not None else reason,
                prompt_tokens=stream.n_prompt,
                cached_tokens=0,
                completion_tokens=stream.n_generated,
                stop=stop,
            ),
        ),
    )
