"""Keeps conversations, and writes them down so that an editor can load them another day.

A file has what was said and read, so it belongs to this user alone (`umad.private_file`). The
oldest go when there are too many. Not: the model's cells, which the daemon keeps.
"""

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umad.content import MEDIA_NAMES, MediaFile, PlacedFile, beside
from umad.conversation import ChatMessage, ChatOptions, from_json, media_of, to_json
from umad.errors import BadRequest, UnknownRequest
from umad.private_file import read_own, write_own

MAX_FILES = 256
MAX_FILE_BYTES = 16 * 2**20
_TITLE_CHARS = 80
_ID = re.compile(r"[0-9a-f]{32}")

ASK, EDIT, CHAT = "ask", "edit", "chat"
# (id, name, what it does)
MODES: Sequence[tuple[str, str, str]] = (
    (ASK, "Ask", "Ask before each file is read or written and each command is run"),
    (EDIT, "Edit", "Read and write files of the project without asking; ask before all else"),
    (CHAT, "Chat", "Answer from the conversation alone, without tools"),
)


@dataclass(slots=True, kw_only=True)
class Session:
    """One conversation with an editor."""

    cwd: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    mode: str = ASK
    title: str = ""
    messages: list[ChatMessage] = field(default_factory=list)
    # Tools that the user has allowed, or refused, for the rest of this process.
    always: dict[str, bool] = field(default_factory=dict)

    @property
    def kept_as(self) -> str:
        """The name under which the daemon keeps the conversation's cells."""
        return f"acp-{self.id}"

    def set_mode(self, mode: str) -> None:
        """Raises `BadRequest` for a mode that there is not."""
        known = [id_ for id_, _, _ in MODES]
        if mode not in known:
            raise BadRequest(f"the modes are {', '.join(known)}", field="modeId")
        self.mode = mode

    def say(self, text: str, media: tuple[PlacedFile, ...] = ()) -> None:
        """The user said something; the first words become the title.

        Two of the user's turns in a row become one: many models' templates refuse them, and then
        the conversation could never go on.
        """
        if not text.strip() and not media:
            raise BadRequest("the prompt has no text", field="prompt")
        if not self.title:
            words = text if text.strip() else MEDIA_NAMES[media[0].file.kind]
            self.title = " ".join(words.split())[:_TITLE_CHARS]
        if self.messages and self.messages[-1].role == "user":
            before = self.messages.pop()
            text, media = beside((before.content, before.media), (text, media), "\n\n")
        self.messages.append(ChatMessage(role="user", content=text, media=media))

    def close_calls(self, why: str) -> None:
        """Give every call without a result one, so that the conversation can go on."""
        asked = [call for turn in self.messages for call in turn.tool_calls]
        answered = {turn.tool_call_id for turn in self.messages if turn.role == "tool"}
        for call in asked:
            if call.id not in answered:
                self.messages.append(
                    ChatMessage(role="tool", content=why, tool_call_id=call.id, name=call.name)
                )


class SessionFiles:
    """The files of earlier sessions. Every method may block on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, session: Session) -> None:
        """Write a session down; if it is too long, then without its images and sounds. Raises
        `OSError`.
        """
        value: dict[str, Any] = {
            "cwd": session.cwd,
            "mode": session.mode,
            "title": session.title,
            "turns": to_json(tuple(session.messages), ChatOptions()),
        }
        media = media_of(session.messages)
        written = [base64.b64encode(one.data).decode() for one in media]
        if media and sum(map(len, written)) < MAX_FILE_BYTES:
            data = json.dumps({**value, "media": written}).encode()
            if len(data) <= MAX_FILE_BYTES:
                return self._put(session, data)
        data = json.dumps(value).encode()
        if len(data) <= MAX_FILE_BYTES:
            self._put(session, data)
        return None

    def _put(self, session: Session, data: bytes) -> None:
        write_own(self._path(session.id), data)
        self._drop_oldest()

    def read(self, id_: str) -> Session:
        """An earlier session. Raises `UnknownRequest` where there is none of that id."""
        try:
            value = json.loads(read_own(self._path(id_), MAX_FILE_BYTES))
            messages, _ = from_json(value["turns"])
            if "media" in value:
                kinds = [one.kind for one in media_of(messages)]
                data = [base64.b64decode(one, validate=True) for one in value["media"]]
                files = [MediaFile(kind=k, data=d) for k, d in zip(kinds, data, strict=True)]
                messages, _ = from_json(value["turns"], files)
            return Session(
                id=id_,
                cwd=str(value["cwd"]),
                mode=str(value["mode"]),
                title=str(value["title"]),
                messages=list(messages),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnknownRequest(f"there is no session {id_} that can be read") from error

    def names(self) -> Sequence[str]:
        """Ids of all sessions, the latest first."""
        try:
            files = [path for path in self._folder.glob("*.json") if _ID.fullmatch(path.stem)]
            return [path.stem for path in sorted(files, key=_written_ns, reverse=True)]
        except OSError:
            return ()

    def written_s(self, id_: str) -> float | None:
        """When a session was last written, in seconds since 1970."""
        try:
            return self._path(id_).stat().st_mtime
        except OSError:
            return None

    def _path(self, id_: str) -> Path:
        if not _ID.fullmatch(id_):
            raise UnknownRequest("a session's id has 32 digits from 0 to f")
        return self._folder / f"{id_}.json"

    def _drop_oldest(self) -> None:
        for id_ in self.names()[MAX_FILES:]:
            self._path(id_).unlink(missing_ok=True)


def session_folder(environ: Mapping[str, str], platform: str) -> Path:
    """Where sessions are kept: a folder of this user alone."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        home = Path(environ.get("HOME") or "~").expanduser()
        state = home / ("Library/Application Support" if platform == "darwin" else ".local/state")
    return state / "umad" / "acp"


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it has just been dropped
        return 0
