"""Defines the one exception of the benchmarks: an outcome a person can act on.

Not umad's tree: a benchmark that cannot run says so in one line and ends with exit code 1.
"""


class BenchError(RuntimeError):
    """What went wrong and what to do next, in one line."""
