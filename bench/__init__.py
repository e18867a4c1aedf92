"""Measures umad beside llama.cpp's own programs, on the same machine and the same models.

Not a part of the package that users install, and not the `umad bench` command, which replays
published workloads against one daemon: this folder builds peers, generates models and compares.
State: everything kept lies in the cache folder (`bench.cache`), which git never sees. Nothing
here runs inside umad; contenders are processes that are reached over a socket.
"""
