"""Makes the tokens that the next turn of a chat will begin with, as far as they are known.

The answer is read as a front end reads it, and rendered as a turn of the chat's history, up to the
place where the next turn's own words begin. Clients send an answer's thinking back or leave it out;
the chat's earlier turns tell which, and where they do not, it is left out, since an answer with its
thinking is in the pool as it was generated. Threads: `AheadReader`'s.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umad.chat.events import CallArguments, CallBegan, Content, Reasoning
from umad.chat.reader import ReplyReader
from umad.conversation import ChatMessage, ChatOptions, ToolCall, from_json
from umad.engine.ahead.turns import EndedTurn
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.turn_ends import unknown_words
from umad.engine.chats.turn_marks import tokens_before
from umad.engine.chats.unseen import as_seen
from umad.engine.vocab import Vocabulary
from umad.sampling.detokenizer import Detokenizer
from umad.scheduler.memory.prefix_index import common_prefix

# Fewer tokens than this are computed with the next turn's own words, and nobody feels it.
LEAST_TOKENS = 16
# More tokens take seconds on a slow machine, for a turn that may never come.
MOST_TOKENS = 4096


class NextPrompts:
    """Knows one model's next prompts. has_states: a prefix is shared only where a state was saved
    or a sequence ends, so an answer that is shown otherwise has lost the prompt behind its last
    mark, too.
    """

    def __init__(self, vocab: Vocabulary, template: ChatTemplate, *, has_states: bool) -> None:
        self._vocab = vocab
        self._template = template
        self._has_states = has_states

    def after(self, turn: EndedTurn) -> NDArray[np.int32] | None:
        """The tokens to be computed, int32 (n,); None where it is not worth it."""
        messages, options = from_json(turn.asked.chat)
        if options.continue_final or options.context:
            return None
        messages = as_seen(messages, (), is_answered=True)
        answer = self._answer(turn, options, thinks=_sends_thinking(messages))
        shown = self._template.next_turn(messages, answer, options, self._vocab.guard)
        if shown is None:
            return None
        text, at = shown
        ids = self._vocab.tokenize_rendered(text)
        ids = ids[: tokens_before(self._vocab, text, ids, at)]
        return ids if LEAST_TOKENS <= self._n_new(turn, ids) <= MOST_TOKENS else None

    def _n_new(self, turn: EndedTurn, ids: NDArray[np.int32]) -> int:
        """How many of `ids` are not in the pool."""
        # The last token of an answer is never computed.
        computed = turn.tokens[:-1]
        n_known = common_prefix(computed, ids)
        if self._has_states and n_known < computed.size:
            n_known = min(n_known, turn.asked.mark)
        return ids.size - n_known

    def _answer(self, turn: EndedTurn, options: ChatOptions, *, thinks: bool) -> ChatMessage:
        """The answer as a client sends it back. thinks: with its thinking."""
        text = turn.asked.opening + self._text(turn, options)
        if not options.markup:
            return ChatMessage(role="assistant", content=text)
        tools = options.tools if options.tool_choice != "none" else ()
        reader = ReplyReader(
            self._template.format,
            calls=bool(tools),
            tools=tools,
            fenced=options.fenced_calls,
            one_call=not options.parallel_tool_calls,
        )
        content = reasoning = ""
        names: list[str] = []
        arguments: list[str] = []
        for event in [*reader.push(text), *reader.finish()]:
            if isinstance(event, Content):
                content += event.text
            elif isinstance(event, Reasoning):
                reasoning += event.text
            elif isinstance(event, CallBegan):
                names.append(event.name)
                arguments.append("")
            elif isinstance(event, CallArguments):
                arguments[event.index] += event.text
        # Clients give calls ids of their own, so what a template writes of them is not known.
        calls = [
            ToolCall(name=name, arguments=given, id=unknown_words())
            for name, given in zip(names, arguments, strict=True)
        ]
        return ChatMessage(
            role="assistant",
            content=content,
            reasoning=reasoning if thinks and reasoning else None,
            tool_calls=tuple(calls),
        )

    def _text(self, turn: EndedTurn, options: ChatOptions) -> str:
        """The answer's text, as it was sent."""
        vocab = self._vocab
        piece = vocab.marked_piece if options.markup else vocab.piece
        detokenizer = Detokenizer(piece, stops=turn.asked.stops)
        said = [
            detokenizer.push(token).text
            for token in turn.tokens[turn.n_prompt :].tolist()
            if token not in vocab.eog
        ]
        return "".join([*said, detokenizer.flush()])


def _sends_thinking(messages: Sequence[ChatMessage]) -> bool:
    return any(turn.reasoning is not None for turn in messages if turn.role == "assistant")
