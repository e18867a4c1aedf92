"""The library that this process computes with: `lib`, its declarations, and `libggml`.

To import this module is to settle which library that is, so nothing can be computed with one that
was not looked at. Not: the choice (`umad.engine.library`), the opening (`library_binding`).
"""

from umad.engine.llamacpp.library_binding import bound

lib, libggml = bound().llama, bound().ggml
# The library's file; None for the one inside llama-cpp-python.
PATH = bound().path
