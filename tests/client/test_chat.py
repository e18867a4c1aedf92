"""Turns and keywords as a person writes them: all of it arrives, or is refused by name."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.client.scripted_daemon import Peer, daemon_thread
from umad import (
    BadRequest,
    ChatMessage,
    ChatResult,
    Client,
    Constraint,
    Content,
    EngineFailed,
    GenerateRequest,
    Piece,
    Reasoning,
    SamplingParams,
    Tool,
    ToolCall,
    UnknownModel,
    Unsupported,
)
from umad.client.keywords import (
    ChatKeywords,
    GenerateKeywords,
    RequestKeywords,
    TextKeywords,
    request_of,
)
from umad.protocol.messages import Cancel, Generate, Models, encode_error, encode_result
from umad.request import SAMPLING_FIELDS

HI = [{"role": "user", "content": "hi"}]
WEATHER = {
    "name": "weather",
    "description": "of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
FACTS = {
    "name": "nano",
    "state": "ready",
    "chat_family": "hermes",
    "takes_tools": True,
    "thinking": ["<think>", "</think>"],
}
WORDS = (
    "<think>It is ",
    "about weather.</think>\n\nLet me",
    " look.\n<tool_call>\n",
    '{"name": "weather", "arguments": {"city": ',
    '"Paris"}}\n</tool_call>',
)


@dataclass
class Asked:
    """What a scripted daemon was asked."""

    requests: list[GenerateRequest] = field(default_factory=list)


def answering(
    words: Sequence[str], asked: Asked, *, model: str = "nano"
) -> Callable[[Peer], Awaitable[None]]:
    """A daemon with one model, which says `words` to everybody. model: the one it says it has."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.hear()
            if isinstance(request, Models):
                peer.say(encode_result(request.id, [{**FACTS, "name": model}]))
                continue
            if isinstance(request, Cancel):
                continue
            assert isinstance(request, Generate)
            asked.requests.append(request.request)
            peer.say_accepted(request.id)
            for word in words:
                peer.say_text(request.id, word)
            peer.say_done(request.id)

    return script


def chat_of(turns: Any, **keywords: Any) -> GenerateRequest:
    return request_of("chat", turns, keywords, ChatKeywords, is_chat=True)


# -- the answer ------------------------------------------------------------------------------------


def test_a_chats_answer_is_taken_apart(path: str) -> None:
    asked = Asked()
    with daemon_thread(path, answering(WORDS, asked)), Client(path) as client:
        result = client.chat(HI, tools=[WEATHER], temperature=0)

    assert str(result) == result.text == "Let me look."
    assert result.reasoning == "It is about weather."
    (call,) = result.tool_calls
    assert (call.name, call.arguments) == ("weather", '{"city": "Paris"}')
    assert (result.finish_reason, result.model, result.request) == ("stop", "nano", "r-1")
    assert result.usage.completion_tokens == 2
    (request,) = asked.requests
    assert request.messages == (ChatMessage(role="user", content="hi"),)
    assert request.chat.tools == (Tool(**WEATHER),)  # type: ignore[arg-type]
    assert request.sampling.temperature == 0


def test_a_streams_pieces_are_typed_and_the_result_comes_last(path: str) -> None:
    pieces: list[Piece] = []
    with daemon_thread(path, answering(WORDS, Asked())), Client(path) as client:
        pieces.extend(client.stream(HI, tools=[WEATHER]))

    kinds = [type(piece) for piece in pieces]
    assert kinds == [Reasoning, Reasoning, Content, Content, ToolCall, ChatResult]
    said = [piece.text for piece in pieces if isinstance(piece, Content)]
    result = pieces[-1]
    assert isinstance(result, ChatResult)
    assert "".join(said) == result.text
    assert pieces[-2] == result.tool_calls[0]


def test_without_tools_on_offer_what_looks_like_a_call_is_text(path: str) -> None:
    with daemon_thread(path, answering(WORDS[3:], Asked())), Client(path) as client:
        result = client.chat("hi")

    assert result.tool_calls == ()
    assert result.text.startswith('{"name": "weather"')


def test_an_answer_and_its_tools_answer_are_turns_of_the_next_request(path: str) -> None:
    asked = Asked()
    with daemon_thread(path, answering(WORDS, asked)), Client(path) as client:
        first = client.chat(HI, tools=[WEATHER])
        (call,) = first.tool_calls
        said = {"role": "tool", "content": "rain", "tool_call_id": call.id, "name": call.name}
        client.chat([*HI, first.turn, said], tools=[WEATHER])

    turns = asked.requests[1].messages
    assert turns is not None
    assert turns[1] == ChatMessage(
        role="assistant",
        content="Let me look.",
        reasoning="It is about weather.",
        tool_calls=(call,),
    )
    assert turns[2].tool_call_id == call.id


