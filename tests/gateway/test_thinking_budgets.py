"""Every way in which clients ask how long a model may think comes to one meaning."""

from typing import Any

import pytest

from umad.conversation import ChatOptions
from umad.errors import BadRequest
from umad.gateway.bodies.anthropic import MessagesBody
from umad.gateway.bodies.ollama import OllamaChatBody, OllamaGenerateBody
from umad.gateway.bodies.openai_chat import ChatCompletionBody
from umad.gateway.bodies.openai_responses import ResponseBody
from umad.gateway.dialects.anthropic import conversation as anthropic
from umad.gateway.dialects.ollama import requests as ollama
from umad.gateway.dialects.openai import chat, responses

HI = [{"role": "user", "content": "Hi"}]


def of_chat(**more: Any) -> ChatOptions:
    return chat.request_of(ChatCompletionBody.model_validate({"messages": HI, **more})).chat


def of_response(**more: Any) -> ChatOptions:
    body = ResponseBody.model_validate({"input": "Hi", **more})
    return responses.request_of(body, body.items()).chat


def of_messages(**more: Any) -> ChatOptions:
    body = {"model": "m", "max_tokens": 9, "messages": HI, **more}
    return anthropic.request_of(MessagesBody.model_validate(body)).chat


def of_ollama(**more: Any) -> ChatOptions:
    return ollama.chat_request(
        OllamaChatBody.model_validate({"model": "m", "messages": HI, **more})
    ).chat


def of_generate(**more: Any) -> ChatOptions:
    return ollama.generate_request(
        OllamaGenerateBody.model_validate({"model": "m", "prompt": "Hi", **more})
    ).chat


# By what the user meant: (dialect, fields, tokens of thinking, what the template is told).
CASES: dict[str, tuple[Any, dict[str, Any], int | None, dict[str, Any]]] = {
    "chat: nothing": (of_chat, {}, None, {}),
    "chat: no effort": (
        of_chat,
        {"reasoning_effort": "none"},
        0,
        {"reasoning_effort": "none", "enable_thinking": False},
    ),
    "chat: little effort": (
        of_chat,
        {"reasoning_effort": "low"},
        1024,
        {"reasoning_effort": "low"},
    ),
    "chat: some effort": (
        of_chat,
        {"reasoning_effort": "medium"},
        8192,
        {"reasoning_effort": "medium"},
    ),
    "chat: all effort": (of_chat, {"reasoning_effort": "high"}, None, {"reasoning_effort": "high"}),
    "chat: OpenRouter's effort": (
        of_chat,
        {"reasoning": {"effort": "low"}},
        1024,
        {"reasoning_effort": "low"},
    ),
    "chat: OpenRouter's budget": (of_chat, {"reasoning": {"max_tokens": 77}}, 77, {}),
    "chat: OpenRouter's switch": (
        of_chat,
        {"reasoning": {"enabled": False}},
        0,
        {"enable_thinking": False},
    ),
    "chat: llama-server's budget": (of_chat, {"reasoning_budget": 50}, 50, {}),
    "chat: llama-server's newer budget": (of_chat, {"thinking_budget_tokens": 50}, 50, {}),
    "chat: llama-server's no limit": (of_chat, {"reasoning_budget": -1}, None, {}),
    "chat: llama-server's end at once": (
        of_chat,
        {"reasoning_budget": 0},
        0,
        {"enable_thinking": False},
    ),
    "chat: Qwen's budget": (
        of_chat,
        {"enable_thinking": True, "thinking_budget": 99},
        99,
        {"enable_thinking": True},
    ),
    "chat: Qwen's budget for the template": (
        of_chat,
        {"chat_template_kwargs": {"thinking_budget": 99}},
        99,
        {"thinking_budget": 99},
    ),
    "chat: the template's switch": (
        of_chat,
        {"chat_template_kwargs": {"enable_thinking": False}},
        0,
        {"enable_thinking": False},
    ),
    "chat: DeepSeek's and GLM's switch": (
        of_chat,
        {"thinking": {"type": "disabled"}},
        0,
        {"enable_thinking": False},
    ),
    "chat: Anthropic's option on a chat": (
        of_chat,
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        2000,
        {"enable_thinking": True},
    ),
    "chat: a budget says more than an effort": (
        of_chat,
        {"reasoning_effort": "high", "reasoning_budget": 5},
        5,
        {"reasoning_effort": "high"},
    ),
    "chat: the same budget twice": (
        of_chat,
        {"reasoning_budget": 5, "thinking_budget": 5},
        5,
        {},
    ),
    "chat: every field null": (
        of_chat,
        dict.fromkeys(("reasoning", "thinking", "reasoning_budget", "enable_thinking")),
        None,
        {},
    ),
    "responses: little effort": (
        of_response,
        {"reasoning": {"effort": "low"}},
        1024,
        {"reasoning_effort": "low"},
    ),
    "responses: no effort": (
        of_response,
        {"reasoning": {"effort": "minimal"}},
        0,
        {"reasoning_effort": "minimal", "enable_thinking": False},
    ),
    "responses: a budget": (of_response, {"reasoning": {"max_tokens": 8}}, 8, {}),
    "messages: nothing": (of_messages, {}, None, {"enable_thinking": False}),
    "messages: a budget": (
        of_messages,
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        2048,
        {"enable_thinking": True},
    ),
    "messages: off": (
        of_messages,
        {"thinking": {"type": "disabled"}},
        0,
        {"enable_thinking": False},
    ),
    "messages: as the model likes, with an effort": (
        of_messages,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        1024,
        {"reasoning_effort": "low", "enable_thinking": True},
    ),
    "Ollama: on": (of_ollama, {"think": True}, None, {"enable_thinking": True}),
    "Ollama: off": (of_ollama, {"think": False}, 0, {"enable_thinking": False}),
    "Ollama: low": (
        of_ollama,
        {"think": "low"},
        1024,
        {"reasoning_effort": "low", "enable_thinking": True},
    ),
    "Ollama: a prompt with medium": (
        of_generate,
        {"think": "medium"},
        8192,
        {"reasoning_effort": "medium", "enable_thinking": True},
    ),
}


@pytest.mark.parametrize("meant", CASES)
def test_a_wish_about_thinking_has_one_meaning(meant: str) -> None:
    asked, fields, tokens, told = CASES[meant]
    options = asked(**fields)

    assert (options.thinking_tokens, dict(options.template_kwargs)) == (tokens, told)


def test_two_different_budgets_are_refused_by_name() -> None:
    with pytest.raises(BadRequest) as caught:
        of_chat(reasoning_budget=5, thinking={"type": "enabled", "budget_tokens": 6})

    assert caught.value.field == "thinking.budget_tokens"
