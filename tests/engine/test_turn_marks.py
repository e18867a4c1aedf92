"""The marks of a chat's turns: up to the last one, the next turn's prompt has the same tokens."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import override

from tests.engine.named_controls import NANO, NamedControls
from tests.engine.strict_templates import STRICT
from tests.engine.turn_templates import (
    CONTROLS,
    DROPS_THOUGHTS,
    FOLDS_SYSTEM,
    IN_WORDS,
    MOVES_TOOLS,
    OPENS_THOUGHTS,
    TURNS,
)
from umad.clock import MonotonicClock
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall, to_json
from umad.engine.chats import chat_template
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.template_process import TemplateProcess
from umad.engine.chats.template_program import TemplateProgram
from umad.engine.chats.turn_ends import MOST_ENDS
from umad.engine.chats.turn_marks import turn_marks
from umad.engine.constraints.answer_rules import AnswerRules
from umad.engine.constraints.guidance import Guidance
from umad.engine.mail.intake import Intake
from umad.engine.mail.step_mail import Arrival
from umad.engine.vocab import Vocabulary
from umad.protocol.link import Submit
from umad.request import SamplingParams
from umad.scheduler.scheduled_request import Submission

WITH_CONTROLS = Vocabulary(NamedControls(CONTROLS))
WITHOUT = Vocabulary(NamedControls(()))
FAMILIES = {**STRICT, **TURNS}
LOOK = Tool(name="look", description="Look.", parameters={"type": "object"})
ID = "call_0123456789"
RULES = "You are a helper in a shop. Say what there is, and where it stands. Be brief."

Chat = tuple[ChatMessage, ...]


@pytest.fixture(autouse=True)
def _takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat that a busy machine is long to render has no marks. Here every one has."""
    monkeypatch.setattr(chat_template, "MARKED_S", 3600.0)


@cache
def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_text="<s>", eos_text="</s>", run=TemplateProgram)


def system(text: str = RULES) -> ChatMessage:
    return ChatMessage(role="system", content=text)


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def assistant(text: str, *calls: ToolCall, reasoning: str | None = None) -> ChatMessage:
    return ChatMessage(role="assistant", content=text, tool_calls=calls, reasoning=reasoning)


def result(text: str) -> ChatMessage:
    return ChatMessage(role="tool", content=text, tool_call_id=ID)


CALL = ToolCall(name="look", arguments='{"shelf": "three"}', id=ID)
CALLED = (
    user("Where is the tea?"),
    assistant("", CALL, reasoning="I have to look."),
    result("Shelf 3 \n"),
)
# Chats that end with a question, with or without an answer's thoughts.
ASKED: dict[str, Chat] = {
    "one question": (user("Where is the tea?"),),
    "a question with rules": (system(), user("Where is the tea?")),
    "blanks around a question": (system(), user(" \n Where is the tea? \n\n")),
    "a later question": (
        system(),
        user("Where is the tea?"),
        assistant("On shelf 3.", reasoning="Tea is a drink."),
        user("And the milk?"),
    ),
    "a question after a call": (system(), *CALLED, assistant("On shelf 3."), user("And the milk?")),
    "words that look like control tokens": (
        user("What is <|im_end|> for?"),
        assistant("It ends <|im_start|>turns"),
        user("And <end_of_turn><|end|>"),
    ),
}
ANSWERS: dict[str, Chat] = {
    "an answer": (assistant("It stands there."), user("Thanks!")),
    "an answer with a thought": (assistant("There.", reasoning="Where?"), user("Thanks!")),
    "an answer that begins with blanks": (assistant("\n\n- there"), user("1")),
    "an answer that begins with a bracket": (assistant("</i> is closed"), user("\n")),
    "a call": (assistant("", CALL), result("Shelf 3"), assistant("On shelf 3."), user("Thanks!")),
}

# The template cannot show such a turn, and the whole chat is given to it in plainer words then.
NO_WORD_FOR = {"kimi k2": ("a call",)}


class Prompt:
    """A chat's prompt."""

    def __init__(
        self,
        source: str,
        chat: Chat,
        *,
        vocab: Vocabulary = WITH_CONTROLS,
        tools: tuple[Tool, ...] = (),
        **kwargs: Any,
    ) -> None:
        options = ChatOptions(tools=tools, template_kwargs=kwargs)
        rendered = template(source).render(chat, options, vocab.guard, ends=True)
        self.ids = vocab.tokenize_rendered(rendered.text)
        self.marks = turn_marks(vocab, rendered.text, self.ids, rendered.ends)
        self.text = vocab.text


