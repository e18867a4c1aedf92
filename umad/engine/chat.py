"""Chat messages to text, with the model's own Jinja template.

The template comes out of a file somebody downloaded, so it runs in jinja2's immutable sandbox.
What templates expect to find is what Hugging Face's `apply_chat_template` gives them:
raise_exception, strftime_now, tojson without HTML escapes, trim_blocks and lstrip_blocks.
Owner: the mailbox thread.
"""

import datetime
import json
from collections.abc import Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from umad.errors import BadRequest

# A few kilobytes are usual; what a hostile template could multiply is bounded by this.
MAX_TEMPLATE_CHARS = 1_000_000


class ChatTemplate:
    """The template of one model, compiled once."""

    def __init__(self, source: str | None, *, bos_text: str, eos_text: str) -> None:
        """`source` None: the model has none, and `render` says so."""
        self._specials = {"bos_token": bos_text, "eos_token": eos_text}
        self._template: jinja2.Template | None = None
        self._flaw: str | None = None
        if source is None:
            self._flaw = "has no chat template; send a prompt instead of messages"
            return
        if len(source) > MAX_TEMPLATE_CHARS:
            self._flaw = f"has a chat template of {len(source)} characters, too long to be run"
            return
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            self._flaw = f"has a chat template that cannot be read: {error}"

    @property
    def is_usable(self) -> bool:
        """Whether `render` can work at all."""
        return self._template is not None

    def render(self, messages: Sequence[tuple[str, str]]) -> str:
        """The prompt for (role, content) turns, ending where the assistant's answer begins.

        Raises `BadRequest` when there is no template or it refuses these messages.
        """
        if self._template is None:
            raise BadRequest(f"this model {self._flaw}", field="messages")
        turns = [{"role": role, "content": content} for role, content in messages]
        try:
            return self._template.render(
                messages=turns, add_generation_prompt=True, tools=None, **self._specials
            )
        except jinja2.TemplateError as error:
            raise BadRequest(
                f"the model's chat template refuses these messages: {error}", field="messages"
            ) from error
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            # Templates are programs; what they stumble over is these messages.
            raise BadRequest(
                f"the model's chat template fails on these messages: {error}", field="messages"
            ) from error


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format_: str) -> str:
    return datetime.datetime.now().astimezone().strftime(format_)


def _to_json(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
