"""Describes the bodies of llama.cpp's own endpoints, as in its tools/server/README.md.

Fields for its slots and its caches are accepted and have no effect. Not: what /infill shares with
/completion (`llama_completion`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, StrictInt

from umad.gateway.bodies.base import Body
from umad.gateway.bodies.embedding_fields import EmbedFields
from umad.gateway.bodies.llama_completion import LlamaDrawing
from umad.gateway.bodies.openai_chat import ChatCompletionBody
from umad.gateway.bodies.values import Flag, Whole
from umad.request import MAX_TOKEN_ID

TokenId = Annotated[StrictInt, Field(ge=0, le=MAX_TOKEN_ID)]


class _LlamaCppBody(Body):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ExtraFile(_LlamaCppBody):
    """Another file, shown to the model before the one that is edited."""

    filename: str = ""
    text: str


class InfillBody(LlamaDrawing, _LlamaCppBody):
    """`POST /infill`. `prompt` is the text typed already, behind `input_prefix`. An
    `n_predict` of 0 only reads the prompt, so that the next request finds it read.
    """

    input_prefix: str
    input_suffix: str
    input_extra: list[ExtraFile] = Field(default_factory=list)
    prompt: str = ""

    def most_tokens(self, default: int) -> int | None:
        """The limit of the answer's tokens; None for no limit, `default` where none is given."""
        return self.n_predict if "n_predict" in self.model_fields_set else default


class ApplyTemplateBody(ChatCompletionBody):
    """`POST /apply-template`: a chat as OpenAI's clients write it."""

    add_generation_prompt: bool | None = None


class LoadBody(_LlamaCppBody):
    """`POST /models`, `/models/load`, `/models/unload`."""

    model: str = Field(min_length=1, max_length=4096)


class TokenizeBody(_LlamaCppBody):
    """`POST /tokenize`. `content` is a text, or texts and token ids in one list; without it there
    are no tokens, as in llama-server. `add_special`: begin with the model's BOS. `parse_special`:
    control tokens written in the content count as control tokens. `with_pieces`: add each token's
    text.
    """

    content: Any = Field(
        default="",
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            ]
        },
    )
    model: str | None = None
    add_special: Flag = False
    parse_special: Flag = True
    with_pieces: Flag = False


class DetokenizeBody(_LlamaCppBody):
    """`POST /detokenize`. Without tokens there is no text, as in llama-server."""

    tokens: list[TokenId] = Field(default_factory=list)
    model: str | None = None


class EmbeddingBody(EmbedFields, _LlamaCppBody):
    """`POST /embedding`. `content` is a text, a list of texts, or token ids. `embd_normalize` below
    zero leaves the vectors' length unchanged; any other value makes their Euclidean length 1.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **EmbedFields.other_names,
        "content": ("input",),
    }

    content: Any
    model: str | None = None
    embd_normalize: Whole = 2
