"""Runs the speech engine's process from its arguments to its exit.

Owner: the main thread, which reads the link until the daemon's end closes; then the process ends,
because an engine without its daemon serves nobody.
"""

import argparse
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from umad.clock import MonotonicClock
from umad.engine.board.seat import BoardSeat
from umad.engine.mail.emitter import Emitter
from umad.engine.prctl import die_with_parent, name_thread
from umad.engine.process import decode_threads
from umad.errors import EngineFailed, ProtocolViolation, UmadError, Unsupported
from umad.models.whisper import WhisperHeader, read_whisper
from umad.protocol.frames import MAX_FRAME_BYTES, FrameReader
from umad.protocol.link import (
    Drop,
    EngineCall,
    EngineReady,
    EngineReply,
    Fatal,
    FromEngine,
    Rejected,
    StepReport,
    Stop,
    Submit,
    ToEngine,
    decode,
)
from umad.speech.desk import Desk
from umad.speech.launch import PROGRAM, SpeechOptions
from umad.speech.pace import Pace
from umad.speech.recordings import Recordings
from umad.speech.transcriber import Transcriber
from umad.stderr_log import DiscreetFormatter

log = logging.getLogger("umad.speech")

_RECEIVE_BYTES = 256 * 1024
_NO_TEXT = "it is a speech model: it turns speech into text, and does nothing else"


def main(arguments: Sequence[str]) -> int:
    """Serve one model over one socket. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="umad's speech engine; not for the shell"
    )
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--options", type=SpeechOptions.from_json, required=True)
    parsed = parser.parse_args(arguments)
    options: SpeechOptions = parsed.options
    die_with_parent(os.getppid())
    # Ctrl-C in the daemon's terminal is for the daemon to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handler = logging.StreamHandler()
    handler.setFormatter(
        DiscreetFormatter("%(levelname)s %(name)s %(message)s", verbose=options.verbose)
    )
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    name_thread("umad-speech")
    link = socket.socket(fileno=parsed.fd)
    emitter = Emitter(link)
    engine = _Engine(options, emitter)
    threading.Thread(target=engine.load, name="umad-hearing", daemon=True).start()
    _read(link, engine)
    engine.end()
    return 0


class _Engine:
    """The parts of the process, put together."""

    def __init__(self, options: SpeechOptions, emitter: Emitter) -> None:
        self._options = options
        self._emitter = emitter
        clock = MonotonicClock()
        self._threads = options.threads or decode_threads()
        self._transcriber = Transcriber(options.path, self._threads)
        seat = BoardSeat.alone()
        if options.board_fd is not None:
            seat = BoardSeat.opened(options.board_fd, options.board_seat)
        pace = Pace(self._transcriber, seat, clock, alive=lambda: emitter.put(StepReport()))
        self._pace = pace
        self._desk = Desk(
            self._transcriber,
            Recordings(clock, most_s=options.most_s),
            pace,
            guarded=frozenset(options.guarded),
            answer=emitter.put,
        )

    def load(self) -> None:
        """Load the model, say so, and hear. Never returns."""
        try:
            header = read_whisper(Path(self._options.path))
            told = self._transcriber.start()
        except UmadError as error:
            self._fatal(error.code, error.message)
        except Exception:
            # The process's boundary: the daemon must be told a reason.
            log.exception("speech engine failed")
            self._fatal(EngineFailed.code, "the speech engine failed; see its log")
        else:
            self._pace.start()
            self._desk.start()
            self._emitter.put(EngineReady(facts=self._facts(header, told)))
            self._desk.hear_all()

    def _fatal(self, code: str, message: str) -> None:
        log.error("fatal code=%s %s", code, message)
        self._emitter.put(Fatal(code=code, message=message))
        os._exit(1)

    def _facts(self, header: WhisperHeader, told: Mapping[str, Any]) -> Mapping[str, Any]:
        pid = self._transcriber.pid
        held_bytes = psutil.Process(pid).memory_info().rss if pid else 0
        return {
            "name": self._options.name,
            "path": self._options.path,
            "architecture": "whisper",
            "title": header.title,
            "description": f"{header.title} {header.quantization}".strip(),
            "size_bytes": header.file_bytes,
            "context_bytes": max(0, held_bytes - header.file_bytes),
            "n_params": header.n_params,
            "n_vocab": header.vocabulary,
            "max_seqs": 1,
            "threads": self._threads,
            "backends": ("whisper.cpp",),
            "devices": (),
            "has_chat_template": False,
            "generates": False,
            "transcribes": True,
            **told,
        }

    def handle(self, message: ToEngine | FromEngine) -> None:
        """Do what a message asks."""
        match message:
            case EngineCall(op="transcribe"):
                self._desk.put(message)
            case EngineCall(op="spare"):
                # It keeps nothing of earlier work.
                nothing = {"freed_bytes": 0, "over_bytes": 0}
                self._emitter.put(EngineReply(call=message.call, value=nothing))
            case EngineCall(op="forget"):
                kept: Mapping[str, Any] = {"sessions": (), "in_use": ()}
                self._emitter.put(EngineReply(call=message.call, value=kept))
            case EngineCall():
                refused = (Unsupported.code, _NO_TEXT, "model")
                self._emitter.put(EngineReply(call=message.call, error=refused))
            case Submit():
                said = Rejected(
                    rid=message.rid, code=Unsupported.code, message=_NO_TEXT, field="model"
                )
                self._emitter.put(StepReport(rejected=(said,)))
            case Drop():
                self._desk.drop(message.call)
            case Stop():
                threading.Thread(target=self._stop, name="umad-stop", daemon=True).start()
            case EngineReady() | EngineReply() | Fatal() | StepReport():
                raise ProtocolViolation(f"a daemon does not send {type(message).__name__}")
            case _:
                pass  # about a completion, and none is live

    def _stop(self) -> None:
        self._desk.wait_until_idle()
        self.end()

    def end(self) -> None:
        """End the process and the one that it has started."""
        self._transcriber.kill()
        os._exit(0)


def _read(link: socket.socket, engine: _Engine) -> None:
    """Handle what the daemon sends, until its end closes."""
    reader = FrameReader(MAX_FRAME_BYTES)
    try:
        while data := link.recv(_RECEIVE_BYTES):
            for body in reader.feed(data):
                engine.handle(decode(body))
    except OSError as error:
        log.info("link failed error=%s", error)
    except Exception:
        log.exception("mail cannot be read")
