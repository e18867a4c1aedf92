"""Starts an engine process: `python -m umad.engine`, run by the daemon; see `umad.engine`."""

import importlib
import sys

from umad.engine.start import import_parts
from umad.engine.waiting import share_cores

# libgomp reads its settings once, when llama.cpp is loaded. So they are set before that, and the
# engine is imported only afterwards, not at the top of the file.
share_cores()
import_parts(sys.argv[1:])
sys.exit(importlib.import_module("umad.engine.main").main(sys.argv[1:]))
