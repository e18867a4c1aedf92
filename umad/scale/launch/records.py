"""Keeps what was started, in a folder for each deployment that this user alone may read.

    NAME/deployment.json    what it is, when it began and ends, what it costs an hour
    NAME/task.yaml          SkyPilot's task, without secrets
    NAME/box, NAME/tls      what its machine gets
    NAME/keys/KEY           a key each, as clients and `umad router add --key-file` want it

A record stays when its machine has ended by itself, so that somebody can see what it was; `umad
scale down` removes it. Blocks for as long as files take. Owner: anybody's thread.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from umad.errors import AlreadyRunning, BadConfig, UnknownRequest
from umad.private_file import own_folder, read_own, write_own
from umad.scale.launch.deployment import check_name
from umad.scale.launch.record import Record

_MOST_BYTES = 1 << 20
_RECORD = "deployment.json"


class Records:
    """All of this user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder_of(self, name: str) -> Path:
        """Its folder. Raises `BadRequest` for what is no name, which could lead elsewhere."""
        check_name(name)
        return self._folder / name

    def begin(self, name: str) -> Path:
        """A folder for a new one. Raises `AlreadyRunning` where the name is taken."""
        folder = self.folder_of(name)
        if (folder / _RECORD).exists():
            raise AlreadyRunning(
                f"{name} was started already: umad scale status {name} shows it, and umad scale "
                f"down {name} ends it"
            )
        # What an attempt left that was killed before it rented anything.
        shutil.rmtree(folder, ignore_errors=True)
        own_folder(folder)
        return folder

    def write(self, record: Record) -> None:
        """Keep it, or what has changed of it."""
        text = json.dumps(asdict(record), indent=2) + "\n"
        write_own(self.folder_of(record.name) / _RECORD, text.encode())

    def write_files(self, name: str, folder: str, files: Mapping[str, str]) -> None:
        """Files in a folder of its folder."""
        for file, text in files.items():
            write_own(self.folder_of(name) / folder / file, text.encode())

    def of(self, name: str) -> Record:
        """The one of a name. Raises `UnknownRequest`, which names those that there are."""
        path = self.folder_of(name) / _RECORD
        try:
            return Record(**json.loads(read_own(path, _MOST_BYTES)))
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            raise UnknownRequest(f"no deployment is called {name}; there is {there}") from None
        except (OSError, ValueError, TypeError) as error:
            raise BadConfig(f"{path} cannot be read: {error}") from None

    def names(self) -> list[str]:
        """Of all, in order."""
        return sorted(one.parent.name for one in self._folder.glob(f"*/{_RECORD}"))

    def remove(self, name: str) -> None:
        """Forget it, its keys and certificates too."""
        shutil.rmtree(self.folder_of(name), ignore_errors=True)

    def key_files(self, name: str) -> dict[str, Path]:
        """The file of each key, by the key's name."""
        found = sorted((self.folder_of(name) / "keys").glob("*"))
        return {one.name: one for one in found}

    def keys(self, name: str) -> dict[str, str]:
        """The keys by name."""
        files = self.key_files(name).items()
        return {one: read_own(path, _MOST_BYTES).decode().strip() for one, path in files}

    def task(self, name: str) -> str:
        """SkyPilot's task, as it was launched."""
        return read_own(self.folder_of(name) / "task.yaml", _MOST_BYTES).decode()
