"""Runs a fake engine's process: `python -m umad.testing FD MODEL`."""

import sys

from umad.testing.fake_engine import main

if __name__ == "__main__":
    main(sys.argv[1:])
