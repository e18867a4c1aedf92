"""What each package is put through, in an environment of its own.

    python programs.py NAME URL SCRIPTED_URL

At URL answers nano, at SCRIPTED_URL a model that calls the tool `weather` for Oslo and then says
its last words. These packages pin what umad's own tests need newer, so they are run from outside.
Each prints one line when everything was as it should be, and ends with a traceback otherwise.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUESTION: Any = [{"role": "user", "content": "Hello there"}]
# As `tests.gateway.scripted` has them.
SCRIPTED, LAST_WORDS = "a", "The work is done."
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
# Closed, so that a model that writes anything at all comes to its end.
YES = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}},
    "required": ["yes"],
    "additionalProperties": False,
}
# Its JSON in the worst case, every bounded space written.
ENOUGH_TOKENS = 200


def run_litellm(url: str, scripted: str) -> None:
    """All three of its ways to umad: OpenAI's, Anthropic's and Ollama's dialect."""
    import litellm  # noqa: PLC0415

    for way, base in (("openai", "/v1"), ("anthropic", ""), ("ollama_chat", "")):
        asked: Any = {"model": f"{way}/nano", "api_base": f"{url}{base}", "api_key": "none"}
        whole = litellm.completion(messages=QUESTION, max_tokens=8, **asked)
        assert whole.choices[0].message.content, way
        assert 0 < whole.usage.completion_tokens <= 8, way
        pieces = list(litellm.completion(messages=QUESTION, max_tokens=8, stream=True, **asked))
        assert "".join(one.choices[0].delta.content or "" for one in pieces), way

        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": YES}}
        shaped = litellm.completion(
            messages=QUESTION, response_format=form, max_tokens=ENOUGH_TOKENS, **asked
        )
        assert isinstance(_shaped(shaped.choices[0].message)["yes"], bool), way

        asked |= {"model": f"{way}/{SCRIPTED}", "api_base": f"{scripted}{base}"}
        asked |= {"tools": [WEATHER], "max_tokens": 100}
        called = litellm.completion(messages=QUESTION, **asked).choices[0].message
        (call,) = called.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Oslo"}, way
        result = {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": "4"}
        last = litellm.completion(messages=[*QUESTION, called.model_dump(), result], **asked)
        assert last.choices[0].message.content == LAST_WORDS, way
    unknown: Any = {"model": "openai/nono", "api_base": f"{url}/v1", "api_key": "none"}
    error = _raised(litellm.NotFoundError, lambda: litellm.completion(messages=QUESTION, **unknown))
    assert "nano" in str(error)


def _shaped(message: Any) -> Any:
    """A schema comes back as text, or, where a way has none, as a tool's arguments."""
    return json.loads(message.content or message.tool_calls[0].function.arguments)


def _raised(kind: type[Exception], ask: Callable[[], object]) -> Any:
    """The error of that kind that asking ends with."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def run_langchain(url: str, scripted: str) -> None:
    """Invoke, stream, batch, schemas both ways, and a tool's whole round."""
    from langchain_core.messages import HumanMessage, ToolMessage  # noqa: PLC0415
    from langchain_openai import ChatOpenAI  # noqa: PLC0415
    from openai import NotFoundError  # noqa: PLC0415
    from pydantic import BaseModel, ConfigDict  # noqa: PLC0415

    class Answer(BaseModel):
        model_config = ConfigDict(extra="forbid")
        yes: bool

    model = ChatOpenAI(model="nano", base_url=f"{url}/v1", api_key="none", max_tokens=24)
    whole = model.invoke("Hello there")
    assert whole.content
    assert 0 < whole.usage_metadata["output_tokens"] <= 24
    assert "".join(str(piece.content) for piece in model.stream("Hello there"))
    assert len(model.batch(["one", "two"])) == 2
    patient = model.model_copy(update={"max_tokens": ENOUGH_TOKENS})
    for method in ("json_schema", "function_calling"):
        answer = patient.with_structured_output(Answer, method=method).invoke("Is it so?")
        assert isinstance(answer.yes, bool), method
    over_responses = ChatOpenAI(
        model="nano", base_url=f"{url}/v1", api_key="none", max_tokens=24, use_responses_api=True
    )
    assert over_responses.invoke("Hello there").text

    tooled = ChatOpenAI(model=SCRIPTED, base_url=f"{scripted}/v1", api_key="none").bind_tools(
        [WEATHER]
    )
    question = HumanMessage("Weather in Oslo?")
    called = tooled.invoke([question])
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})
    result = ToolMessage("4 degrees", tool_call_id=call["id"])
    assert tooled.invoke([question, called, result]).content == LAST_WORDS
    unknown = ChatOpenAI(model="nono", base_url=f"{url}/v1", api_key="none")
    assert _raised(NotFoundError, lambda: unknown.invoke("Hello")).param == "model"


