"""What `umad run` asks for: piped text, a chat or plain text, the form of the answer."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Fakes, Umad
from umad.cli.answer_form import constraint_of
from umad.cli.piped import NOTICE_S, joined
from umad.constraint import Constraint
from umad.errors import BadRequest
from umad.testing import FakeModel

Spawn = Callable[..., "subprocess.Popen[str]"]


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def prompt_tokens(umad: Umad, *arguments: str) -> int:
    """Words of what the model was asked; a fake one counts each as a token."""
    ended = umad("run", *arguments, "--json", "--max-tokens", "2")
    assert (ended.code, ended.err) == (0, "")
    return int(json.loads(ended.out.splitlines()[-1])["usage"]["prompt_tokens"])


# -- piped text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("piped", "words", "tokens"),
    [
        pytest.param(b"one two three\n", ["sum it up"], 6, id="a file and what to do with it"),
        pytest.param(b"one two three", ["m", "sum it up"], 6, id="with a model's name"),
        pytest.param(b"one two three", ["m"], 3, id="a model's name alone"),
        pytest.param(b"one two three", [], 3, id="nothing else"),
        pytest.param(b"one two three", ["-"], 3, id="a dash for stdin"),
        pytest.param(b"one two three", ["m", "-"], 3, id="a model and a dash"),
        pytest.param(b"", ["sum it up"], 3, id="an empty pipe, as cron has it"),
        pytest.param(b"\n \n", ["sum it up"], 3, id="nothing but blanks"),
        pytest.param(b"\xef\xbb\xbfone two", ["sum"], 3, id="a file with a byte order mark"),
        pytest.param(b"one\r\ntwo\r\n", ["sum"], 3, id="lines of Windows"),
        pytest.param("zwölf größte\n".encode(), ["sum"], 3, id="letters beyond ASCII"),
    ],
)
def test_piped_text_and_the_prompt_are_asked_together(
    asking: Umad, monkeypatch: pytest.MonkeyPatch, piped: bytes, words: list[str], tokens: int
) -> None:
    give_stdin(monkeypatch, piped)

    assert prompt_tokens(asking, *words) == tokens


@pytest.mark.parametrize(
    ("piped", "prompt", "asked"),
    [
        pytest.param("text\n", "sum it up", "text\n\nsum it up", id="the text stands first"),
        pytest.param("text\n", None, "text\n", id="a prompt that is piped in stays as it is"),
        pytest.param("", "sum it up", "sum it up", id="a prompt alone stays as it is"),
        pytest.param("  a\n  b\n", "why?", "  a\n  b\n\nwhy?", id="indents are kept"),
    ],
)
def test_the_order_is_that_of_the_command_line(piped: str, prompt: str | None, asked: str) -> None:
    assert joined(piped, prompt) == asked


@pytest.mark.parametrize(
    ("piped", "hint"),
    [(b"\xff\xfe", "not UTF-8"), (b"x" * (8 * 2**20 + 1), "more than")],
    ids=["no text", "too much"],
)
def test_what_cannot_be_asked_is_refused_and_not_left_out(
    asking: Umad, monkeypatch: pytest.MonkeyPatch, piped: bytes, hint: str
) -> None:
    give_stdin(monkeypatch, piped)

    ended = asking("run", "sum it up")

    assert ended.code == 2
    assert hint in ended.err


def test_who_waits_for_a_pipe_that_nobody_ends_is_told(spawn: Spawn) -> None:
    """`ssh HOST umad run PROMPT` has such a stdin."""
    process = spawn("run", "hello", "--max-tokens", "2", stdin=subprocess.PIPE)
    assert process.stderr is not None

    said = process.stderr.readline()
    out, _ = process.communicate(" one two\n", timeout=60 + NOTICE_S)

    assert said == "umad: reading stdin first; end it, or give it none: < /dev/null\n"
    assert process.returncode == 0
    assert out.strip()


# -- a chat or plain text -------------------------------------------------------------------------


@pytest.fixture
def models(asking: Umad, fakes: Fakes) -> Iterator[Umad]:
    """Three more models: with a chat template, without one, and one that says nothing of it."""
    folder = fakes.model.parent
    kinds = {"instruct": True, "base": False, "unsaid": None}
    for name, template in kinds.items():
        path = FakeModel(chat_template=template).write(folder / f"{name}.gguf")
        assert asking("load", str(path)).code == 0
    yield asking
    for name in kinds:
        asking("unload", name)


@pytest.mark.parametrize(
    ("arguments", "is_chat"),
    [
        pytest.param(["instruct", "hello"], True, id="a model with a template"),
        pytest.param(["base", "hello"], False, id="a model without one"),
        pytest.param(["unsaid", "hello"], False, id="a model of which nothing is known"),
        pytest.param(["instruct", "hello", "--raw"], False, id="plain text is asked for"),
        pytest.param(["base", "hello", "--chat"], True, id="a chat is asked for"),
        pytest.param(["base", "hello", "--system", "Be brief."], True, id="a system message is"),
    ],
)
def test_a_prompt_is_a_chat_where_the_model_has_a_template(
    models: Umad, monkeypatch: pytest.MonkeyPatch, arguments: list[str], is_chat: bool
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("umad.cli.run.stream", _remembering(asked))
    give_stdin(monkeypatch, b"")

    assert models("run", *arguments).code == 0

    (request,) = asked
    assert (request.messages is not None) == is_chat  # type: ignore[attr-defined]
    assert (request.prompt is not None) == (not is_chat)  # type: ignore[attr-defined]


def _remembering(asked: list[object]) -> Callable[..., object]:
    async def stream(client: object, request: object, *_: object, **__: object) -> None:
        asked.append(request)

    return stream


@pytest.mark.parametrize("other", [["--chat"], ["--system", "Be brief."]])
def test_plain_text_and_a_chat_exclude_each_other(asking: Umad, other: list[str]) -> None:
    ended = asking("run", "hello", "--raw", *other)

    assert ended.code == 2
    assert "choose one of --raw and --chat" in ended.err


# -- --format -------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def test_json_is_any_object() -> None:
    assert constraint_of("json") == Constraint.json_schema({"type": "object"})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(SCHEMA), id="a schema in a file"),
        pytest.param("\ufeff" + json.dumps(SCHEMA, indent=2), id="one that an editor wrote"),
    ],
)
def test_a_file_is_its_schema(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(text, encoding="utf-8")

    constraint = constraint_of(str(path))

    assert (constraint.kind, json.loads(constraint.text)) == ("json_schema", SCHEMA)


def test_a_schema_may_stand_on_the_command_line() -> None:
    assert json.loads(constraint_of(json.dumps(SCHEMA)).text) == SCHEMA


@pytest.mark.parametrize(
    ("form", "hint"),
    [
        pytest.param("yaml", "json or a file with a JSON schema; yaml: No such file", id="a word"),
        pytest.param("{", "no JSON schema", id="half a schema"),
        pytest.param("/dev/null", "no JSON schema", id="an empty file"),
        pytest.param("/", "Is a directory", id="a folder"),
        pytest.param("~nobody-of-that-name/x", "No such file", id="the home of nobody"),
    ],
)
def test_another_form_is_refused_by_name(form: str, hint: str) -> None:
    with pytest.raises(BadRequest, match=r"^--format") as caught:
        constraint_of(form)

    assert hint in caught.value.message


def test_the_form_is_asked_for(asking: Umad, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("umad.cli.run.stream", _remembering(asked))
    give_stdin(monkeypatch, b"")

    assert asking("run", "hello", "--format", "json").code == 0

    (request,) = asked
    assert request.constraint == constraint_of("json")  # type: ignore[attr-defined]


def test_a_shell_loop_reads_its_own_lines(fakes: Fakes) -> None:
    """`umad run` in a loop over lines reads what is left of them, unless it is given no stdin."""
    script = "printf 'a\\nb\\n' | while read line; do \"$0\" -m umad run $line </dev/null; done"
    ended = subprocess.run(
        [
            "sh",
            "-c",
            script.replace("run $line", "run --max-tokens 2 --seed 7 $line"),
            sys.executable,
        ],
        capture_output=True,
        text=True,
        env=os.environ
        | {"UMAD_SOCKET": str(fakes.socket), "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
        check=False,
    )

    assert len(ended.stdout.splitlines()) == 2
