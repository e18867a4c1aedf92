"""Describes the bodies of Ollama's API.

Source: the request types of the `ollama` package and Ollama's `api/types.go`. Options that
configure a runner (num_ctx, num_gpu, num_thread, …) are accepted and have no effect: with an
effect, apps that disagree about them would reload each other's model. Not: the translation of a
body (`requests`).
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from umad.gateway.bodies.durations import seconds_of
from umad.gateway.bodies.llama_sampling import LlamaSampling
from umad.gateway.bodies.past_turns import Arguments


class _OllamaBody(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


# Seconds, or a duration as Go writes it ("5m"); a negative one means for ever.
KeepAlive = Annotated[float | str, AfterValidator(seconds_of)]
Think = bool | Literal["low", "medium", "high", "max", "xhigh"]


class Options(LlamaSampling):
    """Sampling options. -1 and -2 of `num_predict` mean as many tokens as fit; a `seed` of 0 is a
    seed.
    """

    num_predict: int | None = Field(default=None, ge=-2)
    stop: list[str] | str | None = None


class OllamaCalledFunction(_OllamaBody):
    name: str
    arguments: Arguments = "{}"


class OllamaToolCall(_OllamaBody):
    id: str | None = None
    function: OllamaCalledFunction


class OllamaTurn(_OllamaBody):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[OllamaToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaFunction(_OllamaBody):
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class OllamaTool(_OllamaBody):
    """A tool. One of another type than "function" has no function, and is skipped."""

    type: str = "function"
    function: OllamaFunction | None = None


class _OllamaGeneration(_OllamaBody):
    model: str = Field(min_length=1)
    stream: bool | None = None
    options: Options | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    keep_alive: KeepAlive | None = None
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)


class OllamaChatBody(_OllamaGeneration):
    """`POST /api/chat`. Without messages it loads or unloads the model."""

    messages: list[OllamaTurn] | None = None
    tools: list[OllamaTool] | None = None


class OllamaGenerateBody(_OllamaGeneration):
    """`POST /api/generate`. Without a prompt it loads or unloads the model."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class EmbedBody(_OllamaBody):
    """`POST /api/embed`."""

    model: str = Field(min_length=1)
    input: str | list[str]
    truncate: bool = True
    dimensions: int | None = Field(default=None, ge=1)
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class OllamaEmbeddingsBody(_OllamaBody):
    """`POST /api/embeddings`, the older spelling with one text."""

    model: str = Field(min_length=1)
    prompt: str
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class PullBody(_OllamaBody):
    """`POST /api/pull`. `name` is the older spelling of `model`."""

    model: str = ""
    name: str = ""
    stream: bool | None = None


class ShowBody(_OllamaBody):
    """`POST /api/show`. `name` is the older spelling of `model`."""

    model: str = ""
    name: str = ""
    verbose: bool = False
