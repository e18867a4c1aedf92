"""The packed extension in a real code-server, with a real browser: `make vscode-host-test`.

A daemon that speaks by script stands behind the socket, so the text that has to appear is known. In
the last test it is umad itself, on the model that ships. Pictures of what is seen are left in the
folder that HOST_PICTURES names.
"""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.code_server import HOST, START_S, VSIX, Host, HostError, code_server
from tests.client.scripted_daemon import Peer, daemon_thread
from tests.live import live_daemon
from tests.lsp.test_server import CODER
from umad.client import AsyncClient
from umad.protocol.messages import Generate, Models, Tokenize, encode_result
from umad.request import GenerateRequest, SamplingParams
from umad.service import Tokens

SHOWN_MS = 60_000
CODER_THAT_CHATS = {
    **CODER,
    "chat_family": "hermes",
    "thinking": ["<think>", "</think>"],
    "takes_tools": True,
}
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
pytestmark = [
    pytest.mark.skipif(HOST is None or not VSIX.exists(), reason="code-server is not installed"),
    pytest.mark.timeout(600),
]


class Daemon:
    """Fills every gap with one text, and answers chats with the next of `replies`."""

    def __init__(self, ghost: str, *replies: str) -> None:
        self.ghost, self.replies = ghost, list(replies)
        self.chats: list[Generate] = []

    async def script(self, peer: Peer) -> None:
        while True:
            request = await peer.hear()
            match request:
                case Models():
                    peer.say(encode_result(request.id, [CODER_THAT_CHATS]))
                case Tokenize():
                    peer.say(encode_result(request.id, [ord(one) for one in request.text]))
                case Generate():
                    text = self.ghost
                    if request.request.messages is not None:
                        self.chats.append(request)
                        text = self.replies.pop(0)
                    peer.say_accepted(request.id)
                    peer.say_text(request.id, text)
                    peer.say_done(request.id)
                case _:
                    peer.say(encode_result(request.id, None))

    def runs_on(self, socket: Path) -> Any:
        """The daemon, for as long as a `with` lasts."""
        return daemon_thread(str(socket), self.script, within_s=4 * START_S)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with code_server(tmp_path, trusts=True) as found:
        yield found


@contextmanager
def page_on(host: Host, project: Path) -> Iterator[Any]:
    """The editor with the folder `project`."""
    pytest.importorskip("playwright.sync_api")
    from tests.browser.browsing import chromium  # noqa: PLC0415  # needs playwright

    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{host.address}/?folder={project}")
        yield page


def project_in(folder: Path, text: str = "x = ") -> Path:
    project = folder / "project"
    project.mkdir()
    (project / "f.py").write_text(text)
    return project


def open_file(page: Any) -> None:
    """Open f.py, with the cursor at its end, once the extension has found its daemon: it is asked
    nothing about what was typed before.
    """
    from playwright.sync_api import expect  # noqa: PLC0415

    page.get_by_role("treeitem", name="f.py").dblclick(timeout=SHOWN_MS)
    text = page.locator(".editor-group-container .monaco-editor .view-lines").first
    sees_status(page, "lane interactive")
    text.click(timeout=SHOWN_MS)
    page.keyboard.press("Control+End")
    expect(page.get_by_role("button", name="Ln 1, Col 5")).to_be_visible(timeout=SHOWN_MS)


def sees_ghost(page: Any, text: str) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415

    # Grey text is cut into the pieces that the language's colours give it.
    line = page.locator(".view-line:has(.ghost-text-decoration, .ghost-text)").first
    expect(line).to_contain_text(text, timeout=SHOWN_MS)


def sees_status(page: Any, words: str) -> None:
    """The status bar's item of the extension says these words, when it is pointed at."""
    from playwright.sync_api import expect  # noqa: PLC0415

    item = page.locator(f'.statusbar-item[aria-label*="{words}"]')
    expect(item).to_have_count(1, timeout=SHOWN_MS)


