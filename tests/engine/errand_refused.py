"""A child of `test_errand` that ends before it reads its question. Not a test."""

from umad.errors import BadConfig

raise BadConfig("llama_library /x is not used: it is no shared library", field="llama_library")
