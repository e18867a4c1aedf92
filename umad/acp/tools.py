"""Offers the model tools, and has the editor carry them out, each behind its permission.

Only what the editor says that it can do is offered. Before a tool acts, the editor asks its user;
what the user allows or refuses for always holds for this session's process. A refusal is a result
that the model reads, and never an error. Paths are absolute, as the protocol wants them; a
relative one is one of the session's folder.
"""

import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from acp import Client, helpers, schema
from acp.exceptions import RequestError

from umad.acp.sessions import CHAT, EDIT, Session
from umad.acp.terminals import REFUSALS, Terminals
from umad.conversation import Tool, ToolCall

# Of a result, so that one file does not fill the model's context.
MAX_RESULT_CHARS = 24_000
_PATH = {"type": "string", "description": "Absolute path, or relative to the project's folder"}

READ = Tool(
    name="read_file",
    description="Read a text file. `line` is the first line to read, from 1; `limit` a number of "
    "lines.",
    parameters={
        "type": "object",
        "properties": {
            "path": _PATH,
            "line": {"type": "integer", "minimum": 1},
            "limit": {"type": "integer", "minimum": 1},
        },
        "required": ["path"],
    },
)
WRITE = Tool(
    name="write_file",
    description="Write a text file; what it had is replaced by `content`.",
    parameters={
        "type": "object",
        "properties": {"path": _PATH, "content": {"type": "string"}},
        "required": ["path", "content"],
    },
)
RUN = Tool(
    name="run_command",
    description="Run a command line in the project's folder by /bin/sh, and read what it prints.",
    parameters={
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
)


class PermissionCancelled(Exception):
    """The user ended the turn instead of answering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One call, understood."""

    id: str
    tool: Tool
    kind: schema.ToolKind
    title: str
    # "" for a command.
    path: str
    arguments: dict[str, Any]

    def text(self, name: str) -> str:
        """An argument that is a text."""
        return str(self.arguments[name])

    @property
    def locations(self) -> list[schema.ToolCallLocation] | None:
        """Where the editor may look while it happens."""
        return [schema.ToolCallLocation(path=self.path)] if self.path else None


def offered(capabilities: schema.ClientCapabilities | None, mode: str) -> Sequence[Tool]:
    """The tools that the editor can carry out, in a session of this mode."""
    if capabilities is None or mode == CHAT:
        return ()
    files = capabilities.fs
    able = (
        (READ, bool(files and files.read_text_file)),
        (WRITE, bool(files and files.write_text_file)),
        (RUN, bool(capabilities.terminal)),
    )
    return tuple(tool for tool, is_able in able if is_able)


class Toolbox:
    """Carries out the calls of one session."""

    def __init__(self, editor: Client, session: Session, tools: Sequence[Tool]) -> None:
        self._editor, self._session = editor, session
        self._tools = {tool.name: tool for tool in tools}

    async def call(self, call: ToolCall) -> str:
        """The result of a call, for the model. Raises `PermissionCancelled`."""
        job = self._understood(call)
        if isinstance(job, str):
            await self._update(helpers.start_tool_call(_id(call), call.name, status="failed"))
            return job
        await self._update(
            helpers.start_tool_call(
                job.id,
                job.title,
                kind=job.kind,
                status="pending",
                locations=job.locations,
                raw_input=job.arguments,
            )
        )
        try:
            shown = await self._preview(job)
            if not await self._is_allowed(job, shown):
                await self._end(job, "failed")
                return "The user did not allow this. Do not try it again; ask what to do instead."
            # The difference is shown also where nobody was asked.
            await self._update(
                helpers.update_tool_call(job.id, status="in_progress", content=shown)
            )
            result = await self._done(job)
        except REFUSALS as error:
            await self._end(job, "failed")
            why = error if isinstance(error, RequestError) else "the editor gave no usable answer"
            return f"It failed: {why}"
        return _cut(result)

    def _understood(self, call: ToolCall) -> _Job | str:
        """The call, or what is wrong with it in words for the model."""
        tool = self._tools.get(call.name)
        if tool is None:
            return f"There is no tool {call.name}. The tools are: {', '.join(self._tools)}."
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            return "The arguments are no JSON object."
        for name in tool.parameters["required"]:
            if not isinstance(arguments.get(name), str):
                return f"The argument {name} is missing, or no text."
        for name in ("line", "limit"):
            if arguments.get(name) is None:
                arguments.pop(name, None)  # models write null for what they do not want
            elif type(arguments[name]) is not int or arguments[name] < 1:
                return f"The argument {name} must be a whole number from 1."
        if tool is RUN:
            line = str(arguments["command"])
            return _Job(
                id=_id(call),
                tool=tool,
                kind="execute",
                title=f"`{line}`",
                path="",
                arguments=arguments,
            )
        path = posixpath.normpath(posixpath.join(self._session.cwd, str(arguments["path"])))
        return _Job(
            id=_id(call),
            tool=tool,
            kind="read" if tool is READ else "edit",
            title=f"{'Read' if tool is READ else 'Write'} {path}",
            path=path,
            arguments=arguments,
        )

    async def _preview(self, job: _Job) -> list[Any] | None:
        """What the user sees before allowing it: of a file to be written, the difference; of a
        command that its title cannot show, the whole of it.
        """
        if job.tool is RUN and not _fits_title(job.text("command")):
            return [helpers.tool_content(helpers.text_block(job.text("command")))]
        if job.tool is not WRITE:
            return None
        old = None
        if READ.name in self._tools:  # an editor is not asked for what it cannot do
            try:
                old = (await self._editor.read_text_file(self._session.id, job.path)).content
            except REFUSALS:  # a new file
                old = None
        return [helpers.tool_diff_content(job.path, job.text("content"), old)]

    async def _is_allowed(self, job: _Job, shown: list[Any] | None) -> bool:
        if (known := self._session.always.get(job.tool.name)) is not None:
            return known
        if self._session.mode == EDIT and job.path and _is_inside(job.path, self._session.cwd):
            return True
        name = job.tool.name
        options = [
            schema.PermissionOption(option_id="allow", name="Allow", kind="allow_once"),
            schema.PermissionOption(
                option_id="always", name=f"Always allow {name}", kind="allow_always"
            ),
            schema.PermissionOption(option_id="reject", name="Reject", kind="reject_once"),
            schema.PermissionOption(
                option_id="never", name=f"Never allow {name}", kind="reject_always"
            ),
        ]
        answer = await self._editor.request_permission(
            session_id=self._session.id,
            tool_call=schema.ToolCallUpdate(
                tool_call_id=job.id,
                title=job.title,
                kind=job.kind,
                status="pending",
                content=shown,
                locations=job.locations,
                raw_input=job.arguments,
            ),
            options=options,
        )
        if not isinstance(answer.outcome, schema.AllowedOutcome):
            raise PermissionCancelled
        chosen = answer.outcome.option_id
        if chosen in ("always", "never"):
            self._session.always[name] = chosen == "always"
        return chosen in ("allow", "always")

    async def _done(self, job: _Job) -> str:
        """Carry it out."""
        if job.tool is RUN:
            return await self._run(job)
        if job.tool is READ:
            found = await self._editor.read_text_file(
                self._session.id,
                job.path,
                line=job.arguments.get("line"),
                limit=job.arguments.get("limit"),
            )
            await self._end(job, "completed")
            return found.content or "(The file is empty.)"
        await self._editor.write_text_file(self._session.id, job.path, job.text("content"))
        await self._end(job, "completed")
        return f"Written: {job.path}"

    async def _run(self, job: _Job) -> str:
        async def show(terminal: str) -> None:
            content = [helpers.tool_terminal_ref(terminal)]
            await self._update(helpers.update_tool_call(job.id, content=content))

        terminals = Terminals(
            editor=self._editor,
            session_id=self._session.id,
            cwd=self._session.cwd,
            most_bytes=MAX_RESULT_CHARS,
        )
        ended = await terminals.run(job.text("command"), show)
        await self._end(job, "completed" if ended.is_good else "failed")
        # As in a file that is too long: else the model takes the rest for all there was.
        cut = "[the beginning is left out here]\n" if ended.is_cut else ""
        return f"{cut}{ended.output}\n({ended.how})"

    async def _end(self, job: _Job, status: schema.ToolCallStatus) -> None:
        await self._update(helpers.update_tool_call(job.id, status=status))

    async def _update(self, update: Any) -> None:
        await self._editor.session_update(self._session.id, update)


def _fits_title(command: str) -> bool:
    """Whether a title shows all of a command: editors show one line, as Markdown."""
    return "`" not in command and len(command.splitlines()) <= 1


def _id(call: ToolCall) -> str:
    return call.id or "call"


def _is_inside(path: str, folder: str) -> bool:
    """Whether the path lies in the folder, as the names say. Links are the editor's to follow."""
    folder = posixpath.normpath(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _cut(text: str) -> str:
    """Beginning and end of a long result, and how much is left out."""
    if len(text) <= MAX_RESULT_CHARS:
        return text
    half = MAX_RESULT_CHARS // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[{left_out} characters are left out here]\n{text[-half:]}"
