"""Hands recordings that came over HTTP to the daemon, and reads what is heard in them.

A short one goes as its bytes. A longer one is written to a file of this user alone, which is gone
when the request has ended: the daemon's frames have a limit, and its engine reads a file only as
far as it is heard. Owner: the request's task.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import replace

from umad.errors import UmadError, UnsupportedAudio
from umad.gateway.gateway_call import GatewayCall
from umad.transcription import MAX_AUDIO_BYTES, TranscribeRequest, TranscriptEvent

# The fields of a request under the names that the form has for them.
_FIELD = {"audio": "file", "path": "file"}


async def open_hearing(
    call: GatewayCall, request: TranscribeRequest
) -> tuple[TranscriptEvent, AsyncGenerator[TranscriptEvent, None]]:
    """The first event of a transcription, and the rest of them. Cancelled with the call, in
    whatever state it is. Raises the daemon's errors.
    """
    request = replace(request, model=await call.local(request.model), app=call.caller.app)
    if request.audio is not None and len(request.audio) > MAX_AUDIO_BYTES:
        path = await asyncio.to_thread(_written, request.audio)
        call.exits.callback(os.unlink, path)
        request = replace(request, audio=None, path=path)
    events = call.service.hear(request)
    call.exits.push_async_callback(events.aclose)
    try:
        return await anext(events), events
    except UmadError as error:
        error.field = _FIELD.get(error.field or "", error.field)
        if isinstance(error, UnsupportedAudio) and error.field is None:
            error.field = "file"
        raise


def _written(audio: bytes) -> str:
    """The path of a new file with these bytes, which nobody else may read."""
    handle, path = tempfile.mkstemp(prefix="umad-audio-")
    with open(handle, "wb") as file:
        file.write(audio)
    return path
