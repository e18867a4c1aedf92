"""Starts a speech engine: `python -m umad.speech`, run by the daemon; see `umad.speech`."""

import sys

from umad.engine.waiting import share_cores

# libgomp reads its settings once, in the transcriber, which inherits them. So they are set first.
share_cores()

from umad.speech.main import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
