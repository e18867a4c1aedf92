"""Addresses in requests to a gateway: off, fetched, kept for the next turn, refused by their place.

The daemon behind the gateway answers by script, and the servers are real.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import httpx
import pytest
from typing_extensions import override

from tests.gateway.remote.servers import LISTED, UNLISTED, FileServer, Page, file_server
from tests.gateway.scripted_service import Scripted
from umad.client.rows import ModelRow
from umad.config import HttpSettings, MediaSettings
from umad.content import PlacedFile
from umad.gateway.app import create_app
from umad.gateway.remote.files import MOST_AT_ONCE, MOST_OF_OWNER, RemoteFiles
from umad.gateway.remote.kept import KeptFiles
from umad.gateway.written_files import from_url
from umad.request import GenerateRequest

CHAT = "/v1/chat/completions"
PNG = b"\x89PNG\r\n\x1a\n and so on"


class Asked(Scripted):
    """A daemon whose model takes these media."""

    def __init__(self, *media: str) -> None:
        super().__init__(["Yes."])
        self.media = media

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        rows = await super().models(stored=stored)
        return [ModelRow.of({**row, "media": self.media}) for row in rows]

    def files(self) -> list[bytes]:
        return [one.file.data for one in self.asked[-1].placed]


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as one:
        one.pages["/cat.png"] = Page(PNG)
        yield one


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def said(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": "Well?"}, *parts]}


async def ask(app: Any, *messages: Any, path: str = CHAT, **more: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        body = {"model": "scripted", "messages": messages, "max_tokens": 4, **more}
        return await http.post(path, json=body)


def gateway(service: Scripted, **settings: Any) -> Any:
    networks = (f"{LISTED}/32",)
    given = {"remote_urls": True, "remote_networks": networks, **settings}
    return create_app(HttpSettings(settle_s=0.01), service, media=MediaSettings(**given))


def answered(service: Scripted, *messages: Any, **settings: Any) -> httpx.Response:
    return asyncio.run(ask(gateway(service, **settings), *messages))


def test_an_address_is_not_asked_unless_that_was_allowed(server: FileServer) -> None:
    service = Asked("image")

    answer = answered(service, said(image(server.url("/cat.png"))), remote_urls=False)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages.0.content.1.image_url.url"
    assert "media.remote_urls" in answer.json()["error"]["message"]
    assert server.asked == []


def test_an_image_is_fetched_once_for_all_its_places(server: FileServer) -> None:
    service, url = Asked("image"), server.url("/cat.png")

    answer = answered(service, said(image(url)), said(role="assistant"), said(image(url)))

    assert answer.status_code == 200, answer.text
    assert service.files() == [PNG, PNG]
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": [{"role": "user", "content": ["IMAGE"]}]}),
        ("/v1/messages", {}),
    ],
)
def test_other_dialects_fetch_too(server: FileServer, path: str, body: Any) -> None:
    service, url = Asked("image"), server.url("/cat.png")
    block = {"type": "image", "source": {"type": "url", "url": url}}
    if "input" in body:
        body["input"][0]["content"] = [{"type": "input_image", "image_url": url}]

    messages = [{"role": "user", "content": [block]}]
    answer = asyncio.run(ask(gateway(service), *messages, path=path, **body))

    assert answer.status_code == 200, answer.text
    assert service.files() == [PNG]


def test_a_next_turn_fetches_nothing_again(server: FileServer) -> None:
    service, url = Asked("image"), server.url("/cat.png")

    async def run() -> None:
        app = gateway(service)
        for _ in range(2):
            assert (await ask(app, said(image(url)))).status_code == 200

    asyncio.run(run())

    assert service.files() == [PNG]
    assert len(server.asked) == 1


def test_nothing_is_fetched_for_a_model_that_cannot_see(server: FileServer) -> None:
    service = Asked()

    answered(service, said(image(server.url("/cat.png"))))

    assert service.files() == [b""]
    assert server.asked == []


def test_what_cannot_be_fetched_is_refused_now_and_passed_over_in_a_history(
    server: FileServer,
) -> None:
    service = Asked("image")
    gone = image(server.url("/gone.png"))

    now = answered(service, said(gone))
    earlier = answered(service, said(gone), said(role="assistant"), said())

    assert now.status_code == 400
    assert now.json()["error"]["param"] == "messages.0.content.1.image_url.url"
    assert "status 404; send the file itself" in now.json()["error"]["message"]
    assert earlier.status_code == 200
    assert service.files() == [b""]


def test_a_redirect_to_loopback_is_refused_by_its_place(server: FileServer) -> None:
    with file_server(UNLISTED) as inner:
        server.pages["/"] = Page(status=302, headers={"Location": inner.url("/secret")})

        answer = answered(Asked("image"), said(image(server.url("/"))))

        assert answer.status_code == 400
        assert "in this machine or in its network" in answer.json()["error"]["message"]
        assert inner.asked == []


def test_a_server_that_never_ends_is_given_up_in_time(server: FileServer) -> None:
    given_up = threading.Event()
    server.pages["/"] = Page(write=lambda _: given_up.wait(60))

    answer = answered(Asked("image"), said(image(server.url("/"))), remote_s=0.3)
    given_up.set()

    assert answer.status_code == 400
    assert "longer than 0.3 s" in answer.json()["error"]["message"]


def test_all_files_of_a_request_have_one_limit(server: FileServer) -> None:
    for name in "abc":
        server.pages[f"/{name}"] = Page(bytes(40_000))
    images = [image(server.url(f"/{name}")) for name in "abc"]

    enough = answered(Asked("image"), said(*images[:2]), remote_bytes=100_000)
    too_much = answered(Asked("image"), said(*images), remote_bytes=100_000)

    assert enough.status_code == 200
    assert too_much.status_code == 400
    assert "at most 100,000 bytes" in too_much.json()["error"]["message"]


def test_addresses_have_a_number(server: FileServer) -> None:
    images = [image(server.url(f"/{at}")) for at in range(3)]

    answer = answered(Asked("image"), said(*images), files=2)

    assert answer.status_code == 400
    assert "3 addresses of files, at most 2" in answer.json()["error"]["message"]
    assert server.asked == []


def test_a_client_that_leaves_ends_its_fetching(server: FileServer) -> None:
    began, let_go = threading.Event(), threading.Event()
    broken = threading.Event()

    def slow(out: Any) -> None:
        began.set()
        let_go.wait(60)
        try:
            for _ in range(100):
                out.write(bytes(2**16))
        except OSError:
            broken.set()

    server.pages["/"] = Page(write=slow)

    async def run() -> None:
        asking = asyncio.create_task(ask(gateway(Asked("image")), said(image(server.url("/")))))
        await asyncio.to_thread(began.wait, 60)
        asking.cancel()
        await asyncio.wait({asking})
        let_go.set()
        assert await asyncio.to_thread(broken.wait, 60), "the connection is still open"

    asyncio.run(run())


def test_kept_files_are_their_owners_and_grow_old_and_few() -> None:
    # Room for two of them, with what each takes besides.
    kept = KeptFiles(most_bytes=3000, within_s=5.0)

    kept.put(("ada", "a"), b"1234", 0.0)
    assert kept.get(("bob", "a"), 1.0) is None
    assert kept.get(("ada", "a"), 1.0) == b"1234"
    kept.put(("ada", "b"), b"1234", 1.0)
    kept.get(("ada", "a"), 2.0)
    kept.put(("ada", "c"), b"1234", 2.0)
    assert kept.get(("ada", "b"), 2.0) is None, "it was used longest ago"
    assert kept.get(("ada", "a"), 6.0) is None, "it is old"
    kept.put(("ada", "d"), bytes(3000), 6.0)
    assert kept.n_bytes <= 3000


def test_empty_files_fill_no_memory() -> None:
    kept = KeptFiles(most_bytes=100_000)
    keys = [("ada", f"http://example.com/{at}") for at in range(1000)]

    for key in keys:
        kept.put(key, b"", 0.0)

    assert sum(kept.get(key, 0.0) is not None for key in keys) <= 100


def test_a_file_that_is_at_hand_waits_for_nobodys_slow_servers(server: FileServer) -> None:
    let_go = threading.Event()
    arrived = threading.Semaphore(0)

    def slow(_: Any) -> None:
        arrived.release()
        let_go.wait(60)

    for at in range(MOST_OF_OWNER):
        server.pages[f"/slow/{at}"] = Page(write=slow)
    url, service = server.url("/cat.png"), Asked("image")

    async def run() -> httpx.Response:
        app = gateway(service, remote_s=10.0)
        assert (await ask(app, said(image(url)))).status_code == 200
        slow_ones = [image(server.url(f"/slow/{at}")) for at in range(MOST_OF_OWNER)]
        asking = [asyncio.create_task(ask(app, said(one))) for one in slow_ones]
        for _ in slow_ones:
            assert await asyncio.to_thread(arrived.acquire, timeout=60)
        again = await ask(app, said(image(url)))
        assert not any(one.done() for one in asking), "it waited for them"
        for one in asking:
            one.cancel()
        await asyncio.wait(asking)
        return again

    try:
        answer = asyncio.run(run())
    finally:
        let_go.set()

    assert answer.status_code == 200, answer.text


def test_an_owner_who_names_slow_servers_holds_nobody_elses_fetching_up(server: FileServer) -> None:
    let_go = threading.Event()
    arrived = threading.Semaphore(0)

    def slow(_: Any) -> None:
        arrived.release()
        let_go.wait(60)

    for at in range(2 * MOST_AT_ONCE):
        server.pages[f"/slow/{at}"] = Page(write=slow)
    settings = MediaSettings(remote_urls=True, remote_networks=(f"{LISTED}/32",), remote_s=20.0)
    files = RemoteFiles(settings)

    def fetched(path: str, owner: str) -> Coroutine[Any, Any, GenerateRequest]:
        file = from_url("image", server.url(path), "image_url")
        request = GenerateRequest(prompt="Well?", media=(PlacedFile(at=0, file=file),))
        return files.filled(request, owner=owner, kinds=None, hold=lambda _: None)

    async def run() -> GenerateRequest:
        slow_ones = [
            asyncio.create_task(fetched(f"/slow/{at}", "ada")) for at in range(2 * MOST_AT_ONCE)
        ]
        for _ in range(MOST_OF_OWNER):
            assert await asyncio.to_thread(arrived.acquire, timeout=60)
        other = await fetched("/cat.png", "bob")
        assert not any(one.done() for one in slow_ones)
        for one in slow_ones:
            one.cancel()
        await asyncio.wait(slow_ones)
        await files.close()
        return other

    try:
        other = asyncio.run(run())
    finally:
        let_go.set()

    assert [one.file.data for one in other.media] == [PNG]
