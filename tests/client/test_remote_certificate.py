"""A client of a team says nothing to an address whose certificate it does not trust."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest

from umad.client import AsyncClient
from umad.errors import Refused
from umad.router.authority import TeamAuthority

NOW = datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize(
    ("trusts", "made", "says"),
    [
        (False, NOW, "not trusted"),
        (True, NOW, "mismatch"),
        (True, NOW - datetime.timedelta(days=900), "expired"),
    ],
    ids=["authority", "name", "time"],
)
def test_a_certificate_that_is_refused_is_told_at_once_and_nothing_is_sent(
    tmp_path: Path, trusts: bool, made: datetime.datetime, says: str
) -> None:
    tmp_path.chmod(0o700)
    pair = TeamAuthority.make(tmp_path, now=NOW).certified_pair("another", now=made)
    (tmp_path / "both.pem").write_bytes(pair.certificate + pair.key)
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(tmp_path / "both.pem")
    heard: list[bytes] = []

    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read())
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=inside) as server:
            port = server.sockets[0].getsockname()[1]
            tls = ssl.create_default_context(cafile=tmp_path / "ca.pem" if trusts else None)
            tls.check_hostname = says == "mismatch"  # of two faults OpenSSL tells one
            address = f"https://127.0.0.1:{port}"
            async with asyncio.timeout(60), AsyncClient.of_team(address, tls=tls) as client:
                await client.chat("A secret.", max_tokens=1)

    with pytest.raises(Refused, match=says):
        asyncio.run(run())
    assert heard == []