def test_an_answer_of_a_schema_is_its_value(path: str) -> None:
    asked = Asked()
    with daemon_thread(path, answering(['{"a": 1}'], asked)), Client(path) as client:
        value = client.chat(HI, schema={"type": "object"}).json()

    assert value == {"a": 1}
    assert asked.requests[0].constraint == Constraint.json_schema({"type": "object"})


def test_a_chat_that_fails_raises(path: str) -> None:
    async def script(peer: Peer) -> None:
        models = await peer.hear()
        peer.say(encode_result(models.id, [FACTS]))
        request = await peer.hear()
        peer.say(encode_error(EngineFailed("it crashed"), request.id))

    with (
        daemon_thread(path, script),
        Client(path) as client,
        pytest.raises(EngineFailed, match="it crashed"),
    ):
        client.chat("hi")


def test_a_model_of_which_nothing_is_known_is_no_reason_to_guess(path: str) -> None:
    with (
        daemon_thread(path, answering(["x"], Asked(), model="other")),
        Client(path) as client,
        pytest.raises(UnknownModel, match="ask again"),
    ):
        client.chat("hi")


# -- turns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn", "wanted"),
    [
        ({"role": "user", "content": "x"}, ChatMessage(role="user", content="x")),
        (ChatMessage(role="user", content="x"), ChatMessage(role="user", content="x")),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            ChatMessage(role="user", content="ab"),
        ),
        ({"role": "user", "content": "x", "name": None}, ChatMessage(role="user", content="x")),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            ChatMessage(
                role="assistant",
                content="",
                tool_calls=(ToolCall(name="f", arguments="{}", id="1"),),
            ),
        ),
        (
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [{"name": "f", "arguments": {"a": "\u00e9"}}],
            },
            ChatMessage(
                role="assistant",
                content="x",
                tool_calls=(ToolCall(name="f", arguments='{"a": "\u00e9"}'),),
            ),
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": (ToolCall(name="f"),)},
            ChatMessage(role="assistant", content="", tool_calls=(ToolCall(name="f"),)),
        ),
    ],
)
def test_a_turn_in_any_plain_form_is_that_turn(turn: Any, wanted: ChatMessage) -> None:
    assert chat_of([turn]).messages == (wanted,)


def test_a_text_is_a_users_turn() -> None:
    assert chat_of("hi").messages == chat_of(HI).messages


@pytest.mark.parametrize(
    ("turn", "field", "says"),
    [
        ({"role": "user", "contnet": "x"}, "messages[0]", "'contnet'; did you mean content"),
        ({"role": "user", "content": "x", 7: 1}, "messages[0]", "not '7'"),
        ({"role": "user"}, "messages[0].content", "missing"),
        ({"role": "user", "content": 7}, "messages[0].content", "parts, not an integer"),
        (
            {"role": "user", "content": [{"type": "text"}]},
            "messages[0].content[0]",
            "type and text",
        ),
        ({"role": "tool", "content": "", "tool_calls": 7}, "messages[0].tool_calls", "array"),
        ({"role": "tool", "content": "", "tool_calls": [7]}, "messages[0].tool_calls[0]", "map"),
        (
            {"role": "a", "content": "", "tool_calls": [{"function": {"name": "f"}, "x": 1}]},
            "messages[0].tool_calls[0]",
            "nothing else",
        ),
        ("hi", "messages[0]", "map of role and content"),
        (7, "messages[0]", "map of role and content"),
    ],
    ids=repr,
)
def test_a_turn_that_is_wrong_is_refused_by_its_place(turn: Any, field: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says.replace("(", r"\(")) as caught:
        chat_of([turn])

    assert caught.value.field == field


def test_a_picture_is_refused_and_not_dropped() -> None:
    picture = {"type": "image_url", "image_url": {"url": "x"}}

    with pytest.raises(Unsupported, match="image_url"):
        chat_of([{"role": "user", "content": [picture]}])


@pytest.mark.parametrize("turns", [HI[0], ChatMessage(role="user", content="x"), 7, None])
def test_what_is_no_array_of_turns_is_refused(turns: Any) -> None:
    with pytest.raises(BadRequest, match="array of turns"):
        chat_of(turns)


def test_no_turns_are_refused() -> None:
    with pytest.raises(BadRequest, match="messages is empty"):
        chat_of([])