def run_instructor(url: str, scripted: str) -> None:
    """A schema as a response format, as a forced tool, and while it is written."""
    import instructor  # noqa: PLC0415
    from openai import OpenAI  # noqa: PLC0415
    from pydantic import BaseModel, ConfigDict  # noqa: PLC0415

    class Answer(BaseModel):
        model_config = ConfigDict(extra="forbid")
        yes: bool

    class weather(BaseModel):  # noqa: N801
        city: str

    asked: Any = {"messages": QUESTION, "max_tokens": ENOUGH_TOKENS, "max_retries": 1}
    for mode in (instructor.Mode.JSON_SCHEMA, instructor.Mode.TOOLS):
        client = instructor.from_openai(OpenAI(base_url=f"{url}/v1", api_key="none"), mode=mode)
        answer = client.chat.completions.create(model="nano", response_model=Answer, **asked)
        assert isinstance(answer.yes, bool), mode
        partly = list(
            client.chat.completions.create_partial(model="nano", response_model=Answer, **asked)
        )
        assert isinstance(partly[-1].yes, bool), mode
    client = instructor.from_openai(OpenAI(base_url=f"{scripted}/v1", api_key="none"))
    found = client.chat.completions.create(model=SCRIPTED, response_model=weather, **asked)
    assert found.city == "Oslo"


def run_llm(url: str, scripted: str) -> None:
    """The command line, with models of its extra-openai-models.yaml: text, a schema, a tool."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "extra-openai-models.yaml"
        models.write_text(
            f"- {{model_id: nano, model_name: nano, api_base: {url}/v1, supports_schema: true}}\n"
            f"- {{model_id: scripted, model_name: {SCRIPTED}, api_base: {scripted}/v1,"
            " supports_tools: true}\n"
            f"- {{model_id: nono, model_name: nono, api_base: {url}/v1}}\n"
        )

        def llm(*arguments: str) -> "subprocess.CompletedProcess[str]":
            program = str(Path(sys.executable).parent / "llm")
            return subprocess.run(
                [program, *arguments, "--key", "none"],
                env={"LLM_USER_PATH": folder, "HOME": folder, "PATH": ""},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )

        for more in ([], ["--no-stream"]):
            done = llm("-m", "nano", *more, "-o", "max_tokens", "8", "Hello there")
            assert done.stdout.strip(), done.stderr
        enough = ("-o", "max_tokens", str(ENOUGH_TOKENS))
        shaped = llm("-m", "nano", "--schema", json.dumps(YES), *enough, "Is it so?")
        assert isinstance(json.loads(shaped.stdout)["yes"], bool), shaped.stderr
        code = 'def weather(city: str) -> str:\n    "Weather in a city"\n    return city + ": 4"\n'
        tooled = llm("-m", "scripted", "--functions", code, "--td", "Weather in Oslo?")
        assert tooled.stdout.rstrip().endswith(LAST_WORDS), tooled.stderr
        assert "Oslo: 4" in tooled.stderr
        unknown = llm("-m", "nono", "Hello")
        assert unknown.returncode != 0
        assert "nano" in unknown.stderr


PROGRAMS: dict[str, Callable[[str, str], None]] = {
    "litellm": run_litellm,
    "langchain": run_langchain,
    "instructor": run_instructor,
    "llm": run_llm,
}


if __name__ == "__main__":
    name, address, scripted_address = sys.argv[1:]
    PROGRAMS[name](address, scripted_address)
    print(f"{name}: good")