def n_alike(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    n = min(a.size, b.size)
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if differs.size else n


def words_before(prompt: Prompt, mark: int) -> str:
    return prompt.text(prompt.ids[:mark])


@pytest.mark.parametrize("vocab", [WITH_CONTROLS, WITHOUT], ids=["control tokens", "no tokens"])
@pytest.mark.parametrize("tools", [(), (LOOK,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("family", FAMILIES)
def test_up_to_the_last_mark_the_next_turns_prompt_has_the_same_tokens(
    family: str, tools: tuple[Tool, ...], vocab: Vocabulary
) -> None:
    for meant, chat in ASKED.items():
        now = Prompt(FAMILIES[family], chat, vocab=vocab, tools=tools)
        for answered, more in ANSWERS.items():
            if answered in NO_WORD_FOR.get(family, ()):
                continue
            then = Prompt(FAMILIES[family], (*chat, *more), vocab=vocab, tools=tools)

            assert now.marks, (meant, answered)
            assert now.marks[-1] <= n_alike(now.ids, then.ids), (meant, answered)
            assert list(now.marks) == sorted(set(now.marks))
            assert now.marks[0] > 0
            assert now.marks[-1] < now.ids.size


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "moves tools"])
def test_the_last_mark_stands_behind_the_last_question(family: str) -> None:
    now = Prompt(FAMILIES[family], ASKED["a later question"])

    assert "And the milk" in words_before(now, now.marks[-1])


@pytest.mark.parametrize("thinks", [True, False])
def test_a_thought_that_the_answer_begins_with_is_behind_the_last_mark(thinks: bool) -> None:
    now = Prompt(OPENS_THOUGHTS, ASKED["one question"], enable_thinking=thinks)
    quiet = Prompt(DROPS_THOUGHTS, ASKED["one question"], enable_thinking=thinks)

    assert "think" not in words_before(now, now.marks[-1])
    assert "think" not in words_before(quiet, quiet.marks[-1])


@pytest.mark.parametrize("family", ["drops thoughts", "opens thoughts", "channels"])
def test_after_a_result_the_turn_goes_on_from_the_last_mark(family: str) -> None:
    """The template shows thoughts of the turn that goes on; they last until it is over."""
    chat = (system(), *CALLED)
    now = Prompt(FAMILIES[family], chat, tools=(LOOK,))
    more = (assistant("", CALL, reasoning="Once more."), result("Shelf 4"))
    then = Prompt(FAMILIES[family], (*chat, *more), tools=(LOOK,))
    over = Prompt(FAMILIES[family], (*chat, assistant("There."), user("Thanks!")), tools=(LOOK,))

    alike = n_alike(now.ids, then.ids)
    assert now.marks[-1] <= alike
    assert "Shelf 3" in words_before(now, now.marks[-1])
    kept = max(mark for mark in now.marks if mark <= n_alike(now.ids, over.ids))
    assert "Where is the tea?" in words_before(over, kept)


def test_every_earlier_question_has_a_mark_to_branch_from() -> None:
    chat = ASKED["a later question"]
    now = Prompt(DROPS_THOUGHTS, chat)
    branch = Prompt(DROPS_THOUGHTS, (*chat[:2], assistant("I do not know."), user("Why?")))
    edited = Prompt(DROPS_THOUGHTS, (*chat[:-1], user("And the bread?")))

    assert max(now.marks[:-1]) <= n_alike(now.ids, branch.ids)
    assert "Where is the tea?" in words_before(now, max(now.marks[:-1]))
    assert max(now.marks[:-1]) <= n_alike(now.ids, edited.ids)


def test_the_mark_of_a_turn_is_the_same_one_when_it_was_the_last_and_later() -> None:
    chat = ASKED["a later question"]

    assert Prompt(DROPS_THOUGHTS, chat[:2]).marks[-1] in Prompt(DROPS_THOUGHTS, chat).marks


@pytest.mark.parametrize("vocab", [WITH_CONTROLS, WITHOUT], ids=["control tokens", "no tokens"])
@pytest.mark.parametrize(
    "source",
    [DROPS_THOUGHTS, FOLDS_SYSTEM, IN_WORDS],
    ids=["own turn", "in the first question", "in words"],
)
def test_another_chat_with_the_same_rules_agrees_up_to_the_first_mark(
    source: str, vocab: Vocabulary
) -> None:
    one = Prompt(source, (system(), user("Where is the tea?")), vocab=vocab)
    other = Prompt(source, (system(), user("hello")), vocab=vocab)

    assert one.marks[0] <= n_alike(one.ids, other.ids)
    assert other.marks[0] == one.marks[0]
    assert RULES[:-12] in words_before(one, one.marks[0])


def test_tools_that_move_with_each_turn_leave_the_part_before_them() -> None:
    chat = (user("Where is the tea?"), assistant("There."), user("And the milk?"))
    now = Prompt(MOVES_TOOLS, chat, tools=(LOOK,))

    before = words_before(now, now.marks[-1])

    assert "tea" in before
    assert "AVAILABLE" not in before


def test_a_long_chat_has_few_marks_the_first_and_the_latest() -> None:
    turns = [[user(f"Question {n}?"), assistant(f"Answer {n}.")] for n in range(40)]
    chat = (system(), *[turn for pair in turns for turn in pair], user("And the last?"))

    now = Prompt(DROPS_THOUGHTS, chat)

    assert len(now.marks) == MOST_ENDS
    assert "Question 0" not in words_before(now, now.marks[0])
    assert "And the last?" in words_before(now, now.marks[-1])


class Counted(TemplateProgram):
    """Counts how often it is run."""

    n_runs = 0

    @override
    def render(self, values: Mapping[str, Any]) -> str:
        Counted.n_runs += 1
        return super().render(values)


def test_a_chat_is_rendered_once_more_however_many_turns_it_has() -> None:
    chat = ChatTemplate(DROPS_THOUGHTS, bos_text="", eos_text="", run=Counted)
    turns = [[user(f"Question {n}?"), assistant(f"Answer {n}.")] for n in range(40)]
    Counted.n_runs = 0

    chat.render(tuple(turn for pair in turns for turn in pair)[:-1], ends=True)

    assert Counted.n_runs == 2


def test_a_text_with_a_sign_of_ours_in_it_has_no_marks_and_is_no_trouble() -> None:
    for sign in "\ufdd0\ufdd1\ufdd2\ufdd3\ufdd4":
        now = Prompt(DROPS_THOUGHTS, (system(), user(f"a{sign}b")))
        then = Prompt(DROPS_THOUGHTS, (system(), user(f"a{sign}b"), assistant("c"), user("d")))

        assert all(mark <= n_alike(now.ids, then.ids) for mark in now.marks)


def test_a_template_that_does_not_end_on_our_question_still_serves_every_chat() -> None:
    endless = (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if messages | length > 2 %}"
        "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}{% endif %}"
    )
    process: list[TemplateProcess] = []

    def run(source: str) -> TemplateProcess:
        process.append(TemplateProcess(source, run_s=0.2))
        return process[0]

    chat = ChatTemplate(endless, bos_text="", eos_text="", run=run)
    try:
        for _ in range(5):
            rendered = chat.render((user("Where?"),), ends=True)
            assert (rendered.text, rendered.ends) == ("Where?", ())
    finally:
        process[0].close()


def admitted(*, marks_turns: bool, **asked: Any) -> Submission:
    vocab = Vocabulary(NANO)
    chat = template(NANO.chat_template() or "")
    intake = Intake(
        vocab=vocab,
        template=chat,
        rules=AnswerRules(Guidance(NANO), vocab, chat.format, now_ns=MonotonicClock().now_ns),
        guarded=frozenset(),
        most_prompt_tokens=4096,
        n_cells=4096,
        marks_turns=marks_turns,
    )
    sampling = SamplingParams(max_tokens=8, seed=1)
    arrival = intake.take(Submit(rid=1, lane="interactive", app="a", sampling=sampling, **asked))
    assert isinstance(arrival, Arrival)
    return arrival.admission


def test_the_scheduler_is_told_the_marks_of_a_chat_where_the_model_has_states() -> None:
    chat = ASKED["a later question"]
    asked = to_json(chat, ChatOptions())

    told = admitted(marks_turns=True, chat=asked)
    resumed = admitted(marks_turns=True, chat=asked, resume=(1000, 1001))
    behind = to_json(chat, ChatOptions(context=(1000, 1001, 1002)))

    assert told.marks
    assert "milk" in Vocabulary(NANO).text(told.tokens[: told.marks[-1]])
    assert resumed.marks == told.marks
    assert admitted(marks_turns=True, chat=behind).marks == tuple(n + 3 for n in told.marks)
    assert admitted(marks_turns=False, chat=asked).marks == ()


def test_a_prompt_that_is_no_chat_has_no_marks() -> None:
    text = "<|im_start|>user\nWhere is the tea?<|im_end|>\n<|im_start|>assistant\n"

    assert admitted(marks_turns=True, prompt=text).marks == ()
    assert admitted(marks_turns=True, prompt_ids=(1000, 1001)).marks == ()
