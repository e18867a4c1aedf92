"""Compiles a model's Jinja template and renders values with it. Pure but for today's date.

It runs in jinja2's immutable sandbox; its products and its output are bounded. Templates find what
Hugging Face's `apply_chat_template` gives them: raise_exception, strftime_now, tojson without HTML
escapes, trim_blocks and lstrip_blocks. Not: bounds on its time and its memory, which nothing inside
a process can enforce (`umad.engine.chats.template_process`).
"""

import datetime
import json
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typing_extensions import override

# Bounds what a hostile template could multiply.
MAX_PRODUCT = 1_000_000
MAX_RENDERED_CHARS = 64 * 2**20
MAX_POWER = 64


class TemplateFailed(Exception):
    """The template cannot be read, or cannot be run on these values. The text
    tells a person why.
    """


class MessagesRefused(TemplateFailed):
    """The template runs and does not take these messages. It may take the same in another form."""


class Renderer(Protocol):
    """Runs one template."""

    def render(self, values: Mapping[str, Any]) -> str:
        """Render `values`. Raises `TemplateFailed`; blocks for as long as the template may run."""


class _Environment(ImmutableSandboxedEnvironment):
    """Bounds what a template may multiply, besides the sandbox's own rules."""

    intercepted_binops = frozenset(("*", "**"))

    @override
    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        if operator == "**" and not (isinstance(right, int) and right <= MAX_POWER):
            raise jinja2.TemplateRuntimeError("a power too high")
        sized, times = (right, left) if isinstance(left, int) else (left, right)
        is_repetition = isinstance(sized, str | list | tuple) and isinstance(times, int)
        if is_repetition and len(sized) * times > MAX_PRODUCT:
            raise jinja2.TemplateRuntimeError("a string or list is repeated too often")
        return super().call_binop(context, operator, left, right)


class _Generation(Extension):
    """Hugging Face's `{% generation %}`, which marks an assistant's words for training. Here it is
    what stands in it.
    """

    tags = frozenset(("generation",))  # type: ignore[assignment]

    @override
    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateProgram(Renderer):
    """A template that is compiled once. Raises `TemplateFailed` where it cannot be compiled."""

    def __init__(self, source: str) -> None:
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateFailed(
                f"this model has a chat template that cannot be read: {error}"
            ) from error
        except RecursionError:
            raise TemplateFailed("this model has a chat template nested too deep") from None

    @override
    def render(self, values: Mapping[str, Any]) -> str:
        pieces: list[str] = []
        room = MAX_RENDERED_CHARS
        try:
            for piece in self._template.generate(values):
                room -= len(piece)
                if room < 0:
                    raise TemplateFailed(
                        f"the chat template makes more than {MAX_RENDERED_CHARS} characters"
                    )
                pieces.append(piece)
        except jinja2.TemplateError as error:
            raise MessagesRefused(
                f"the model's chat template refuses these messages: {error}"
            ) from error
        except MemoryError:
            pieces.clear()
            raise TemplateFailed("the model's chat template takes too much memory") from None
        except (
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            # Templates are programs, and these messages made this one fail.
            raise MessagesRefused(
                f"the model's chat template fails on these messages: {error}"
            ) from error
        return "".join(pieces)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format_: str) -> str:
    return datetime.datetime.now().astimezone().strftime(format_)


def to_json(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    """Write JSON as Hugging Face's `tojson` does: no HTML escapes, text as it is."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
