"""The README is executed, so that it cannot say what is no longer so."""

import re
import subprocess
import sys
from pathlib import Path

from tests.client.scripted_daemon import Peer, daemon_thread
from tests.protocol.test_errors import OWN_CODE
from umad import protocol
from umad.config import LimitSettings
from umad.errors import (
    AlreadyRunning,
    BadConfig,
    ConnectionLost,
    EngineFailed,
    InternalError,
    NoDaemon,
    ProxyFailed,
)
from umad.protocol import bounds, chat_fields, fields, parsing
from umad.protocol.frames import FrameReader
from umad.protocol.messages import (
    Generate,
    Hello,
    Welcome,
    encode_error,
    parse_event,
    parse_hello,
    parse_request,
)
from umad.request import (
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_N,
    MAX_STOP_CHARS,
    MAX_STOPS,
    SAMPLING_FIELDS,
    ChatMessage,
    GenerateRequest,
    SamplingParams,
)
from umad.sampling.ring import SLOTS, RingLayout
from umad.service import Accepted, Done, Tokens

README = (Path(protocol.__file__).parent / "README.md").read_text()
# What a client or a router tells itself, and never hears from a daemon.
LOCAL = {kind.code for kind in (NoDaemon, AlreadyRunning, ConnectionLost, BadConfig, ProxyFailed)}


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(text)


def section(title: str) -> str:
    (text,) = re.findall(rf"^#+ {title}\n(.*?)(?=^#|\Z)", README, re.DOTALL | re.MULTILINE)
    return str(text)


def rows(text: str) -> list[list[str]]:
    """Cells of a section's table, without its head."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def named(text: str) -> set[str]:
    return {row[0].strip("`") for row in rows(text)}


def said_by(mark: str) -> list[bytes]:
    """Bodies of one side of the exchange; a line is a mark, 16 bytes in hex, and the text."""
    lines = [line for line in block("hexdump").splitlines() if line.startswith(mark)]
    stream = b"".join(bytes.fromhex(line[2:49]) for line in lines)
    return list(FrameReader(2**20).feed(stream))


def test_the_exchange_is_what_client_and_daemon_say() -> None:
    hello, request = said_by(">")
    welcome, accepted, tokens, done = said_by("<")

    assert parse_hello(hello) == Hello(client="docs")
    assert parse_request(request) == Generate(
        id=1, request=GenerateRequest(prompt="Hi", sampling=SamplingParams(max_tokens=1))
    )
    frame_bytes = LimitSettings().frame_bytes
    assert parse_event(welcome) == (None, Welcome(server="umad/0.1.0", frame_bytes=frame_bytes))
    events = [parse_event(body) for body in (accepted, tokens, done)]
    assert [request_id for request_id, _ in events] == [1, 1, 1]
    assert [type(event) for _, event in events] == [Accepted, Tokens, Done]


def run_client(path: str) -> subprocess.CompletedProcess[str]:
    program = block("python")
    return subprocess.run(
        [sys.executable, "-c", program, path, "Why is the sky blue?"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_python_client_prints_an_answer(short_tmp_path: Path) -> None:
    heard: list[Generate] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.hear_generate())
        peer.say_accepted(heard[0].id)
        peer.say_text(heard[0].id, "Because of ")
        peer.say_text(heard[0].id, "Rayleigh.")
        peer.say_done(heard[0].id)

    path = str(short_tmp_path / "s")
    with daemon_thread(path, script):
        ended = run_client(path)

    assert (ended.stdout, ended.stderr, ended.returncode) == ("Because of Rayleigh.\n", "", 0)
    assert heard[0].request.messages == (ChatMessage(role="user", content="Why is the sky blue?"),)


def test_the_python_client_says_what_went_wrong(short_tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear()
        peer.say(encode_error(EngineFailed("the engine crashed twice"), request.id))

    path = str(short_tmp_path / "s")
    with daemon_thread(path, script):
        ended = run_client(path)

    assert (ended.stderr, ended.returncode) == ("engine_failed: the engine crashed twice\n", 1)


def test_the_python_client_is_short() -> None:
    assert len(block("python").splitlines()) <= 45


def test_every_field_of_a_generation_is_in_the_table() -> None:
    accepted = {name for kind in ("generate", "chat") for name in parsing.KINDS[kind].readers}

    assert named(section("generate, chat")) == accepted


def test_the_default_of_a_number_stands_beside_it() -> None:
    told = {row[0].strip("`"): row[2] for row in rows(section("generate, chat"))}
    defaults = {name: getattr(SamplingParams(), name) for name in SAMPLING_FIELDS}
    numbers = {name: value for name, value in defaults.items() if type(value) in (int, float)}

    assert numbers
    assert not [name for name in numbers if f"default {numbers[name]:g}" not in told[name]]


def test_every_request_with_one_answer_is_in_the_table_with_its_fields() -> None:
    table = {row[0].strip("`"): row[1] for row in rows(section("Requests with one answer"))}

    assert set(table) == set(parsing.KINDS) - {"generate", "chat", "transcribe"}
    for name, listed in table.items():
        kind = parsing.KINDS[name]
        assert set(re.findall(r"`(\w+)`", listed)) == set(kind.readers)
        for field in kind.required:
            assert f"[`{field}`" not in listed


def test_every_event_is_in_the_table() -> None:
    assert named(section("Events")) == {
        "accepted",
        "loading",
        "progress",
        "prompt_logprobs",
        "tokens",
        "logits",
        "done",
        "error",
    }


def test_every_error_a_daemon_sends_is_in_the_table() -> None:
    sent = {kind.code: kind.retryable for kind in OWN_CODE if kind.code not in LOCAL}
    sent[InternalError.code] = InternalError.retryable

    listed = {row[0].strip("`"): row[1] == "yes" for row in rows(section("Errors"))}

    assert listed == sent


def test_the_limits_are_those_of_the_code() -> None:
    limits, generate, defaults = section("Limits"), section("generate, chat"), LimitSettings()

    assert f"nested at most {bounds.MAX_DEPTH} deep" in limits
    assert f"at most {bounds.MAX_ITEMS:,} items" in limits
    assert f"1 to {fields.MAX_NAME_CHARS} characters" in limits
    assert (
        f"`model` up to {fields.MAX_MODEL_CHARS}, a `role` up to {chat_fields.MAX_ROLE_CHARS}"
        in limits
    )
    assert f"takes {chat_fields.MAX_MESSAGES} messages" in " ".join(limits.split())
    assert f"bodies of {defaults.frame_bytes // 2**20} MiB" in limits
    assert f"{defaults.connections} connections" in limits
    assert f"{defaults.requests_per_connection} live" in limits
    assert f"{defaults.hello_s:g} s from connecting" in limits
    assert f"{defaults.half_frame_s:g} s for the rest of a frame" in limits
    assert f"more than {defaults.send_queue_bytes // 2**10} KiB" in section("Backpressure")
    assert f"1 to {fields.MAX_ID_CHARS} characters" in " ".join(section("Connection").split())
    assert f"at most {MAX_STOPS}, of 1 to {MAX_STOP_CHARS} characters" in generate
    assert f"at most {MAX_LOGIT_BIAS}" in generate
    assert f"integer, 0 to {MAX_LOGPROBS}" in generate
    assert f"integer, 1 to {MAX_N}" in generate
    assert f"has {defaults.choice_s:g} s for the attaching" in section("Logits")
    assert f"The last {SLOTS - 1} rows are there" in section("Logits")
    layout = RingLayout(n_vocab=1).as_map()
    assert all(f"`{name}`" in section("Logits") for name in layout)
