"""Names llama.cpp's ways to read a file's weights. Values only."""

# llama_load_mode of llama.h.
_NONE, _MMAP, _MLOCK, _MMAP_MLOCK = 0, 1, 2, 3


def load_mode(*, mmap: bool, mlock: bool) -> int:
    """The mode that maps the file, locks the weights, or both."""
    if mmap:
        return _MMAP_MLOCK if mlock else _MMAP
    return _MLOCK if mlock else _NONE
