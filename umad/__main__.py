"""`umad` and `python -m umad`: nothing but the way in to `umad.cli`."""

import sys

from umad.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
