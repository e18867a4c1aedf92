"""`python -m umad.engine`: started by the daemon, see `umad.engine`."""

import sys

from umad.engine.main import main

sys.exit(main(sys.argv[1:]))
