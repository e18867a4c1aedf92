"""Starts an engine process: `python -m umad.engine`, run by the daemon; see `umad.engine`."""

import importlib
import os
import sys

from umad.engine.prctl import die_with_parent
from umad.engine.start import import_parts
from umad.engine.waiting import share_cores

# First, because the daemon may stop this process for a while, and one that is stopped cannot end by
# itself.
die_with_parent(os.getppid())
# libgomp reads its settings once, when llama.cpp is loaded. So they are set before that, and the
# engine is imported only afterwards, not at the top of the file.
share_cores()
import_parts(sys.argv[1:])
sys.exit(importlib.import_module("umad.engine.main").main(sys.argv[1:]))
