"""Describes the bodies of llama.cpp's own endpoints, as in its tools/server/README.md.

Fields for its slots, its caches and its rare samplers are accepted and have no effect.
"""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from umad.gateway.bodies.llama_sampling import LlamaSampling
from umad.request import MAX_TOKEN_ID


class _LlamaCppBody(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ExtraFile(_LlamaCppBody):
    """Another file, shown to the model before the one that is edited."""

    filename: str = ""
    text: str


class InfillBody(LlamaSampling, _LlamaCppBody):
    """`POST /infill`. `prompt` is the text typed already, behind `input_prefix`."""

    input_prefix: str
    input_suffix: str
    input_extra: list[ExtraFile] = []
    prompt: str = ""
    model: str | None = None
    stream: bool = False
    n_predict: int | None = Field(
        default=None, ge=-2, validation_alias=AliasChoices("n_predict", "max_tokens")
    )
    stop: list[str] = []
    ignore_eos: bool = False
    return_tokens: bool = False


class TokenizeBody(_LlamaCppBody):
    """`POST /tokenize`. `add_special`: begin with the model's BOS. `parse_special`: control tokens
    written in the content count as control tokens. `with_pieces`: add each token's text.
    """

    content: str
    model: str | None = None
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeBody(_LlamaCppBody):
    """`POST /detokenize`."""

    tokens: list[Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]]
    model: str | None = None


class EmbeddingBody(_LlamaCppBody):
    """`POST /embedding`. `content` is a text, a list of texts, or token ids. `embd_normalize` below
    zero leaves the vectors' length unchanged; any other value makes their Euclidean length 1.
    """

    content: Any = Field(validation_alias=AliasChoices("content", "input"))
    model: str | None = None
    embd_normalize: int = 2
