"""What each package is put through, in an environment of its own: `python programs.py NAME URL`.

These packages pin what umad's own tests need newer, so they are run from outside. Each prints one
line when everything was as it should be, and ends with a traceback otherwise.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

QUESTION = [{"role": "user", "content": "Hello there"}]


def run_litellm(url: str) -> None:
    """All three of its ways to umad: OpenAI's, Anthropic's and Ollama's dialect."""
    import litellm  # noqa: PLC0415

    places = {"openai/nano": f"{url}/v1", "anthropic/nano": url, "ollama_chat/nano": url}
    for model, base in places.items():
        asked = {"model": model, "api_base": base, "api_key": "none", "max_tokens": 8}
        whole = litellm.completion(messages=QUESTION, **asked)
        assert whole.choices[0].message.content, model
        assert whole.usage.completion_tokens == 8, model
        pieces = list(litellm.completion(messages=QUESTION, stream=True, **asked))
        assert "".join(one.choices[0].delta.content or "" for one in pieces), model


def run_langchain(url: str) -> None:
    """Invoke, stream, batch and a schema."""
    from langchain_openai import ChatOpenAI  # noqa: PLC0415
    from pydantic import BaseModel  # noqa: PLC0415

    class City(BaseModel):
        name: str

    model = ChatOpenAI(model="nano", base_url=f"{url}/v1", api_key="none", max_tokens=24)
    assert model.invoke("Hello there").content
    assert "".join(str(piece.content) for piece in model.stream("Hello there"))
    assert len(model.batch(["one", "two"])) == 2
    shaped = model.with_structured_output(City, method="json_schema", include_raw=True)
    answer = shaped.invoke("Name a city")
    assert str(answer["raw"].content).startswith("{"), answer


def run_instructor(url: str) -> None:
    """A schema as a response format."""
    import instructor  # noqa: PLC0415
    from openai import OpenAI  # noqa: PLC0415
    from pydantic import BaseModel  # noqa: PLC0415

    class Answer(BaseModel):
        yes: bool

    client = instructor.from_openai(
        OpenAI(base_url=f"{url}/v1", api_key="none"), mode=instructor.Mode.JSON_SCHEMA
    )
    answer = client.chat.completions.create(
        model="nano", messages=QUESTION, response_model=Answer, max_tokens=60, max_retries=1
    )
    assert isinstance(answer.yes, bool)


def run_llm(url: str) -> None:
    """The command line, with a model of its extra-openai-models.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "extra-openai-models.yaml"
        models.write_text(f"- model_id: nano\n  model_name: nano\n  api_base: {url}/v1\n")
        command = [str(Path(sys.executable).parent / "llm"), "-m", "nano", "--key", "none"]
        for more in ([], ["--no-stream"]):
            done = subprocess.run(
                [*command, *more, "-o", "max_tokens", "8", "Hello there"],
                env={"LLM_USER_PATH": folder, "HOME": folder, "PATH": ""},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.stdout.strip(), done.stderr


PROGRAMS: dict[str, Callable[[str], None]] = {
    "litellm": run_litellm,
    "langchain": run_langchain,
    "instructor": run_instructor,
    "llm": run_llm,
}


if __name__ == "__main__":
    name, address = sys.argv[1:]
    PROGRAMS[name](address)
    print(f"{name}: good")
