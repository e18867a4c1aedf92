"""A request that is sent again after a cut, and when it is not sent any more."""

import asyncio

import pytest

from umad.client import AsyncClient
from umad.errors import ConnectionLost, OtherModel
from umad.protocol.frames import encode_frame
from umad.protocol.messages import encode_event
from umad.request import AnswerSoFar, GenerateRequest, SamplingParams
from umad.service import Accepted, Event, Failed, Tokens

ACCEPTED = Accepted(
    request="r1",
    model="nano",
    lane="interactive",
    queue_position=0,
    seed=7,
    max_tokens=40,
    fingerprint="a" * 32,
)
ASKED = GenerateRequest(prompt="def")
OTHER = Failed(code=OtherModel.code, message="another model", field=None, retryable=False)
WORD = Tokens(index=0, text="x", ids=(3,))
MORE_THAN_ANYBODY_ASKS = 30


class CuttingTeam:
    """Machines that each say something of a request and then end the connection."""

    def __init__(self, *said: tuple[Event, ...]) -> None:
        """said: of the first requests; the last holds for all that follow."""
        self._said = said
        self.n_asked = 0
        self.too_many = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(size.partition(b":")[2]))
        said = self._said[min(self.n_asked, len(self._said) - 1)]
        self.n_asked += 1
        if self.n_asked > MORE_THAN_ANYBODY_ASKS:
            self.too_many.set()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in said:
            frame = encode_frame(encode_event(1, event))
            writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        await writer.drain()
        writer.close()


async def asked_until_it_ends(
    path: str, team: CuttingTeam, request: GenerateRequest = ASKED
) -> None:
    """One request to the team. Raises what it ends with."""

    async def read() -> None:
        async with AsyncClient.of_team(f"unix:{path}") as client:
            async for _ in client.generate(request):
                pass

    async with await asyncio.start_unix_server(team.answer, path):
        reading = asyncio.create_task(read())
        too_many = asyncio.create_task(team.too_many.wait())
        await asyncio.wait((reading, too_many), return_when=asyncio.FIRST_COMPLETED)
        too_many.cancel()
        if not reading.done():
            reading.cancel()
            raise AssertionError("it is asked for ever")
        await reading


@pytest.mark.parametrize("words", [(), (WORD,)], ids=["at first", "behind a token"])
def test_a_request_that_ends_every_machine_is_given_up_soon(
    path: str, words: tuple[Event, ...]
) -> None:
    async def run() -> int:
        team = CuttingTeam((ACCEPTED, *words), (ACCEPTED,))
        with pytest.raises(ConnectionLost):
            await asked_until_it_ends(path, team)
        return team.n_asked

    assert asyncio.run(run()) == 3 + len(words)


def test_a_client_that_resumes_is_told_that_no_machine_has_its_model(path: str) -> None:
    request = GenerateRequest(
        prompt="def",
        sampling=SamplingParams(seed=7, max_tokens=40),
        resume=AnswerSoFar(tokens=(1, 2), fingerprint="b" * 32),
    )

    async def run() -> None:
        with pytest.raises(OtherModel):
            await asked_until_it_ends(path, CuttingTeam((ACCEPTED, OTHER)), request)

    asyncio.run(run())
