"""Describes errors in each dialect's shape, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel


class OpenAIErrorDetail(BaseModel):
    """param: dotted path in the body."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class OpenAIError(BaseModel):
    """Of OpenAI's and the native endpoints."""

    error: OpenAIErrorDetail


class AnthropicErrorDetail(BaseModel):
    """The field at fault stands before the message."""

    type: str
    message: str


class AnthropicError(BaseModel):
    """https://docs.anthropic.com/en/api/errors"""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str


class OllamaError(BaseModel):
    """error: for a person."""

    error: str
    code: str
    field: str = ""
    request_id: str


class LlamaCppErrorDetail(BaseModel):
    """code: the status."""

    code: int
    message: str
    type: str
    param: str | None
    request_id: str


class LlamaCppError(BaseModel):
    """As llama-server says it."""

    error: LlamaCppErrorDetail