# -- tools -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tool",
    [WEATHER, {"type": "function", "function": WEATHER}, Tool(**WEATHER)],  # type: ignore[arg-type]
)
def test_a_tool_in_any_plain_form_is_that_tool(tool: Any) -> None:
    assert chat_of(HI, tools=[tool]).chat.tools == (Tool(**WEATHER),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        (WEATHER, "tools"),
        ("weather", "tools"),
        ([7], "tools[0]"),
        ([{"nmae": "f"}], "tools[0]"),
        ([{"type": "retrieval", "function": {"name": "f"}}], "tools[0]"),
        ([{"name": "f", "parameters": 7}], "tools[0].parameters"),
    ],
    ids=repr,
)
def test_a_tool_that_is_wrong_is_refused_by_its_place(tools: Any, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat_of(HI, tools=tools)

    assert caught.value.field == field


# -- keywords --------------------------------------------------------------------------------------


def test_every_sampling_parameter_is_a_keyword() -> None:
    assert set(SAMPLING_FIELDS) <= set(RequestKeywords.__annotations__)


@pytest.mark.parametrize("known", [ChatKeywords, TextKeywords, GenerateKeywords])
def test_no_keyword_is_dropped(known: type) -> None:
    values: dict[str, Any] = {
        **dict.fromkeys(known.__annotations__, 0.5),
        **dict.fromkeys(("top_k", "penalty_last_n", "seed", "max_tokens", "deadline_ms"), 1),
        "n": 2,
        "logprobs": 1,
        "prompt_logprobs": 1,
        "thinking_tokens": 1,
        "context": [1],
        **dict.fromkeys(("model", "lane", "app", "session", "grammar", "stop", "tool_name"), "f"),
        **dict.fromkeys(("fit", "ignore_eos", "continue_final", "markup"), True),
        **dict.fromkeys(("parallel_tool_calls", "fenced_calls", "speculate"), False),
        "special": False,
        "sampling": SamplingParams(seed=7),
        "schema": {"type": "object"},
        "logit_bias": {5: 1},
        "template_kwargs": {"x": 1},
        "tools": [WEATHER, {"name": "f"}],
        "tool_choice": "required",
        "logits": "read",
        "lora": [{"name": "f"}],
        "resume": {"tokens": [1], "fingerprint": "f"},
    }
    turns: Any = [*HI, {"role": "assistant", "content": "so"}]
    for name in known.__annotations__:
        prompt = "hi" if name == "special" else turns
        more = {"tools": values["tools"]} if name in ("tool_choice", "tool_name") else {}
        if name == "resume":
            more = {"seed": 1, "max_tokens": 8}
        changed = request_of("x", prompt, {**more, name: values[name]}, known)
        assert changed != request_of("x", prompt, more, known), name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("stops", "stop")],
)
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=rf"chat\(\) takes no keyword '{name}'.*{nearest}"):
        Client("/nowhere.sock").chat(HI, **{name: 1})  # type: ignore[arg-type]


def test_arguments_are_refused_where_they_are_written_and_not_when_they_are_read() -> None:
    with pytest.raises(TypeError, match="temprature"):
        Client("/nowhere.sock").stream(HI, temprature=0)  # type: ignore[call-arg]


@pytest.mark.parametrize("verb", ["generate", "text", "complete"])
def test_a_whole_request_takes_no_keywords(verb: str) -> None:
    request = GenerateRequest(prompt="x")

    with pytest.raises(TypeError, match=r"whole GenerateRequest.*seed, model|model, seed"):
        getattr(Client("/nowhere.sock"), verb)(request, model="nano", seed=1)


def test_whole_sampling_takes_no_sampling_keywords() -> None:
    with pytest.raises(TypeError, match="whole SamplingParams and seed"):
        chat_of(HI, sampling=SamplingParams(), seed=1)

    assert chat_of(HI, sampling=SamplingParams(top_k=3), seed=None).sampling.top_k == 3


@pytest.mark.parametrize(
    ("keyword", "field"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": 7}, "stop"),
        ({"stop": [7]}, "stop[0]"),
        ({"seed": -1}, "seed"),
        ({"logit_bias": {"a": 1}}, "logit_bias[0][0]"),
        ({"schema": 7}, "schema"),
        ({"schema": {}, "grammar": "x"}, "schema"),
        ({"model": 7}, "model"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"sampling": {"seed": 1}}, "sampling"),
    ],
    ids=repr,
)
def test_a_value_of_the_wrong_type_is_refused_by_the_keywords_name(
    keyword: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        chat_of(HI, **keyword)

    assert caught.value.field == field


def test_numbers_of_numpy_and_tuples_are_what_they_mean() -> None:
    request = chat_of(
        HI,
        temperature=np.float32(0.5),
        max_tokens=np.int64(5),
        stop=("a", "b"),
        logit_bias={np.int32(5): np.float64(2)},
    )

    assert request.sampling.temperature == 0.5
    assert request.sampling.max_tokens == 5
    assert request.sampling.stop == ("a", "b")
    assert request.sampling.logit_bias == ((5, 2.0),)


def test_a_pydantic_model_is_its_schema() -> None:
    class Person:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {"type": "object"}

    assert chat_of(HI, schema=Person).constraint == Constraint.json_schema({"type": "object"})


def test_what_belongs_to_a_chat_is_refused_with_a_prompt() -> None:
    with pytest.raises(BadRequest, match="give turns"):
        request_of("generate", "text", {"tools": [WEATHER]}, GenerateKeywords)
    with pytest.raises(BadRequest, match="belongs to a prompt"):
        request_of("generate", HI, {"special": False}, GenerateKeywords)
    with pytest.raises(BadRequest, match="text\\(\\) goes on"):
        Client("/nowhere.sock").chat(GenerateRequest(prompt="x"))
