"""Reads the files with which a node of a team serves its router alone.

    own.pem   the node's certificate and key
    ca.pem    the certificate of the team's authority

Nodes have certificates of the same authority, but theirs are for serving: one of them that asks is
refused by TLS, as everybody else is. Not: who sent a request (`umad.gateway.door.entrance`).
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.errors import BadConfig
from umad.private_file import read_named

_MOST_FILE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamFiles:
    """Paths of files that were looked at."""

    own: Path
    authority: Path

    def server_options(self) -> dict[str, Any]:
        """What uvicorn is told."""
        return {
            "ssl_certfile": str(self.own),
            "ssl_keyfile": str(self.own),
            "ssl_ca_certs": str(self.authority),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        }


def team_files(folder: str) -> TeamFiles:
    """The files of a folder. Raises `BadConfig` where one is missing, damaged or readable to
    others.
    """
    path = Path(folder).expanduser()
    found = TeamFiles(own=path / "own.pem", authority=path / "ca.pem")
    for file, is_secret in ((found.own, True), (found.authority, False)):
        try:
            read_named(file, _MOST_FILE_BYTES, secret=is_secret)
        except OSError as error:
            raise BadConfig(
                f"--gateway-team {folder}: {file.name}: {error.strerror}", field="gateway.team"
            ) from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(found.own)
        context.load_verify_locations(found.authority)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(
            f"--gateway-team {folder}: own.pem or ca.pem is damaged, or they are no pair: {error}",
            field="gateway.team",
        ) from error
    return found
