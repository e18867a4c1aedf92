"""Lists the places in which llama.cpp's shared library lies when other programs bring it.

Pure: the caller passes environment, platform and looks in. Not: whether a library fits (`asking`).
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

# llama-cpp-python's own variable for the folder of a library.
BINDING_VARIABLE = "LLAMA_CPP_LIB_PATH"
_HOMEBREW = "HOMEBREW_PREFIX"
_DARWIN = ("/opt/homebrew/lib", "/usr/local/lib", "/opt/local/lib")
_LINUX = ("/home/linuxbrew/.linuxbrew/lib", "/usr/local/lib64", "/usr/local/lib")
_SYSTEM = ("/usr/lib64", "/usr/lib")


def library_folders(
    environ: Mapping[str, str], platform: str, *, multiarch: str = ""
) -> tuple[Path, ...]:
    """The folders, those that somebody named first, then Homebrew's, local ones, the system's.

    multiarch: Debian's word for this machine, such as "x86_64-linux-gnu".
    """
    named = [environ.get(BINDING_VARIABLE, "")]
    if prefix := environ.get(_HOMEBREW, ""):
        named.append(f"{prefix}/lib")
    known: Iterable[str] = _DARWIN
    if platform != "darwin":
        own = (f"/usr/lib/{multiarch}",) if multiarch else ()
        known = (*_LINUX, *own, *_SYSTEM)
    folders = [Path(one) for one in (*named, *known) if one and Path(one).is_absolute()]
    return tuple(dict.fromkeys(folders))


def library_in(
    folder: Path, platform: str, *, names: Callable[[Path], Iterable[str]]
) -> Path | None:
    """llama.cpp's library in that folder: without a version in its name, else the newest one.

    names: lists a folder; none where it cannot be read.
    """
    endings = (".dylib", ".so") if platform == "darwin" else (".so",)
    there = set(names(folder))
    for plain in (f"libllama{ending}" for ending in endings):
        if plain in there:
            return folder / plain
    versions = [(_version(name, endings), name) for name in there if name.startswith("libllama.")]
    newest = max(versions, default=((), ""))
    return folder / newest[1] if newest[0] else None


def _version(name: str, endings: Iterable[str]) -> tuple[int, ...]:
    """The numbers of `libllama.so.0.5.0` and `libllama.0.5.0.dylib`; none of other names."""
    words = name.split(".")[1:]
    numbers = [word for word in words if f".{word}" not in endings]
    if len(numbers) != len(words) - 1 or not all(map(_is_number, numbers)):
        return ()
    return tuple(int(one) for one in numbers)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()