def keep_picture(page: Any, name: str, folder: Path) -> None:
    page.screenshot(path=str(folder / f"{name}.png"))
    if kept := os.environ.get("HOST_PICTURES"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{name}.png", kept)


def until(holds: Any, what: str) -> None:
    end = time.perf_counter() + START_S
    while not holds():
        assert time.perf_counter() < end, what
        time.sleep(0.1)


def test_grey_text_appears_and_tab_takes_it(host: Host, tmp_path: Path) -> None:
    project = project_in(tmp_path)
    with Daemon("value + 1").runs_on(host.umad_socket), page_on(host, project) as page:
        open_file(page)
        page.keyboard.type("y + ")
        sees_ghost(page, "value + 1")
        keep_picture(page, "vscode-ghost", tmp_path)
        page.keyboard.press("Tab")
        page.keyboard.press("Control+S")
        until(lambda: "value + 1" in (project / "f.py").read_text(), "the file is not saved")

    assert (project / "f.py").read_text() == "x = y + value + 1"


def test_a_chat_turn_calls_a_tool_and_the_model_hears_what_came_of_it(
    host: Host, tmp_path: Path
) -> None:
    daemon = Daemon("", CALL, "It is noon.")
    with daemon.runs_on(host.umad_socket), page_on(host, project_in(tmp_path)):
        until(lambda: host.asks("models") == ["coder"], "the editor does not list the model")
        said = host.asks("chat", text="What time is it?", tool="now", result="12:00")

    assert said == [{"called": "now"}, "It is noon."]
    first, second = (chat.request for chat in daemon.chats)
    assert [tool.name for tool in first.chat.tools] == ["now"]
    turns = second.messages or ()
    assert [turn.role for turn in turns] == ["user", "assistant", "tool"]
    assert turns[-1].content == "12:00"


def test_the_chat_view_shows_a_turn_with_a_tool_of_the_model_that_is_chosen_there(
    host: Host, tmp_path: Path
) -> None:
    """The view's own agent wants a sign-in, so the helper's participant asks the chosen model."""
    from playwright.sync_api import expect  # noqa: PLC0415

    daemon = Daemon("", CALL, "It is noon.")
    with daemon.runs_on(host.umad_socket), page_on(host, project_in(tmp_path)) as page:
        until(lambda: host.asks("models") == ["coder"], "the editor does not list the model")
        page.keyboard.press("F1")
        page.locator(".quick-input-widget input").first.wait_for(timeout=SHOWN_MS)
        page.keyboard.type("Chat: Open Chat")
        command = page.locator(".quick-input-list-row", has_text="Chat: Open Chat").first
        command.click(timeout=SHOWN_MS)
        expect(page.get_by_text("coder", exact=True).first).to_be_visible(timeout=SHOWN_MS)
        page.keyboard.type("@clock ")
        expect(page.locator(".chat-slash-command, .interactive-input-part").first).to_be_visible()
        page.keyboard.type("What time is it?")
        page.keyboard.press("Enter")
        expect(page.get_by_text("It is noon.").first).to_be_visible(timeout=SHOWN_MS)
        keep_picture(page, "vscode-chat", tmp_path)

    assert [turn.role for turn in daemon.chats[-1].request.messages or ()][-1] == "tool"


def test_a_daemon_that_dies_beneath_it_is_missed_and_found_again(
    host: Host, tmp_path: Path
) -> None:
    with page_on(host, project_in(tmp_path)) as page:
        with Daemon("first").runs_on(host.umad_socket):
            open_file(page)
            page.keyboard.type("a + ")
            sees_ghost(page, "first")
        sees_status(page, "no daemon listens")
        keep_picture(page, "vscode-no-daemon", tmp_path)
        with pytest.raises(HostError):
            host.asks("chat", text="Hello")

        with Daemon("second", "Back.").runs_on(host.umad_socket):
            sees_status(page, "scripted, lane interactive")
            page.keyboard.type("b + ")
            sees_ghost(page, "second")
            keep_picture(page, "vscode-found-again", tmp_path)
            until(lambda: host.asks("models") == ["coder"], "the editor does not list the model")
            assert host.asks("chat", text="Hello") == ["Back."]


def test_a_workspace_without_trust_gets_grey_text_and_chooses_nothing(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    (project / ".vscode").mkdir()
    (project / ".vscode" / "settings.json").write_text(
        '{"umad.socket": "/tmp/theirs", "umad.lane": "theirs", "umad.completion.model": "theirs"}'
    )
    with (
        code_server(tmp_path, trusts=False) as host,
        Daemon("value").runs_on(host.umad_socket),
        page_on(host, project) as page,
    ):
        open_file(page)
        page.keyboard.type("y + ")
        sees_ghost(page, "value")
        keep_picture(page, "vscode-without-trust", tmp_path)
        chosen = host.asks("settings", names=["socket", "lane", "completion.model"])

    assert chosen == {"isTrusted": False, "values": ["", "interactive", ""]}


@contextmanager
def background_job(socket: Path) -> Iterator[list[str]]:
    """Somebody else's endless work on the same model, and the text of it so far."""
    got: list[str] = []
    request = GenerateRequest(
        prompt="Once upon a time",
        lane="background",
        sampling=SamplingParams(max_tokens=400, ignore_eos=True),
    )
    stops = threading.Event()

    async def work() -> None:
        async with AsyncClient(socket) as client:
            while not stops.is_set():
                async for event in client.events(request):
                    if isinstance(event, Tokens):
                        got.append(event.text)
                    if stops.is_set():
                        return

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield got
    finally:
        stops.set()
        thread.join(START_S)


def grey_text(page: Any) -> str:
    """The grey text that the editor shows."""
    shown = page.locator(".view-line .ghost-text-decoration, .view-line .ghost-text")
    shown.first.wait_for(timeout=SHOWN_MS)
    return "".join(shown.all_text_contents()).replace("\xa0", " ")


def test_umad_itself_on_nano_writes_on_beside_a_background_job_and_after_a_kill(
    host: Host, tmp_path: Path
) -> None:
    project = project_in(tmp_path)
    with page_on(host, project) as page:
        with live_daemon(tmp_path, "nano") as daemon:
            with background_job(daemon.socket) as done:
                until(lambda: len(done) > 0, "the job does not run")
                open_file(page)
                page.keyboard.type("y + ")
                first = grey_text(page)
                before = len(done)
                keep_picture(page, "vscode-nano-beside-a-job", tmp_path)
                page.keyboard.press("Tab")
                page.keyboard.press("Control+S")
                until(lambda: first in (project / "f.py").read_text(), "the file is not saved")
                until(lambda: len(done) > before, "the job has stopped")
                said = host.asks("chat", text="Tell me a story.")
            daemon.process.kill()
            daemon.process.wait()
            sees_status(page, "no daemon listens")

        with live_daemon(tmp_path, "nano"):
            sees_status(page, "lane interactive")
            page.keyboard.type("\nz = ")
            assert grey_text(page)
            keep_picture(page, "vscode-nano-after-a-kill", tmp_path)

    assert "".join(said)
