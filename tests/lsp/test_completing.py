"""One completion for each file at a time: a later request ends the one before."""

import asyncio
from typing import cast

from tests.client.scripted_daemon import run
from tests.infill.test_ghost import CODER, Scripted
from umad.infill.ghost import Ghost, GhostWriter
from umad.lsp.completing import InlineCompleter
from umad.lsp.documents import Document, Place
from umad.lsp.settings import LspSettings
from umad.service import Service

SETTINGS = LspSettings(debounce_ms=50)


def opened(text: str, uri: str = "file:///f.py") -> tuple[Document, Place]:
    """A file, and the place of its |."""
    before, _, after = text.partition("|")
    document = Document(uri=uri, language="python")
    document.replace_all(before + after)
    last = before.split("\n")[-1]
    return document, Place(line=before.count("\n"), units=len(last))


class Pauses:
    """Waits that end when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        self.has_begun = asyncio.Event()
        self.asked_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.asked_s.append(seconds)
        pause = asyncio.get_running_loop().create_future()
        self.waiting.append(pause)
        self.has_begun.set()
        await pause

    def end(self) -> None:
        for pause in self.waiting:
            if not pause.done():
                pause.set_result(None)


class Desk:
    """A completer over a service that answers `value`."""

    def __init__(self) -> None:
        self.service = Scripted(["value"], [CODER])
        self.pauses = Pauses()
        self.completer = InlineCompleter(
            GhostWriter(cast(Service, self.service)), sleep=self.pauses.sleep
        )

    async def ask(
        self,
        text: str,
        *,
        uri: str = "file:///f.py",
        is_automatic: bool = True,
        settings: LspSettings = SETTINGS,
    ) -> Ghost | None:
        document, place = opened(text, uri)
        return await self.completer.complete(
            document, place, settings, name="f.py", project="p", is_automatic=is_automatic
        )

    async def begin(self, text: str, *, uri: str = "file:///f.py") -> "asyncio.Task[Ghost | None]":
        """A request that has come to its pause."""
        self.pauses.has_begun.clear()
        task = asyncio.ensure_future(self.ask(text, uri=uri))
        await self.pauses.has_begun.wait()
        return task


def test_a_key_waits_for_a_quiet_moment() -> None:
    async def main() -> None:
        desk = Desk()
        task = await desk.begin("x = |")
        assert desk.pauses.asked_s == [0.05]
        assert not desk.service.requests
        desk.pauses.end()

        assert await task == Ghost(text="value", model="coder")

    run(main())


def test_a_person_who_asks_does_not_wait() -> None:
    async def main() -> None:
        desk = Desk()

        assert await desk.ask("x = |", is_automatic=False) == Ghost(text="value", model="coder")
        assert not desk.pauses.asked_s

    run(main())


def test_a_later_request_of_the_file_ends_the_earlier_one() -> None:
    async def main() -> None:
        desk = Desk()
        earlier = await desk.begin("x = |")
        later = await desk.begin("x = o|")

        assert await earlier is None
        desk.pauses.end()
        await later
        assert len(desk.service.requests) == 1

    run(main())


def test_another_file_does_not_end_it() -> None:
    async def main() -> None:
        desk = Desk()
        first = await desk.begin("x = |")
        second = await desk.begin("y = |", uri="file:///g.py")
        desk.pauses.end()

        assert await first is not None
        assert await second is not None

    run(main())


def test_an_editor_that_cancels_gets_the_cancellation() -> None:
    async def main() -> None:
        desk = Desk()
        task = await desk.begin("x = |")
        task.cancel()
        desk.pauses.end()

        (ended,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError)
        assert not desk.service.requests

    run(main())


def test_typing_along_the_answer_neither_waits_nor_asks() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.ask("x = |", is_automatic=False)

        assert await desk.ask("x = va|") == Ghost(text="lue")
        assert len(desk.service.requests) == 1

    run(main())


def test_what_is_switched_off_comes_only_on_purpose() -> None:
    async def main() -> None:
        desk, off = Desk(), LspSettings(enabled=False)

        assert await desk.ask("x = |", settings=off) is None
        assert await desk.ask("x = |", settings=off, is_automatic=False) is not None

    run(main())


def test_nobody_is_asked_in_a_file_of_bytes() -> None:
    async def main() -> None:
        desk = Desk()

        assert await desk.ask("ELF\0|", is_automatic=False) is None
        assert not desk.service.requests

    run(main())
