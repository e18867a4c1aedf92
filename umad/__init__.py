"""umad: one daemon, one mapped model, every app on the machine.

The package a reader should start with is `umad/README.md`; the shortest way to use it from
Python is `umad.client`.
"""

__version__ = "0.1.0"
