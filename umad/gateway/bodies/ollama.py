"""Describes the bodies of Ollama's API.

Source: the request types of the `ollama` package and Ollama's `api/types.go`. Options that
configure a runner (num_ctx, num_gpu, num_thread, …) are accepted and have no effect: with an
effect, apps that disagree about them would reload each other's model. Not: the translation of a
body (`requests`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StrictInt
from typing_extensions import override

from umad.gateway.bodies.answer_form import FormFields
from umad.gateway.bodies.base import Body, ToolPlace, tool_places
from umad.gateway.bodies.embedding_fields import EmbedFields, Truncate
from umad.gateway.bodies.past_turns import Arguments
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.bodies.values import AS_WHOLE, Flag, KeepAlive, LlamaLimit, NoShift
from umad.request import MAX_TOKEN_ID


class _OllamaBody(Body):
    model_config = ConfigDict(extra="ignore", frozen=True)


Think = bool | Literal["none", "minimal", "low", "medium", "high", "max", "xhigh"]


class Options(Drawing):
    """Sampling options. -1, -2 and 0 of `num_predict` mean as many tokens as fit; a `seed` of 0 is
    a seed.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Drawing.other_names,
        "num_predict": ("n_predict", "max_tokens"),
    }

    num_predict: LlamaLimit = None


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


class _OllamaGeneration(FormFields, _OllamaBody):
    model: str = Field(min_length=1)
    stream: Flag | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    # umad's own, which may stand among the options, too
    speculate: Flag | None = None
    think: Think | None = None
    logprobs: Flag | None = None
    # Ollama drops old turns where a conversation outgrows its context, unless this is false.
    shift: NoShift | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20), AS_WHOLE] | None = None

    @property
    def is_guessed(self) -> bool:
        """Whether the next tokens of the answer may be guessed, where the engine does that."""
        return self.speculate is not False and (self.options is None or self.options.is_guessed)


class OllamaChatBody(_OllamaGeneration):
    """`POST /api/chat`. Without messages it loads or unloads the model."""

    messages: list[OllamaTurn] | None = None
    tools: list[OllamaTool] | None = None

    @override
    def tool_places(self) -> Mapping[str, ToolPlace]:
        """Where the body has each tool, by the tool's name."""
        named = [
            (one.function.name, f"tools.{at}.function")
            for at, one in enumerate(self.tools or ())
            if one.function is not None
        ]
        return tool_places(named)


class OllamaGenerateBody(_OllamaGeneration):
    """`POST /api/generate`. Without a prompt and a suffix it loads or unloads the model."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]] | None = None
    raw: Flag | None = None
    images: list[str] | None = None


class EmbedBody(EmbedFields, _OllamaBody):
    """`POST /api/embed`. Without an input it loads or unloads the model. A text that is too long is
    cut unless `truncate` is false.
    """

    model: str = Field(min_length=1)
    input: str | list[str] = ""
    truncate: Truncate = True
    dimensions: Annotated[StrictInt, Field(ge=1), AS_WHOLE] | None = None
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class OllamaEmbeddingsBody(EmbedFields, _OllamaBody):
    """`POST /api/embeddings`, the older spelling with one text. Without it, it loads or unloads. A
    text that is too long is cut unless `truncate` is false.
    """

    model: str = Field(min_length=1)
    prompt: str = ""
    truncate: Truncate = True
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class PullBody(_OllamaBody):
    """`POST /api/pull`. `name` is the older spelling of `model`."""

    model: str = ""
    name: str = ""
    stream: Flag | None = None


class CopyBody(_OllamaBody):
    """`POST /api/copy`."""

    source: str = ""
    destination: str = ""


class DeleteBody(_OllamaBody):
    """`DELETE /api/delete`. `name` is the older spelling of `model`."""

    model: str = ""
    name: str = ""


class CreateBody(_OllamaBody):
    """`POST /api/create`. `name` is the older spelling of `model`, `modelfile` and `path` are what
    came before `from`.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"source": ("from",)}

    model: str = ""
    name: str = ""
    # "from", which is no name in Python.
    source: str | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None
    quantize: str | None = None
    stream: Flag | None = None
    # What no preset has; it is refused where it says something.
    template: Any = None
    messages: Any = None
    license: Any = None
    adapters: Any = None
    files: Any = None
    modelfile: Any = None
    path: Any = None


class ShowBody(_OllamaBody):
    """`POST /api/show`. `name` is the older spelling of `model`."""

    model: str = ""
    name: str = ""
    verbose: Flag = False
