"""Describes the bodies of llama.cpp's own endpoints, as in its tools/server/README.md.

Fields for its slots, its caches and its rare samplers are accepted and have no effect.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from umad.gateway.bodies.adapters import AdapterBody
from umad.gateway.bodies.answer_form import FormFields
from umad.gateway.bodies.base import Body
from umad.gateway.bodies.embedding_fields import EmbedFields
from umad.gateway.bodies.openai_chat import ChatCompletionBody
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.bodies.values import Flag, LlamaLimit, Whole
from umad.request import MAX_TOKEN_ID


class _LlamaCppBody(Body):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ExtraFile(_LlamaCppBody):
    """Another file, shown to the model before the one that is edited."""

    filename: str = ""
    text: str


class InfillBody(FormFields, Drawing, _LlamaCppBody):
    """`POST /infill`. `prompt` is the text typed already, behind `input_prefix`. An
    `n_predict` of 0 only reads the prompt, so that the next request finds it read.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Drawing.other_names,
        "n_predict": ("max_tokens", "max_completion_tokens"),
    }

    input_prefix: str
    input_suffix: str
    input_extra: list[ExtraFile] = Field(default_factory=list)
    prompt: str = ""
    model: str | None = None
    stream: Flag = False
    n_predict: LlamaLimit = None
    return_tokens: Flag = False
    lora: list[AdapterBody] | None = None

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
    """`POST /tokenize`. `add_special`: begin with the model's BOS. `parse_special`: control tokens
    written in the content count as control tokens. `with_pieces`: add each token's text.
    """

    content: str
    model: str | None = None
    add_special: Flag = False
    parse_special: Flag = True
    with_pieces: Flag = False


class DetokenizeBody(_LlamaCppBody):
    """`POST /detokenize`."""

    tokens: list[Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]]
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
