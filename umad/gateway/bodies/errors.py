"""Describes errors in each dialect's shape, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel


class OpenAIErrorDetail(BaseModel):
    """An error; `param` is the dotted path of the field in the body."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class OpenAIError(BaseModel):
    """An error of OpenAI's and the native endpoints."""

    error: OpenAIErrorDetail


class AnthropicErrorDetail(BaseModel):
    """An error; its message begins with the field at fault."""

    type: str
    message: str


class AnthropicError(BaseModel):
    """https://docs.anthropic.com/en/api/errors"""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str


class OllamaError(BaseModel):
    """An error; `error` is a text for a person."""

    error: str
    code: str
    field: str = ""
    request_id: str


class LlamaCppErrorDetail(BaseModel):
    """An error; `code` is the HTTP status."""

    code: int
    message: str
    type: str
    param: str | None
    request_id: str


class LlamaCppError(BaseModel):
    """An error in llama-server's shape."""

    error: LlamaCppErrorDetail
