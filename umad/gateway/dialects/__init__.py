"""Lists every endpoint: each dialect's file has one table, and they are put together here.

A dialect's file turns bodies into `GenerateRequest`s and events into the dialect's answers. It
imports nothing from another dialect's file.
"""

from umad.gateway.dialect import Dialect
from umad.gateway.dialects import frames, jobs, metrics, native, page
from umad.gateway.dialects.anthropic import routes as anthropic
from umad.gateway.dialects.anthropic.errors import ANTHROPIC
from umad.gateway.dialects.llamacpp import routes as llamacpp
from umad.gateway.dialects.ollama import routes as ollama
from umad.gateway.dialects.ollama.errors import OLLAMA
from umad.gateway.dialects.openai import audio as openai_audio
from umad.gateway.dialects.openai import chat as openai_chat
from umad.gateway.dialects.openai import completions as openai_completions
from umad.gateway.dialects.openai import embeddings as openai_embeddings
from umad.gateway.dialects.openai import input_tokens as openai_input_tokens
from umad.gateway.dialects.openai import models as openai_models
from umad.gateway.dialects.openai import responses as openai_responses
from umad.gateway.dialects.openai import responses_kept
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *openai_chat.ENDPOINTS,
    *openai_completions.ENDPOINTS,
    *openai_responses.ENDPOINTS,
    *responses_kept.ENDPOINTS,
    *openai_input_tokens.ENDPOINTS,
    *openai_embeddings.ENDPOINTS,
    *openai_audio.ENDPOINTS,
    *openai_models.ENDPOINTS,
    *native.ENDPOINTS,
    *frames.ENDPOINTS,
    *jobs.ENDPOINTS,
    *metrics.ENDPOINTS,
    *anthropic.ENDPOINTS,
    *ollama.ENDPOINTS,
    *llamacpp.ENDPOINTS,
    *page.ENDPOINTS,
)

# An unknown path gets the error shape of the first prefix that fits.
DIALECT_OF_PREFIX: tuple[tuple[str, Dialect], ...] = (
    ("/v1/messages", ANTHROPIC),
    ("/api/", OLLAMA),
    ("/", OPENAI),
)
