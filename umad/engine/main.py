"""Runs the engine process from its arguments to its exit.

Not: how its parts are made (`wiring`). Owner: the main thread, which becomes the step thread.
"""

import argparse
import logging
import os
import signal
import socket
from collections.abc import Sequence

from umad.engine.launch import PROGRAM, EngineOptions
from umad.engine.mail.mailbox import Mailbox
from umad.engine.prctl import die_with_parent, name_thread
from umad.engine.process import map_large_blocks
from umad.engine.traced import PARTS
from umad.engine.wiring import serve
from umad.errors import EngineFailed, UmadError
from umad.protocol.frames import encode_frame
from umad.protocol.link import Fatal, encode
from umad.stderr_log import DiscreetFormatter
from umad.tracing import begin_if_asked

log = logging.getLogger("umad.engine")


def main(arguments: Sequence[str]) -> int:
    """Serve one model over one socket. Returns the exit status."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="umad's engine; not for the shell")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--options", type=EngineOptions.from_json, required=True)
    parsed = parser.parse_args(arguments)
    options: EngineOptions = parsed.options
    die_with_parent(os.getppid())
    map_large_blocks()
    # Ctrl-C in the daemon's terminal is for the daemon to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handler = logging.StreamHandler()
    handler.setFormatter(
        DiscreetFormatter("%(levelname)s %(name)s %(message)s", verbose=options.verbose)
    )
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    name_thread("umad-step")
    write_trace = begin_if_asked("engine", PARTS, os.environ)
    link = socket.socket(fileno=parsed.fd)
    mailbox = Mailbox(link)
    mailbox.start()
    try:
        serve(options, link, mailbox)
    except UmadError as error:
        return _fatal(link, Fatal(code=error.code, message=error.message))
    except Exception:
        # The process's boundary: the daemon must be told a reason, and the log gets the full error.
        log.exception("engine failed")
        return _fatal(link, Fatal(code=EngineFailed.code, message="the engine failed; see its log"))
    finally:
        write_trace()
    return 0


def _fatal(link: socket.socket, fatal: Fatal) -> int:
    log.error("fatal code=%s %s", fatal.code, fatal.message)
    try:
        link.sendall(encode_frame(encode(fatal)))
    except OSError as error:
        log.info("nobody hears it error=%s", error)
    return 1
