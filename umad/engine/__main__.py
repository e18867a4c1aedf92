"""`python -m umad.engine`: started by the daemon, see `umad.engine`."""

import importlib
import sys

from umad.engine.process import share_cores

# libgomp reads its settings once, when llama.cpp is loaded: so before that, and so not at the top.
share_cores()
sys.exit(importlib.import_module("umad.engine.main").main(sys.argv[1:]))
