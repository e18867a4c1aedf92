"""The prompt of a chat's next turn, known when its answer has ended."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.named_controls import NamedControls
from tests.engine.strict_templates import MISTRAL
from tests.engine.turn_templates import CHANNELS, CONTROLS, DROPS_THOUGHTS, OPENS_THOUGHTS
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall, to_json
from umad.engine.ahead.next_prompt import LEAST_TOKENS, MOST_TOKENS, NextPrompts
from umad.engine.ahead.turns import AskedTurn, EndedTurn
from umad.engine.chats import chat_template
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.template_program import TemplateProgram
from umad.engine.chats.turn_marks import turn_marks
from umad.engine.vocab import Vocabulary

VOCAB = Vocabulary(NamedControls(CONTROLS))
LOOK = Tool(name="look", description="Look.", parameters={"type": "object"})
QUESTION = (ChatMessage(role="user", content="Where is the tea, and where is the milk?"),)
THOUGHT = "The tea is on shelf 3, and the milk is in the fridge; I should say so. " * 2
FINAL = "<|channel|>final<|message|>"
SAID = "The tea is on shelf 3. The milk is in the fridge, at the bottom, behind the butter."


@pytest.fixture(autouse=True)
def _takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat that a busy machine is long to render has no marks. Here every one has."""
    monkeypatch.setattr(chat_template, "MARKED_S", 3600.0)


class Chat:
    """A chat of one template that was answered with `answer`."""

    def __init__(
        self,
        source: str,
        answer: str,
        *,
        turns: tuple[ChatMessage, ...] = QUESTION,
        tools: tuple[Tool, ...] = (),
        has_states: bool = False,
        stops: tuple[str, ...] = (),
    ) -> None:
        self._template = ChatTemplate(source, bos_text="<s>", eos_text="</s>", run=TemplateProgram)
        self._options = ChatOptions(tools=tools, markup=True)
        self._turns = turns
        rendered = self._template.render(turns, self._options, VOCAB.guard, ends=True)
        prompt = VOCAB.tokenize_rendered(rendered.text)
        marks = turn_marks(VOCAB, rendered.text, prompt, rendered.ends)
        said = VOCAB.tokenize(answer, special=True, with_ends=False)
        self.tokens = np.concatenate([prompt, said])
        self._ended = EndedTurn(
            asked=AskedTurn(
                chat=to_json(turns, self._options),
                opening=rendered.opened,
                stops=stops,
                mark=marks[-1] if marks else 0,
            ),
            rid=1,
            tokens=self.tokens,
            n_prompt=prompt.size,
            app="app",
            owner="",
            salt="",
            session=None,
            n_arrivals=0,
        )
        self.ahead = NextPrompts(VOCAB, self._template, has_states=has_states).after(self._ended)

    def then(self, *more: ChatMessage) -> NDArray[np.int32]:
        """The next turn's prompt."""
        rendered = self._template.render((*self._turns, *more), self._options, VOCAB.guard)
        return VOCAB.tokenize_rendered(rendered.text)


def answered(content: str, *calls: ToolCall, reasoning: str | None = None) -> ChatMessage:
    return ChatMessage(role="assistant", content=content, tool_calls=calls, reasoning=reasoning)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def is_prefix(ahead: NDArray[np.int32] | None, prompt: NDArray[np.int32]) -> bool:
    assert ahead is not None
    return bool(np.array_equal(ahead, prompt[: ahead.size]))


