"""Logs prompts and completions, if `UMAD_VERBOSE=1` asks for them.

It writes one line when a generation is asked for and one for every completion at its end. Lines are
JSON, so that a line break in a text does not break a line of the log. Not: the decision to log
(`umad.gateway.gateway_call`). Owner: its request.
"""

import logging
from dataclasses import asdict, replace
from typing import Any

from typing_extensions import override

from umad.conversation import ChatMessage
from umad.errors import UmadError
from umad.gateway.listening import Listener
from umad.gateway.sse import encode_json
from umad.request import GenerateRequest
from umad.service import Accepted, Done, Tokens

log = logging.getLogger(__name__)


class TextLog(Listener):
    """Logs one generation under its HTTP request's id."""

    def __init__(self, request_id: str, request: GenerateRequest) -> None:
        self._id = request_id
        self._said: list[list[str]] = [[] for _ in range(request.n)]
        log.info("prompt id=%s %s", request_id, encode_json(_prompt(request)))

    @override
    def hear(self, event: Accepted | Tokens | Done) -> None:
        if isinstance(event, Tokens):
            self._said[event.index].append(event.text)

    @override
    def end(self, error: UmadError | None) -> None:
        for index, pieces in enumerate(self._said):
            log.info("completion id=%s index=%d %s", self._id, index, encode_json("".join(pieces)))


def _turn(turn: ChatMessage) -> dict[str, Any]:
    """A turn, with the sizes of its files in their place."""
    sizes = [f"{one.file.kind}, {len(one.file.data)} bytes" for one in turn.media]
    return {**asdict(replace(turn, media=())), "media": sizes}


def _prompt(request: GenerateRequest) -> Any:
    if request.messages is not None:
        return [_turn(one) for one in request.messages]
    return request.prompt if request.prompt_ids is None else request.prompt_ids