@pytest.mark.parametrize("question", ["Thanks!", "\n\n1", "</think>", "<|im_end|>"])
@pytest.mark.parametrize(
    ("source", "answer"),
    [
        (DROPS_THOUGHTS, f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"),
        (OPENS_THOUGHTS, f"{THOUGHT}</think>\n{SAID}"),
        (
            CHANNELS,
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant{FINAL}{SAID}",
        ),
    ],
    ids=["drops thoughts", "opens thoughts", "channels"],
)
def test_an_answer_that_thought_is_known_as_the_next_turn_shows_it(
    source: str, answer: str, question: str
) -> None:
    chat = Chat(source, answer)

    prompt = chat.then(answered(SAID), user(question))

    assert is_prefix(chat.ahead, prompt)
    assert SAID in VOCAB.text(chat.ahead if chat.ahead is not None else ())
    assert THOUGHT not in VOCAB.text(prompt)


def test_only_the_next_turns_own_words_are_left_to_compute() -> None:
    chat = Chat(DROPS_THOUGHTS, f"<think>\n{THOUGHT}\n</think>\n\n{SAID}")

    prompt = chat.then(answered(SAID), user("Thanks!"))

    assert chat.ahead is not None
    assert "Thanks!" in VOCAB.text(prompt[chat.ahead.size :])
    assert "assistant" not in VOCAB.text(prompt[chat.ahead.size :]).split("Thanks!")[0]


def test_a_call_is_known_as_the_template_writes_it_and_not_as_the_model_did() -> None:
    called = (
        '<tool_call>\n{"name": "look", "arguments": {"shelf":   "three",  "row":1}}\n</tool_call>'
    )
    chat = Chat(DROPS_THOUGHTS, f"<think>\n{THOUGHT}\n</think>\n\n{SAID}\n{called}", tools=(LOOK,))
    call = ToolCall(name="look", arguments='{"shelf":   "three",  "row":1}', id="call_9")
    result = ChatMessage(role="tool", content="Shelf 3", tool_call_id="call_9")

    assert is_prefix(chat.ahead, chat.then(answered(SAID, call), result))


def test_behind_an_id_that_the_client_will_choose_nothing_is_known() -> None:
    turns = (user("Look for the tea on every shelf, please, and say where it stands."),)
    called = '[TOOL_CALLS][{"name": "look", "arguments": {"shelf": "three"}}]'
    chat = Chat(MISTRAL, SAID + called, turns=turns, tools=(LOOK,), has_states=True)

    for id_ in ("abcdefghi", "call_0123456789"):
        call = ToolCall(name="look", arguments='{"shelf": "three"}', id=id_)
        result = ChatMessage(role="tool", content="Shelf 3", tool_call_id=id_)
        assert is_prefix(chat.ahead, chat.then(answered(SAID, call), result))


def test_a_client_that_sends_thoughts_back_is_known_by_the_chats_earlier_turns() -> None:
    """While a turn goes on, the template shows its thoughts."""
    call = ToolCall(name="look", arguments='{"shelf": "three"}', id="c")
    first = answered("", call, reasoning="First I look.")
    result = ChatMessage(role="tool", content="Nothing", tool_call_id="c")
    turns = (*QUESTION, first, result)
    again = '<tool_call>\n{"name":"look","arguments":{"shelf":"four","row":"the one at the top"}}'
    answer = f"<think>\n{THOUGHT}\n</think>\n\n{SAID}\n{again}\n</tool_call>"
    chat = Chat(DROPS_THOUGHTS, answer, turns=turns, tools=(LOOK,), has_states=True)
    more = ToolCall(name="look", arguments='{"shelf":"four","row":"the one at the top"}', id="d")

    prompt = chat.then(
        answered(SAID, more, reasoning=THOUGHT.strip()),
        ChatMessage(role="tool", content="There", tool_call_id="d"),
    )

    assert is_prefix(chat.ahead, prompt)
    assert THOUGHT.strip() in VOCAB.text(prompt)


def test_an_answer_that_is_shown_as_it_was_generated_is_not_computed_again() -> None:
    assert Chat(DROPS_THOUGHTS, SAID).ahead is None
    assert Chat(DROPS_THOUGHTS, SAID, has_states=True).ahead is None


def test_where_states_are_kept_one_other_token_costs_the_answer() -> None:
    """The sequence of the answer cannot be taken up in its middle."""
    trimmed = f"{SAID}  \n\n"

    assert Chat(DROPS_THOUGHTS, trimmed).ahead is None
    assert Chat(DROPS_THOUGHTS, trimmed, has_states=True).ahead is not None


def test_an_answer_of_few_tokens_or_of_very_many_is_left_to_the_next_turn() -> None:
    thought = f"<think>\n{THOUGHT}\n</think>\n\n"

    assert Chat(DROPS_THOUGHTS, f"{thought}Yes.").ahead is None
    assert Chat(DROPS_THOUGHTS, thought + "word " * LEAST_TOKENS).ahead is not None
    assert Chat(DROPS_THOUGHTS, thought + "word " * (MOST_TOKENS + 1)).ahead is None


def test_text_behind_a_stop_string_was_never_sent() -> None:
    chat = Chat(DROPS_THOUGHTS, f"<think>\nHm.\n</think>\n\n{SAID}###", stops=("###",))

    assert is_prefix(chat.ahead, chat.then(answered(SAID), user("Thanks!")))
